"""Scenes to look at: where a model that had not seen the video tells best who speaks, where worst, and between.

Faces come from silver.face_tracks in the lake, without those of videos that were taken down.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avlake.learn import speaker_plots
from avlake.learn.average_precision import average_precision
from avlake.learn.speaker_plots import TrackDrawn
from avlake.stages.pages.base import Page

FACES, KEYS = "silver.face_tracks", ("file_id", "scene", "track_id", "frame_timestamp")
MOST_TRACKS, MOST_S = 4, 20.0  # of a scene, that are drawn
STILLS = 12  # places for stills across a picture
LEAST = 5  # faces of each class, for a scene to be ranked
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Looked:
    """A scene as the page shows it; `ap` is that of its own faces, whatever other scenes score."""

    which: str
    path: str
    start_s: float
    end_s: float
    tracks: int
    tracks_left_out: int
    cut: bool  # is more of it left out at its end?
    ap: float
    png: bytes


@dataclass(frozen=True)
class _Cut:
    """What is drawn of a scene: of `of` tracks, and is it `short` of its end?"""

    file_id: str
    tracks: list[TrackDrawn]
    start_s: float
    end_s: float
    of: int
    short: bool


def looked_at(page: Page, predicted: pa.Table, score: str, places: Mapping[str, tuple[str, str]]) -> list[Looked]:
    """The best, a typical and the worst scene; fewer where there are not three with faces that speak and others.

    Args:
        predicted: a row per face with `KEYS`, label, y and scores.
        score: the column of scores; rows without one are left out.
        places: path and drop_date by file_id; other files are left out.
    """
    rows = predicted.filter(pc.field(score).is_valid() & pc.field("file_id").isin(pa.array(places, pa.string())))
    ranked = _ranked(rows, score)
    if not ranked:
        return []
    wanted = {len(ranked) // 2: "typical", 0: "worst", len(ranked) - 1: "best"}
    chosen = [(which, *ranked[place]) for place, which in sorted(wanted.items(), reverse=True)]
    found = []
    for which, ap, members in chosen:
        cut = _cut(rows.take(members), score)
        path, drop = places[cut.file_id]
        stills = _stills(page, cut, drop)
        tracks = [replace(track, stills=stills.get(track.name, [])) for track in cut.tracks]
        png = speaker_plots.scene(tracks, (cut.start_s, cut.end_s))
        left_out = cut.of - len(tracks)
        found.append(Looked(which, path, cut.start_s, cut.end_s, cut.of, left_out, cut.short, ap, png))
    return found


def _ranked(rows: pa.Table, score: str) -> list[tuple[float, Array]]:
    """(average precision, rows) of every scene with both classes, the worst first."""
    codes = [rows[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in KEYS[:2]]
    order = np.lexsort(codes[::-1])
    changes = np.flatnonzero(np.any([np.diff(code[order]) != 0 for code in codes], axis=0)) + 1
    y, said = rows["y"].to_numpy(), rows[score].to_numpy()
    found = []
    for members in np.split(order, changes):
        speak = int((y[members] == 1).sum())
        if min(speak, len(members) - speak) >= LEAST:
            found.append((average_precision(y[members], said[members]), members))
    return sorted(found, key=lambda one: one[0])


def _cut(rows: pa.Table, score: str) -> _Cut:
    """What is drawn of a scene's rows: its beginning, and the tracks with most faces there, those first on top."""
    rows = rows.sort_by("frame_timestamp")
    times, names = rows["frame_timestamp"].to_numpy(), rows["track_id"].to_pylist()
    said, labels = rows[score].to_numpy().astype(float), rows["label"].to_pylist()
    start_s, end_s = float(times[0]), min(float(times[-1]), float(times[0]) + MOST_S)
    inside: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if times[i] <= end_s:
            inside.setdefault(name, []).append(i)
    most = sorted(inside, key=lambda name: (-len(inside[name]), name))[:MOST_TRACKS]
    tracks = [
        TrackDrawn(name, times[at], said[at], [labels[i] for i in at], [])
        for name, at in inside.items()
        if name in most
    ]
    return _Cut(rows["file_id"][0].as_py(), tracks, start_s, end_s, len(set(names)), bool(times[-1] > end_s))


def _stills(page: Page, cut: _Cut, drop: str) -> dict[str, list[tuple[float, Array]]]:
    """Faces of the tracks at regular times; none of what the lake no longer has."""
    data = page.lake.scan(FACES)
    if data is None:
        return {}
    edge_s = (cut.end_s - cut.start_s) / STILLS / 2
    places = np.linspace(cut.start_s + edge_s, cut.end_s - edge_s, STILLS).tolist()
    names = pa.array([track.name for track in cut.tracks], pa.string())
    here = (pc.field("file_id") == cut.file_id) & (pc.field("drop_date") == drop) & pc.field("track_id").isin(names)
    columns = ["track_id", "frame_timestamp", "crops", "crop_bytes"]
    found: dict[str, dict[float, Array]] = {}
    for batch in page.out.without(data).to_batches(columns=columns, filter=here, batch_size=4, batch_readahead=1):
        for row in batch.to_pylist():
            strip, ends = found.setdefault(row["track_id"], {}), np.cumsum([0, *row["crop_bytes"]]).tolist()
            for place, at in _nearest(row["frame_timestamp"], row["crop_bytes"], places, edge_s).items():
                strip[place] = _picture(row["crops"][ends[at] : ends[at + 1]])
    return {name: sorted(strip.items(), key=lambda still: still[0]) for name, strip in found.items()}


def _nearest(
    times_s: Sequence[float], sizes: Sequence[int], places: Sequence[float], reach_s: float
) -> dict[float, int]:
    """For each place the index of the nearest face with a picture, if it is within reach."""
    pictured = np.flatnonzero(np.asarray(sizes))
    if not len(pictured):
        return {}
    times = np.asarray(times_s)[pictured]
    nearest = {place: int(np.argmin(np.abs(times - place))) for place in places}
    return {place: int(pictured[i]) for place, i in nearest.items() if abs(times[i] - place) <= reach_s}


def _picture(jpeg: bytes) -> Array:
    """(h, w) uint8."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"))
