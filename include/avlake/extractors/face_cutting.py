"""One look at a video's frames for all the boxes of it that are known beforehand."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from avlake.extractors import crops
from avlake.extractors.face_boxes import Array, Boxes, steadied

if TYPE_CHECKING:
    from avlake.media.video import Frame

NEAR_FRAMES = 1.5  # so far from a box's time may its picture be shown, where pictures are missing
NEAR_END_FRAMES = 0.5  # after the last one
MOST_S = 1.0  # no picture is nearer than this: not worth cutting


class Cutter:
    """A viewer that keeps, for every box, the picture shown nearest to its time; of frames it keeps the last one."""

    def __init__(self, boxes: Boxes, quality: int, smooth_s: float) -> None:
        self.boxes = boxes
        self.size_px = (0, 0)  # of the first frame
        self._quality = quality
        self._edges = _steadied_by_track(boxes, smooth_s)
        self._problems, self._crops = boxes.problems, [b""] * len(boxes.tracks)
        self._off_s = np.full(len(boxes.tracks), np.inf)  # from the box's time to that of its picture
        self._waiting = [int(i) for i in np.argsort(boxes.times_s, kind="stable")[::-1]]  # the earliest last
        self._last: Frame | None = None
        self._first_s, self._frames = 0.0, 0

    def see(self, frame: Frame) -> None:
        if self._last is None:
            self.size_px, self._first_s = frame.size_px, frame.time_s
        else:
            self._cut(self._last, (self._last.time_s + frame.time_s) / 2)
        self._last = frame
        self._frames += 1

    def finish(self) -> tuple[list[bytes], list[str | None]]:
        """Once all frames were seen: the crops (n,), empty where there is none, and why there is none (n,)."""
        last, self._last = self._last, None
        assert last
        self._cut(last, np.inf)
        step_s = (last.time_s - self._first_s) / (self._frames - 1) if last.time_s > self._first_s else last.lasts_s
        for i in np.flatnonzero(self._off_s > NEAR_END_FRAMES * step_s):
            late = self.boxes.times_s[i] > last.time_s
            if self._problems[i] is None and (late or self._off_s[i] > NEAR_FRAMES * step_s):
                self._problems[i], self._crops[i] = "past_end" if late else "no_frame", b""
        return self._crops, self._problems

    def _cut(self, frame: Frame, until_s: float) -> None:
        """The boxes that wait for a picture and are not later than `until_s` get this one."""
        while self._waiting and self.boxes.times_s[self._waiting[-1]] <= until_s:
            i = self._waiting.pop()
            off_s = abs(float(self.boxes.times_s[i]) - frame.time_s)
            if self._problems[i] is None and off_s < MOST_S:
                self._off_s[i] = off_s
                self._crops[i] = crops.packed(crops.cut(frame.luma, self._edges[i]), self._quality)


def _steadied_by_track(boxes: Boxes, smooth_s: float) -> Array:
    """The boxes to cut by (n, 4); a box that cannot be cut steadies no other one."""
    usable = np.array([problem is None for problem in boxes.problems], bool)
    found, start = boxes.edges.copy(), 0
    for _, same in groupby(boxes.tracks):
        stop = start + len(list(same))
        at = start + np.flatnonzero(usable[start:stop])
        steady = steadied(boxes.times_s[at], boxes.edges[at], smooth_s)
        x1, y1, x2, y2 = steady.T
        inside = (x1 < 1) & (y1 < 1) & (x2 > 0) & (y2 > 0)
        found[at[inside]] = steady[inside]
        start = stop
    return found
