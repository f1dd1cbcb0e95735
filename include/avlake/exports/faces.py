"""Rows of faces, put together for formats with recordings: one row a face would hold its video a thousand times."""

from __future__ import annotations

import pyarrow as pa

from avlake.exports.rows import Selection

FACE = ("file_id", "dataset", "drop_date", "path", "track_id", "frame_timestamp")  # columns of a table of faces
OF_VIDEO = ("file_id", "dataset", "drop_date", "path", "video_id", "split", "licence", "source")
OF_TRACK = ("track_id", "subject_id", "scene", "track_s")
PAST_END = "past_end"  # why a face's time is none of its video
SHOWN_S = 0.04  # for which a face is there at least, so that a track of one has a length
AT_ONCE = 50_000  # faces read at once, or one video's: DuckDB does not move lists in the making to the disk


def together(rows: Selection, *, by_track: bool) -> Selection:
    """One row per video, or per track with `start_s` and `end_s`; any other table as it is.

    What differs from face to face becomes lists, by track and time, each as long as there are faces; `kept` says
    whether any of them is. A track that has no face before the video's end is left out.
    """
    names = rows.schema.names
    if not set(FACE) <= set(names) or pa.types.is_nested(rows.schema.field(FACE[-1]).type):
        return rows  # of a track, or of no faces
    same = [name for name in (*OF_VIDEO, *(OF_TRACK if by_track else ())) if name in names]
    lists = [name for name in names if name not in same and name != "kept"]
    whole, entries = {"kept": 'bool_or("kept")'} if "kept" in names else {}, ""
    if by_track:
        seen = f"FILTER (NOT contains(coalesce(reject_reason, ''), '{PAST_END}'))" if "reject_reason" in names else ""
        first = f"min(frame_timestamp) {seen}"
        whole["start_s"], whole["end_s"] = first, f"greatest(max(frame_timestamp) {seen}, {first} + {SHOWN_S})"
        entries = "HAVING start_s IS NOT NULL"
    # One list of structs: ordered lists of each column would sort, and hold what they sort by, once each.
    face = ", ".join(f"'{name}': \"{name}\"" for name in lists)
    whole["faces"] = f"list({{{face}}} ORDER BY track_id, frame_timestamp)"
    made = ", ".join((*same, *(f"{how} AS {name}" for name, how in whole.items())))
    told = ", ".join(f'[face."{name}" FOR face IN faces] AS "{name}"' for name in lists)
    return rows.with_query(
        f"""SELECT * EXCLUDE (faces), {told} FROM (
                SELECT {made} FROM ({rows.query}) GROUP BY {", ".join(same)} {entries}
            )""",
        blocks=f"""SELECT min(path) AS first, max(path) AS last FROM (
                SELECT path, sum(count(*)) OVER (ORDER BY path) // {AT_ONCE} AS block
                FROM ({rows.query}) WHERE dataset = $1 AND drop_date = $2 GROUP BY path
            ) GROUP BY block ORDER BY block""",
    )
