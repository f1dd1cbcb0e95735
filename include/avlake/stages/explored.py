"""Explorations of gold, kept in the lake until the table changes: a note, not a table, that can be made again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from avlake.lake import Lake
from avlake.learn.exploration import Exploration
from avlake.learn.explore import VERSION, explore
from avlake.learn.frame import content_hash
from avlake.stages.takedowns import Excluded

if TYPE_CHECKING:
    import duckdb

FOLDER = "explorations"


def explored(lake: Lake, con: duckdb.DuckDBPyConnection, table: str, out: Excluded) -> Exploration | None:
    """The exploration of a gold table of segments, made where it is not there yet; None where there are too few."""
    key = exploration_key(con, table, out)
    name = f"{FOLDER}/{table}.json"
    if lake.store.exists(name):
        try:
            kept = json.loads(lake.store.read(name))
            if kept["key"] == key:
                return Exploration.from_json(kept["found"].encode())
        except (ValueError, KeyError, TypeError, AttributeError):  # damaged, or of another version: made anew
            pass
    found = explore(con, table, without=out.file_ids)
    if found is not None:
        lake.store.write(name, json.dumps({"key": key, "found": found.to_json().decode()}).encode())
    return found


def exploration_key(con: duckdb.DuckDBPyConnection, table: str, out: Excluded) -> str:
    """Equal where an exploration would find the same."""
    known = [VERSION, content_hash(con, table), list(out.file_ids)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()
