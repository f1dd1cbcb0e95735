"""Clusters to listen to: beside a pipeline's page, a playlist for each with the segments nearest to its centre.

reports/<pipeline>/playlists/cluster_<k>.m3u8   of files in `cluster_<k>/`: they play wherever the folder is copied to
reports/<pipeline>/playlists/playlists.json     written last; what they were made from
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avlake.exports import m3u
from avlake.exports.segments import Part, file_names, write_parts
from avlake.lake import Lake
from avlake.learn.data_card import records
from avlake.learn.exploration import Exploration
from avlake.learn.explore import assign
from avlake.stages.explored import exploration_key
from avlake.stages.takedowns import Excluded

if TYPE_CHECKING:
    import duckdb

PER_CLUSTER = 8
MANIFEST = "playlists.json"

NEAREST = f"""
SELECT g.file_id, g.segment_index, g.path, g.start_s, g.end_s, g.label, c.cluster
FROM {{table}} AS g JOIN assigned AS c USING (file_id, segment_index)
WHERE c.cluster IS NOT NULL AND NOT list_contains(?::VARCHAR[], g.file_id)
QUALIFY row_number() OVER (PARTITION BY c.cluster ORDER BY c.distance, g.file_id, g.segment_index) <= {PER_CLUSTER}
ORDER BY c.cluster, c.distance, g.file_id, g.segment_index
"""


@dataclass(frozen=True)
class Playlist:
    """One cluster's, by its name in the lake."""

    cluster: int
    segments: int
    episodes: int
    name: str


def write_playlists(
    lake: Lake, con: duckdb.DuckDBPyConnection, pipeline: str, table: str, found: Exploration, out: Excluded
) -> list[Playlist]:
    """Write the playlists of an exploration's clusters, unless they are there.

    Raises:
        RequestError, WorkError: naming the recording, if the bytes of one are not in the lake or cannot be decoded.
    """
    folder = f"reports/{pipeline}/playlists"
    con.register("assigned_read", assign(con, table, found.clusters))
    con.execute("CREATE OR REPLACE TEMP TABLE assigned AS FROM assigned_read")
    rows = records(con, NEAREST.format(table=table), [list(out.file_ids)])
    clusters: dict[int, list[Part]] = {}
    for row in rows:
        title = () if row["label"] is None else (row["label"],)
        part = Part(row["file_id"], row["segment_index"], row["path"], row["start_s"], row["end_s"], title)
        clusters.setdefault(row["cluster"], []).append(part)
    names = {
        cluster: [f"cluster_{cluster}/{name}" for name in file_names(parts)] for cluster, parts in clusters.items()
    }
    listed = [
        Playlist(cluster, len(parts), len({part.file_id for part in parts}), f"{folder}/cluster_{cluster}.m3u8")
        for cluster, parts in clusters.items()
    ]
    wanted = {f"{folder}/{name}" for some in names.values() for name in some} | {one.name for one in listed}
    manifest = json.dumps({"key": exploration_key(con, table, out), "per_cluster": PER_CLUSTER}).encode()
    there = set(lake.store.list(folder))
    if wanted < there and f"{folder}/{MANIFEST}" in there and lake.store.read(f"{folder}/{MANIFEST}") == manifest:
        return listed
    lake.store.delete(folder)
    with tempfile.TemporaryDirectory(prefix="avlake-playlists-") as local:
        made, scratch = Path(local) / "made", Path(local) / "scratch"
        scratch.mkdir()
        for cluster in clusters:
            (made / f"cluster_{cluster}").mkdir(parents=True)
        files = {
            name: part for cluster, parts in clusters.items() for name, part in zip(names[cluster], parts, strict=True)
        }
        write_parts(con, lake, table, files, made, scratch)
        for name in files:
            lake.store.upload(made / name, f"{folder}/{name}")
    for one, parts in zip(listed, clusters.values(), strict=True):
        entries = [part.entry(name) for part, name in zip(parts, names[one.cluster], strict=True)]
        lake.store.write(one.name, m3u.playlist(entries))
    lake.store.write(f"{folder}/{MANIFEST}", manifest)
    return listed
