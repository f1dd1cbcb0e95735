"""Episodes as arrays: the segments of gold.podcast_segments, and what the tagger hears in windows of silver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avlake.errors import WorkError
from avlake.learn.boundaries import STEP_S, Heard, music_spans, tag_evidence

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Array = np.ndarray[Any, Any]

KINDS = ("both", "dialogue", "music")
CLASSES = ("dialogue", "music")  # music: also under speech
HUMAN = ("human", "human_outro")
TAGS = tuple(f"tag_{what}_{how}" for how in ("mean", "max") for what in ("speech", "music", "speech_any", "music_any"))
MUSIC_HEARD = "heard_music_heard"  # the one feature that gold does not have
NO_FEATURES = frozenset(["start_s", "end_s", "label_outro_start_s", "label_intro_end_s"])
EPISODES_AT_ONCE = 50


@dataclass(frozen=True)
class Episode:
    """One file and what people said of it; NULLs where they said nothing."""

    file_id: str
    path: str
    dataset: str
    drop_date: str
    split: str
    duration_s: float
    has_outro: bool | None
    outro_start_s: float | None  # as labelled; None where there is none, too
    intro_end_s: float | None


@dataclass(frozen=True)
class Segments:
    """Segments in order of file and time; every array has an entry per segment."""

    X: Array  # (n, n_features) float32; what was not measured is 0
    features: tuple[str, ...]
    label: Array  # (n,) one of KINDS, or empty
    source: Array  # (n,) human, human_outro, machine, or empty
    machine: Array  # (n,) what the tags alone say: one of KINDS, or empty
    batch: Array  # (n,) the labelling batch that the label came in, or empty
    kept: Array
    file_id: Array
    path: Array  # the group
    index: Array
    start_s: Array
    end_s: Array
    drop: Array  # dataset/drop_date
    episodes: Mapping[str, Episode]  # by file_id

    def __len__(self) -> int:
        return len(self.label)

    @property
    def y(self) -> Array:
        """(n,) 1: music is in it, 0: dialogue alone, -1: nobody said."""
        return np.select([self.label == "dialogue", self.label != ""], [0, 1], -1)

    @property
    def kind(self) -> Array:
        """(n,) index into KINDS, -1: nobody said."""
        return np.select([self.label == name for name in KINDS], range(len(KINDS)), -1)

    @property
    def human(self) -> Array:
        """(n,) is the label a person's, of a segment that may be learned from?"""
        return np.isin(self.source, HUMAN) & self.kept

    def rows(self, chosen: Array) -> Segments:
        """The segments named by an index or a mask; the episodes stay."""
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name not in ("features", "episodes")}
        return replace(self, **arrays)

    def columns(self, names: Sequence[str]) -> Array:
        """(n, len(names)) of the named features.

        Raises:
            WorkError: for one that gold does not have.
        """
        place = {name: i for i, name in enumerate(self.features)}
        if missing := [name for name in names if name not in place]:
            raise WorkError(f"gold.podcast_segments lacks {', '.join(missing[:5])}; curate and train again")
        return self.X[:, [place[name] for name in names]]


def read_segments(con: duckdb.DuckDBPyConnection, table: str, where: str = "true", **values: str) -> Segments:
    """All segments for which `where` holds.

    Raises:
        WorkError: if there is none.
    """
    kinds = [(name, kind) for name, kind, *_ in con.execute(f"DESCRIBE {table}").fetchall()]
    features = [name for name, kind in kinds if kind in ("FLOAT", "DOUBLE") and name not in NO_FEATURES]
    rows = con.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY file_id, segment_index", values).to_arrow_table()
    if not rows.num_rows:
        raise WorkError(f"{table} has no segment where {where}: run more drops first")

    def text(name: str) -> Array:
        return np.array([value or "" for value in rows.column(name).to_pylist()])

    def numbers(name: str) -> Array:
        return np.nan_to_num(rows.column(name).to_numpy(zero_copy_only=False).astype(np.float32))

    drop = np.char.add(np.char.add(text("dataset"), "/"), text("drop_date"))
    return Segments(
        X=np.column_stack([numbers(name) for name in features]),
        features=tuple(features),
        label=text("label"),
        source=text("label_source"),
        machine=text("machine_label"),
        batch=text("label_batch"),
        kept=rows.column("kept").to_numpy(zero_copy_only=False).astype(bool),
        file_id=text("file_id"),
        path=text("path"),
        index=rows.column("segment_index").to_numpy(),
        start_s=rows.column("start_s").to_numpy(),
        end_s=rows.column("end_s").to_numpy(),
        drop=drop,
        episodes=_episodes(rows),
    )


def _episodes(rows: pa.Table) -> dict[str, Episode]:
    names = ("file_id", "path", "dataset", "drop_date", "split", "end_s")
    said = ("label_has_outro", "label_outro_start_s", "label_intro_end_s")
    columns = [rows.column(name).to_pylist() for name in (*names, *said)]
    return {row[0]: Episode(*row) for row in zip(*columns, strict=True)}  # the last segment's end is the episode's


