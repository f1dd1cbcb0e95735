"""What AVA's annotations and the videos of a drop have to do with each other, in words."""

from __future__ import annotations

from collections import Counter

from avlake.datasets.base import Label


class Summary:
    """What annotations and videos of a drop have to do with each other, from its labels, in one sentence."""

    def __init__(self) -> None:
        self._sums, self._annotated, self._without, self._unread = Counter[str](), 0, 0, 0

    def add(self, label: Label) -> None:
        self._sums[label.name] += int(label.value or 0)
        if label.name == "annotated_boxes":
            self._annotated += int(label.value or 0) > 0
            self._without += int(label.value or 0) == 0
        self._unread += label.name == "rows" and label.value is None

    def words(self) -> str:
        """`annotations: 8880 boxes of 20 videos; 1 video without annotations; …`, of what there is any of."""
        n = self._sums
        boxes = f"{_count(n['annotated_boxes'], 'box', 'boxes')} of {_count(self._annotated, 'video')}"
        lost = f"{_count(n['boxes_without_video'], 'box', 'boxes')} of {_count(n['videos_missing'], 'video')}"
        said = [
            (True, boxes if self._annotated else "none"),
            (self._without, f"{_count(self._without, 'video')} without annotations"),
            (n["videos_missing"], f"{lost} that {'is' if n['videos_missing'] == 1 else 'are'} not there"),
            (n["unknown_labels"], _count(n["unknown_labels"], "unknown label")),
            (
                n["contradictions"],
                f"{_count(n['contradictions'], 'box', 'boxes')} that rows contradict each other about",
            ),
            (n["malformed_rows"], _count(n["malformed_rows"], "malformed row")),
            (n["rows_of_actions"], f"{_count(n['rows_of_actions'], 'row')} of actions, not of faces"),
            (self._unread, f"{_count(self._unread, 'CSV')} too large to be read: split it by video"),
        ]
        return "annotations: " + "; ".join(words for any_, words in said if any_)


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
