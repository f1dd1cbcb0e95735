"""Boxes of faces as a drop's annotation tells them, and the steadier ones by which pictures are cut out."""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.errors import Quarantined

FURTHEST = 1000.0  # edges are kept within so many frames' widths: a pixel count stays a 32-bit number
REACH = 3.0  # standard deviations of the Gaussian: smoothing looks no further
SIZE_SMOOTHING = 2.5  # a face's size changes more slowly than its place
MOST_NEIGHBOURS = 60  # on each side, that it looks at

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Boxes:
    """All boxes of one video, those of a track together and in the order of time."""

    tracks: list[str]  # (n,) whose it is
    times_s: Array  # (n,) float64
    edges: Array  # (n, 4) float64: x1, y1, x2, y2, shares of the frame's width and height
    labels: list[str | None]  # (n,)

    @property
    def problems(self) -> list[str | None]:
        """What keeps a box from having a picture whatever the video shows: (n,) bad_box | outside_frame | None."""
        return [
            "bad_box" if not (x2 > x1 and y2 > y1) else None if in_frame((x1, y1, x2, y2)) else "outside_frame"
            for x1, y1, x2, y2 in self.edges.tolist()
        ]


def parsed(text: str) -> Boxes:
    """The boxes of an annotation, see `datasets.ava`; of two of one track at one time the first.

    Raises:
        Quarantined: `bad_annotation` for a line that is none, with its number.
    """
    rows: dict[tuple[str, float], tuple[list[float], str | None]] = {}
    for number, line in enumerate(csv.reader(text.splitlines()), 1):
        try:
            time, x1, y1, x2, y2, label, track = line
            at_s, edges = float(time), [float(edge) for edge in (x1, y1, x2, y2)]
        except ValueError:
            raise Quarantined("bad_annotation", f"line {number} of its annotation is no box: {line}") from None
        if not np.isfinite(at_s):
            raise Quarantined("bad_annotation", f"line {number} of its annotation has no time: {line}")
        rows.setdefault((track, at_s), (edges, label or None))
    order = sorted(rows)
    return Boxes(
        tracks=[track for track, _ in order],
        times_s=np.array([at_s for _, at_s in order], np.float64),
        edges=np.clip(np.array([rows[key][0] for key in order]).reshape(-1, 4), -FURTHEST, FURTHEST),
        labels=[rows[key][1] for key in order],
    )


def steady_box(times_s: Sequence[float], edges: Sequence[Array], at: int, smooth_s: float) -> Array:
    """One box of a track (n,) (n, 4), its trembling taken out: detectors and people set each a little differently.

    The centre is averaged over the boxes near in time under a Gaussian of standard deviation `smooth_s`, the size under
    one 2.5 times as wide; both end 3 `smooth_s` away. 0: the box as it is.
    """
    if not smooth_s:
        return edges[at]
    first = bisect_left(times_s, times_s[at] - REACH * smooth_s, max(at - MOST_NEIGHBOURS, 0), at)
    end = bisect_right(times_s, times_s[at] + REACH * smooth_s, at, min(at + MOST_NEIGHBOURS, len(times_s)))
    near = np.stack(edges[first:end])
    apart = (np.array(times_s[first:end]) - times_s[at]) / smooth_s
    for_centre, for_size = (np.exp(-0.5 * np.square(apart / width)) for width in (1.0, SIZE_SMOOTHING))
    centre = for_centre @ (near[:, :2] + near[:, 2:]) / (2 * for_centre.sum())
    half = for_size @ (near[:, 2:] - near[:, :2]) / (2 * for_size.sum())
    box = np.concatenate((centre - half, centre + half))
    return box if in_frame(box.tolist()) else edges[at]


def in_frame(box: Sequence[float]) -> bool:
    """Does any of a box x1, y1, x2, y2 lie in the frame?"""
    x1, y1, x2, y2 = box
    return bool(x1 < 1 and y1 < 1 and x2 > 0 and y2 > 0)