@dataclass(frozen=True)
class Tags:
    """What the tagger hears of one episode, in order of time."""

    start_s: Array  # (n,) of windows of STEP_S
    scores: Array  # (n, 4) in the order of SCORES

    @property
    def heard(self) -> Heard:
        speech, music = self.scores[:, 2], self.scores[:, 3]
        return Heard(self.start_s, tag_evidence(music, speech), speech)


SCORES = ("speech", "music", "speech_any", "music_any")


def tags_of(rows: pa.RecordBatch | pa.Table) -> Tags:
    """What silver.audio_tags has of one episode, in order.

    The last window is padded and not trusted; alone it is all there is.
    """
    columns = [rows.column(name).to_numpy(zero_copy_only=False) for name in ("trusted", "start_s", *SCORES)]
    trusted = columns[0].astype(bool)
    chosen = trusted if trusted.any() else np.ones(len(trusted), dtype=bool)
    return Tags(columns[1][chosen].astype(float), np.column_stack(columns[2:])[chosen].astype(np.float32))


def read_all(
    con: duckdb.DuckDBPyConnection, table: str, where: str = "true", **values: str
) -> tuple[Segments, dict[str, Tags | None]]:
    """Segments as `read_segments` gives them, with MUSIC_HEARD, and the tags of their episodes by file_id."""
    segments = read_segments(con, table, where, **values)
    tags = dict(read_tags(con, list(segments.episodes.values())))
    return add_music_heard(segments, tags), tags


def read_tags(con: duckdb.DuckDBPyConnection, episodes: Sequence[Episode]) -> Iterator[tuple[str, Tags | None]]:
    """The tags of episodes by file_id, as of the drop that gold has each from; None of one without."""
    for at in range(0, len(episodes), EPISODES_AT_ONCE):
        some = episodes[at : at + EPISODES_AT_ONCE]
        rows = con.execute(
            f"""SELECT file_id, start_s, trusted, {", ".join(SCORES)} FROM silver.audio_tags
            SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS file_id, unnest(?::VARCHAR[]) AS drop_date)
            USING (file_id, drop_date) ORDER BY file_id, window_index""",
            [[one.file_id for one in some], [one.drop_date for one in some]],
        ).to_arrow_table()
        ids = np.array(rows.column("file_id").to_pylist(), dtype=str)
        names, first, count = np.unique(ids, return_index=True, return_counts=True)
        place = {str(name): (int(a), int(n)) for name, a, n in zip(names, first, count, strict=True)}
        for one in some:
            yield one.file_id, tags_of(rows.slice(*place[one.file_id])) if one.file_id in place else None


def music_heard(tags: Tags, start_s: Array, end_s: Array) -> Array:
    """(n,) t / (t + 1), for t seconds of each segment in which the likeliest path hears music.

    A bed of a second shows in no mean of a segment; so the first second counts as much as all others.
    """
    covered = np.zeros(len(start_s))
    for begin, end in music_spans(tags.heard):
        covered += np.clip(np.minimum(end_s, end) - np.maximum(start_s, begin), 0, None)
    heard: Array = (covered / (covered + 1)).astype(np.float32)
    return heard


def segment_tags(tags: Tags, start_s: Array) -> dict[str, Array]:
    """The columns TAGS of segments, as gold has them: of the windows whose middle lies in each; 0 where none does."""
    middle = tags.start_s + STEP_S / 2
    member = np.searchsorted(start_s, middle, side="right") - 1
    found = {name: np.zeros(len(start_s), dtype=np.float32) for name in TAGS}
    for segment in np.unique(member[member >= 0]):
        scores = tags.scores[member == segment]
        for how, values in (("mean", scores.mean(axis=0)), ("max", scores.max(axis=0))):
            for what, value in zip(SCORES, values, strict=True):
                found[f"tag_{what}_{how}"][segment] = value
    return found


def add_music_heard(segments: Segments, tags: Mapping[str, Tags | None]) -> Segments:
    """The segments with the feature MUSIC_HEARD, from the tags by file_id."""
    ratio = np.zeros(len(segments), dtype=np.float32)
    for file_id, one in tags.items():
        if one is not None:
            rows = segments.file_id == file_id
            ratio[rows] = music_heard(one, segments.start_s[rows], segments.end_s[rows])
    return replace(segments, X=np.column_stack([segments.X, ratio]), features=(*segments.features, MUSIC_HEARD))


def unknown_segments(X: Array, features: tuple[str, ...], rows: pa.RecordBatch) -> Segments:
    """Segments of a file of which nothing is known but what was measured, from its rows of silver.segment_features."""
    n = len(X)
    nothing = np.full(n, "")
    start_s, end_s, index = (
        rows.column(name).to_numpy(zero_copy_only=False) for name in ("start_s", "end_s", "segment_index")
    )
    return Segments(
        X, features, nothing, nothing, nothing, nothing, np.ones(n, dtype=bool), nothing, nothing, index, start_s,
        end_s, nothing, {},
    )  # fmt: skip
