"""The learner of `voxforge_gender`: female or male, from the voice features of windows of up to three seconds."""

from __future__ import annotations

from avlake.learn.tabular import TabularLearner

LEARNER = TabularLearner(
    version=1,
    table="gold.gender_windows",
    label="gender",
    classes=("female", "male"),
    group="subject_id",
    extractor="voice_features",
)
