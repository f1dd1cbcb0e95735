"""The proxy task that curation is judged by, who is speaking?: its clips, its models, and how it is often measured.

The baseline is a common one of scripts that curate audio-visual clips: the mean of 13 MFCCs, standard scaling and a
support vector machine with balanced classes. The embedding is all that is measured of a voice, in the same machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avlake.learn.impact import METRICS, Clips, comparable

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, Any]

NAIVE_SHARE = 0.2  # of the clips, to test on

# Clips that are not silent. A file_id is a hash, so that the first ones are a random choice, and always the same.
HEARD = """
SELECT file_id, subject_id, split_group, kept,
    row_number() OVER (PARTITION BY subject_id ORDER BY file_id) AS place
FROM gold.talking_heads
SEMI JOIN (FROM silver.speaker_features WHERE mfcc_1_mean IS NOT NULL) AS f USING (dataset, drop_date, file_id)
WHERE subject_id IS NOT NULL AND video_id IS NOT NULL ORDER BY file_id
"""
FEATURES = """
SELECT {columns} FROM silver.speaker_features SEMI JOIN gold.talking_heads USING (dataset, drop_date, file_id)
WHERE file_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY file_id
"""


@dataclass(frozen=True)
class Heard:
    """The clips with a speaker, a source video and a measured voice, one entry per clip in every array."""

    file_id: Array
    subject: Array
    video: Array  # source video, near duplicates of one another in one
    kept: Array
    place: Array  # 1, 2, ...: in a random order of the speaker's clips

    def rows(self, chosen: Array) -> Heard:
        """The clips named by an index or a mask."""
        return Heard(
            self.file_id[chosen], self.subject[chosen], self.video[chosen], self.kept[chosen], self.place[chosen]
        )

    def comparable(self, *, min_videos: int, min_clips: int) -> Array:
        """(n,) bool: clips of the speakers who have so many source videos and clips among the kept ones."""
        y, video = coded(self.subject), coded(self.video)
        chosen: Array = comparable(y, video, self.kept, min_videos=min_videos, min_clips=min_clips)[y]
        return chosen

    def at_most(self, clips: int, first: Array) -> Heard:
        """Whole speakers in a random order until there are so many clips; those of `first` (n,) bool come first."""
        y = coded(self.subject)
        sizes = np.bincount(y)
        late = np.ones(len(sizes), dtype=bool)
        late[y[first]] = False
        order = np.lexsort((np.random.default_rng(0).random(len(sizes)), late))
        before = np.cumsum(sizes[order]) - sizes[order]
        return self.rows(np.isin(y, order[before < clips]))


def coded(names: Array) -> Array:
    """(n,) names → (n,) 0 to the number of different names - 1."""
    codes: Array = np.unique(names, return_inverse=True)[1]
    return codes


def heard(con: duckdb.DuckDBPyConnection) -> Heard:
    """Whom the warehouse's gold.talking_heads is about and whose voice silver.speaker_features knows."""
    found = con.execute(HEARD).fetchnumpy()
    file_id, subject, video = (np.asarray(found[name]).astype(str) for name in ("file_id", "subject_id", "split_group"))
    kept, place = np.asarray(found["kept"], dtype=bool), np.asarray(found["place"], dtype=np.int64)
    return Heard(file_id, subject, video, kept, place)


def nobody() -> Heard:
    """No clip at all."""
    names = np.array([], dtype=str)
    return Heard(names, names, names, np.array([], dtype=bool), np.array([], dtype=np.int64))


def embedding_columns(con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Every measurement of silver.speaker_features."""
    described = con.execute("DESCRIBE silver.speaker_features").fetchall()
    return tuple(name for name, kind, *_ in described if kind in ("FLOAT", "DOUBLE"))


def task(con: duckdb.DuckDBPyConnection, clips: Heard, columns: Sequence[str]) -> Clips:
    """The clips with these measurements, in float64; NaN where a clip lacks one."""
    query = FEATURES.format(columns=", ".join(f'"{name}"' for name in columns))
    found = con.execute(query, [clips.file_id.tolist()]).fetchnumpy()
    X = np.column_stack([np.ma.filled(found[name].astype(np.float64), np.nan) for name in columns])
    X[~np.isfinite(X)] = np.nan
    return Clips(X, coded(clips.subject), coded(clips.video), clips.kept)


def identify(X: Array, y: Array, unseen: Array) -> Array:
    """Who speaks in `unseen` (m, n_features), learned from X (n, n_features) and y (n,); (m,).

    Scaling, and the median that stands for what a clip lacks, see the clips learned from only.
    """
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), SVC(class_weight="balanced")
    )
    said: Array = model.fit(X, y).predict(unseen)
    return said


def naive(clips: Clips, seeds: int) -> dict[str, dict[str, float]]:
    """What scripts report that split each set of clips at random: by arm, metrics over seeds and the clips tested.

    Clips of one video are on both sides, and each arm is tested on other clips of other speakers: no comparison.
    A speaker with a single clip is left out, since a stratified split has no place for one.
    """
    found = {}
    for arm, rows in (("all", np.ones(len(clips.y), dtype=bool)), ("kept", clips.kept)):
        rows = rows & (np.bincount(clips.y[rows], minlength=int(clips.y.max()) + 1) >= 2)[clips.y]
        X, y = clips.X[rows], clips.y[rows]
        tested = max(int(np.ceil(NAIVE_SHARE * len(y))), len(np.unique(y)))
        scores = []
        for seed in range(seeds):
            learn, test, truth, other = train_test_split(X, y, test_size=tested, stratify=y, random_state=seed)
            said = identify(learn, truth, test)
            scores.append((accuracy_score(other, said), f1_score(other, said, average="weighted", zero_division=0)))
        found[arm] = {**dict(zip(METRICS, np.mean(scores, axis=0).tolist(), strict=True)), "n": tested}
    return found
