"""Boxes of faces as a drop's annotation tells them, and the steadier ones by which pictures are cut out."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.errors import Quarantined

FURTHEST = 1000.0  # edges are kept within so many frames' widths: a pixel count stays a 32-bit number
SIZE_SMOOTHING = 2.5  # a face's size changes more slowly than its place
MOST_NEIGHBOURS = 60  # on each side, that smoothing looks at

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
        x1, y1, x2, y2 = self.edges.T
        bad = ~((x2 > x1) & (y2 > y1))
        outside = ~((x1 < 1) & (y1 < 1) & (x2 > 0) & (y2 > 0))
        return ["bad_box" if b else "outside_frame" if o else None for b, o in zip(bad, outside, strict=True)]


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


def steadied(times_s: Array, edges: Array, smooth_s: float) -> Array:
    """The boxes of one track (n, 4), their trembling taken out: detectors and people set each a little differently.

    Centres are averaged under a Gaussian of standard deviation `smooth_s`, sizes under one 2.5 times as wide; both end
    3 `smooth_s` away. 0: as they are.
    """
    if not smooth_s or len(times_s) < 2:
        return edges
    centre, size = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
    moved = np.concatenate((centre, size), axis=1)
    widths_s = smooth_s * np.array([1, 1, SIZE_SMOOTHING, SIZE_SMOOTHING])
    total, weight = moved.copy(), np.ones_like(moved)
    for lag in range(1, min(len(times_s), MOST_NEIGHBOURS + 1)):
        apart_s = times_s[lag:] - times_s[:-lag]
        near = apart_s <= 3 * smooth_s
        if not near.any():
            break
        weights = np.where(near[:, None], np.exp(-0.5 * np.square(apart_s[:, None] / widths_s)), 0)
        for here, there in ((slice(lag, None), slice(None, -lag)), (slice(None, -lag), slice(lag, None))):
            total[here] += weights * moved[there]
            weight[here] += weights
    found = total / weight
    return np.concatenate((found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2), axis=1)
