"""Rows of faces, put together for formats with recordings: one row a face would hold its video a thousand times."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from avlake.exports.rows import Selection

FACE = ("file_id", "track_id", "frame_timestamp")  # columns of a table whose rows are faces
OF_VIDEO = ("file_id", "dataset", "drop_date", "path", "video_id", "split", "licence", "source")
OF_TRACK = ("track_id", "subject_id", "scene", "track_s")
PAST_END = "past_end"  # why a face's time is none of its video
SHOWN_S = 0.04  # for which a face is there at least, so that a track of one has a length


def together(rows: Selection, *, by_track: bool) -> Selection:
    """One row per video, or per track with `start_s` and `end_s`; any other table as it is.

    What differs from face to face becomes lists, by track and time, each as long as there are faces; `kept` says
    whether any of them is.
    """
    names = rows.schema.names
    if not set(FACE) <= set(names) or pa.types.is_nested(rows.schema.field(FACE[-1]).type):
        return rows  # of a track, or of no faces
    same = [name for name in (*OF_VIDEO, *(OF_TRACK if by_track else ())) if name in names]
    columns = [*same, *_lists([name for name in names if name not in same])]
    if by_track:
        seen = f"FILTER (NOT contains(coalesce(reject_reason, ''), '{PAST_END}'))" if "reject_reason" in names else ""
        columns += [
            f"min(frame_timestamp) {seen} AS start_s",
            f"greatest(max(frame_timestamp) {seen}, min(frame_timestamp) {seen} + {SHOWN_S}) AS end_s",
        ]
    return rows.with_query(f"SELECT {', '.join(columns)} FROM ({rows.query}) GROUP BY {', '.join(same)}")


def _lists(names: Collection[str]) -> list[str]:
    order = "ORDER BY track_id, frame_timestamp"
    return [f'bool_or("{n}") AS "{n}"' if n == "kept" else f'list("{n}" {order}) AS "{n}"' for n in names]
