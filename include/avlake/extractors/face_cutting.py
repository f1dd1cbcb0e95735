"""One look at a video's frames for all the boxes of it that are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from avlake.extractors import crops
from avlake.extractors.face_boxes import Array, Boxes, steady_box

if TYPE_CHECKING:
    from avlake.media.video import Frame

NEAR_FRAMES = 1.5  # so far from a box's time may its picture be shown, where pictures are missing
NEAR_END_FRAMES = 0.5  # after the last one
MOST_S = 1.0  # no picture is nearer than this: not worth cutting


class Cutter:
    """A viewer that keeps, for every box, the picture shown nearest to its time; of frames it keeps the last one."""

    def __init__(self, boxes: Boxes, quality: int, smooth_s: float) -> None:
        self._boxes = boxes
        self.size_px = (0, 0)  # of the first frame
        self._quality = quality
        self._problems, self._crops = boxes.problems, [b""] * len(boxes.tracks)
        self._edges = _steady(boxes, self._problems, smooth_s)
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

    def finish(self) -> tuple[Boxes, list[bytes], list[str | None]]:
        """Once all frames were seen: the boxes, their crops, and why one has none."""
        last, self._last = self._last, None
        assert last
        self._cut(last, np.inf)
        step_s = (last.time_s - self._first_s) / (self._frames - 1) if last.time_s > self._first_s else last.lasts_s
        for i in np.flatnonzero(self._off_s > NEAR_END_FRAMES * step_s):
            late = self._boxes.times_s[i] > last.time_s
            if self._problems[i] is None and (late or self._off_s[i] > NEAR_FRAMES * step_s):
                self._problems[i], self._crops[i] = "past_end" if late else "no_frame", b""
        return self._boxes, self._crops, self._problems

    def _cut(self, frame: Frame, until_s: float) -> None:
        """The boxes that wait for a picture and are not later than `until_s` get this one."""
        while self._waiting and self._boxes.times_s[self._waiting[-1]] <= until_s:
            i = self._waiting.pop()
            off_s = abs(float(self._boxes.times_s[i]) - frame.time_s)
            if self._problems[i] is None and off_s < MOST_S:
                self._off_s[i] = off_s
                self._crops[i] = crops.packed(crops.cut(frame.luma, self._edges[i]), self._quality)


def _steady(boxes: Boxes, problems: Sequence[str | None], smooth_s: float) -> Array:
    """The boxes to cut by: (n, 4). One that cannot be cut steadies no other."""
    found = boxes.edges.copy()
    for _, of_track in groupby(range(len(problems)), key=boxes.tracks.__getitem__):
        usable = [i for i in of_track if problems[i] is None]
        times_s, edges = boxes.times_s[usable].tolist(), list(boxes.edges[usable])
        for at, i in enumerate(usable):
            found[i] = steady_box(times_s, edges, at, smooth_s)
    return found
