"""Near duplicates: clips that sound and look alike over most of the shorter one, as clusters for gold's SQL.

Clips of equal bytes are one. Others are compared where they have hashes in common (`library`, `matching`). A cluster is
whatever a chain of duplicates links: where a long clip holds two excerpts, all three are one cluster, though the
excerpts share nothing; so no part of it is in two splits. Nothing depends on the order in which rows are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from avlake.stages.library import Library
from avlake.stages.matching import match

if TYPE_CHECKING:
    import duckdb

Ints = np.ndarray[Any, np.dtype[np.int64]]

# Empty files have nothing in common. `i` counts from the earliest clip: the least of a cluster stands for it.
CLIPS = """
CREATE TABLE dup_clips AS
WITH known AS (
    SELECT file_id, dataset, drop_date, path, p.file_id IS NOT NULL AS printed,
        coalesce(CASE WHEN f.size_bytes > 0 THEN f.sha256 END, file_id) AS bytes
    FROM current_files AS f LEFT JOIN silver.fingerprints AS p USING (dataset, drop_date, file_id)
    WHERE dataset = ?
),

counted AS (
    SELECT *, row_number() OVER (ORDER BY drop_date, path, file_id) - 1 AS i
    FROM (FROM known QUALIFY printed OR count(*) OVER (PARTITION BY bytes) > 1)
)

SELECT i, file_id, dataset, drop_date, printed, min(i) OVER (PARTITION BY bytes) AS twin FROM counted
"""

# Of equal bytes one set of fingerprints is enough.
PRINTS = """
SELECT c.twin AS i, p.audio_hashes, p.frame_hashes
FROM silver.fingerprints AS p JOIN dup_clips AS c USING (dataset, drop_date, file_id)
WHERE c.i IN (SELECT min(i) FROM dup_clips WHERE printed GROUP BY twin)
"""

# Videos are numbered by their earliest clip. A cluster links its videos, and so does one video of YouTube that several
# people are in: its id names it everywhere, where a folder `00001` is another video for each speaker. An id is 11
# letters, digits, - and _, drawn at random: hardly 1 in 100 lacks capital or small letters, as `video-00001` does.
YOUTUBE = r"^[A-Za-z0-9_-]{11}$"
VIDEOS = """
CREATE TABLE dup_videos AS
SELECT row_number() OVER (ORDER BY min((f.drop_date, f.path)), l.subject_id, l.value) - 1 AS i,
    l.subject_id, l.value AS video_id
FROM silver.labels AS l JOIN current_files AS f USING (dataset, drop_date, file_id)
WHERE l.dataset = ? AND l.name = 'video' AND l.subject_id IS NOT NULL AND l.value IS NOT NULL
GROUP BY l.subject_id, l.value
"""
LINKS = f"""
SELECT DISTINCT min(v.i) OVER (PARTITION BY n.cluster) AS a, v.i AS b
FROM near_duplicates AS n JOIN current_files AS f USING (file_id)
JOIN silver.labels AS l USING (dataset, drop_date, file_id)
JOIN dup_videos AS v ON v.subject_id = l.subject_id AND v.video_id = l.value
WHERE l.name = 'video' QUALIFY a != b
UNION
SELECT min(i) OVER (PARTITION BY video_id) AS a, i AS b FROM dup_videos
WHERE regexp_matches(video_id, '{YOUTUBE}') AND lower(video_id) != video_id AND upper(video_id) != video_id
QUALIFY a != b
ORDER BY a, b
"""


def near_duplicates(con: duckdb.DuckDBPyConnection, dataset: str) -> None:
    """Create the relation `near_duplicates` (file_id, cluster): alike clips have one cluster, named for the earliest.

    A row for each current file of the dataset that has fingerprints, or bytes that another has, too. The earliest clip
    is the one of the first drop, and there of the first path; `cluster` is its file_id.
    """
    con.execute(CLIPS, [dataset])
    twins = con.execute("SELECT twin FROM dup_clips ORDER BY i").fetchnumpy()["twin"].astype(np.int64)
    groups = Groups(twins)
    with tempfile.TemporaryDirectory(prefix="avlake-") as folder:
        library = Library(Path(folder), len(twins))
        library.fill(con, PRINTS)
        for a, b, lags in library.pairs(con):
            if groups.find(a) != groups.find(b) and match(library[a], library[b], lags):
                groups.join(a, b)
        del library  # its files are mapped
    _number(con, groups)
    con.execute("""
        CREATE TABLE near_duplicates AS SELECT c.file_id, k.file_id AS cluster
        FROM dup_clips AS c JOIN dup_groups AS g USING (i) JOIN dup_clips AS k ON k.i = g.least;
        DROP TABLE dup_groups; DROP TABLE dup_hits; DROP TABLE dup_clips
    """)


def split_groups(con: duckdb.DuckDBPyConnection, dataset: str) -> None:
    """Create the relation `split_groups` (subject_id, video_id, split_group), of `near_duplicates` and the labels.

    Source videos that a chain of clusters links are one group, so that no cluster spans two splits; so are the parts of
    one video of YouTube in which several people speak. A group is named `subject/video`, for the video with the
    earliest clip, by drop and path.
    """
    con.execute(VIDEOS, [dataset])
    count = con.execute("SELECT count(*) FROM dup_videos").fetchall()[0][0]
    groups = Groups(np.arange(count))
    for a, b in con.execute(LINKS).fetchall():
        groups.join(a, b)
    _number(con, groups)
    con.execute("""
        CREATE TABLE split_groups AS SELECT v.subject_id, v.video_id, k.subject_id || '/' || k.video_id AS split_group
        FROM dup_videos AS v JOIN dup_groups AS g USING (i) JOIN dup_videos AS k ON k.i = g.least;
        DROP TABLE dup_groups; DROP TABLE dup_videos
    """)


class Groups:
    """Disjoint sets of the numbers 0 to n - 1, each named for its least member (Galler and Fischer, 1964)."""

    def __init__(self, parents: Ints | Iterable[int]) -> None:
        """`parents`: for each number one of its set that is not above it, itself if there is none."""
        self._parents = [int(parent) for parent in parents]

    def find(self, i: int) -> int:
        """The least member of i's set."""
        parents = self._parents
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def join(self, a: int, b: int) -> None:
        least, other = sorted((self.find(a), self.find(b)))
        self._parents[other] = least

    def least(self) -> Ints:
        """(n,): the least member of each number's set."""
        return np.array([self.find(i) for i in range(len(self._parents))], np.int64)


def _number(con: duckdb.DuckDBPyConnection, groups: Groups) -> None:
    """Make the table `dup_groups` (i, least)."""
    least = groups.least()
    con.register("incoming", pa.table({"i": np.arange(len(least)), "least": least}))
    con.execute("CREATE TABLE dup_groups AS FROM incoming")
    con.unregister("incoming")
