"""The learner of `voxforge_gender`: female or male, from the voice features of windows of up to three seconds."""

from __future__ import annotations

from avlake.learn.compare import Selection
from avlake.learn.tabular import TabularLearner

# With a few dozen speakers a model learns microphones and rooms as readily as voices. Levels, mel energies and the
# spectrum's overall shape say most of the former; pitch, cepstrum, contrast and chroma say more of the latter. Tuning
# decides which to offer.
VOICE = ("f0_", "mfcc_", "spectral_contrast_", "chroma_")

LEARNER = TabularLearner(
    version=1,
    table="gold.gender_windows",
    label="gender",
    classes=("female", "male"),
    group="subject_id",
    extractors=("voice_features",),
    selection=Selection(offers=(("voice", VOICE), ("all", ("",)))),
)
