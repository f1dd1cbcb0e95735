"""What a drop's new commit takes over: rows that stay, rows copied from identical bytes, labels, unreadable archives.

A commit replaces all rows of its drop, so everything that is not measured anew has to be carried into it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from avlake.datasets.base import Label
from avlake.errors import Quarantined
from avlake.extractors import base
from avlake.lake import Lake
from avlake.stages.work import Output
from avlake.tables import EXTRACTIONS, LABELS, Table

REPLACING = "replacing"  # a params_hash that nothing has
Row = dict[str, Any]
Work = dict[tuple[str, str], Row]  # (file_id, extractor) → row of ops.extractions


def prior_work(lake: Lake, dataset: str, drop: str) -> Work:
    """What ops.extractions says of this drop."""
    return {(r["file_id"], r["extractor"]): r for r in lake.rows(EXTRACTIONS, dataset, drop).to_pylist()}


def missing(prior: Work, file: Row, hashes: Mapping[str, str]) -> set[str]:
    """The extractors whose measurement of this file, as it is now, is not there."""

    def there(name: str) -> bool:
        row = prior.get((file["file_id"], name))
        return row is not None and (row["sha256"], row["params_hash"]) == (file["sha256"], hashes[name])

    return set() if there("open") else {name for name in hashes if name != "open" and not there(name)}


def find_copies(
    lake: Lake, files: Iterable[Row], missing: Mapping[str, set[str]], hashes: Mapping[str, str]
) -> dict[str, dict[str, Row]]:
    """Measurements of identical bytes under another path or in another drop: file_id → extractor → its ops row."""
    done = lake.scan(EXTRACTIONS.name)
    wanted = pa.table(
        {"file_id": [f["file_id"] for f in files], "sha256": [f["sha256"] for f in files]},
        schema=pa.schema([("file_id", pa.string()), ("sha256", pa.string())]),
    )
    if done is None or not wanted.num_rows:
        return {}
    identities = pa.table({"extractor": list(hashes), "params_hash": list(hashes.values())})
    with duckdb.connect(":memory:") as con:
        for name, data in {"done": done, "wanted": wanted, "identities": identities}.items():
            con.register(name, data)
        rows = con.sql(
            "SELECT wanted.file_id AS target, done.* FROM done JOIN identities USING (extractor, params_hash) "
            "JOIN wanted USING (sha256) ORDER BY done.status, done.dataset, done.drop_date, done.file_id"
        ).to_arrow_table()
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows.to_pylist():
        target = row.pop("target")
        if row["extractor"] == "open":
            if not found[target]:  # another path's bytes may have been measured all the same
                found[target] = {"open": row}
        elif row["extractor"] in missing[target] and "open" not in found[target]:
            found[target].setdefault(row["extractor"], row)
    return dict(found)


@dataclass(frozen=True)
class Takeover:
    """Fragments for the commit; for the claim before it; and the names of the tables that change at all."""

    carried: Output
    claim: Output
    changed: set[str]


def carry(
    lake: Lake,
    dataset: str,
    drop: str,
    *,
    files: list[Row],
    prior: Work,
    measured: Mapping[str, Iterable[str]],
    copies: Mapping[str, Mapping[str, Row]],
    failures: Mapping[str, Quarantined],
    labels: Iterable[Label],
    run_id: str,
) -> Takeover:
    """Write what the commit takes over.

    Rows of ops that are about to be replaced are claimed first: committed with a hash that nothing has. So a run that
    is killed between its silver tables leaves no ops row that vouches for silver of another version, and one that
    comes too late finds out before it has touched silver.
    """
    by_id = {f["file_id"]: f for f in files}
    anew = {(i, name) for i, names in measured.items() for name in (*names, "open")}
    anew |= {(i, name) for i, found in copies.items() for name in (*found, "open")}
    kept = {
        key: row
        for key, row in prior.items()
        if key not in anew and row["sha256"] == by_id.get(key[0], {}).get("sha256") and _holds(key, failures)
    }
    copied = [
        row | {"dataset": dataset, "drop_date": drop, "file_id": i, "path": by_id[i]["path"], "run_id": run_id}
        for i, found in copies.items()
        for row in found.values()
    ]
    broken = [_failed(by_id[i], "ingest", error, run_id) for i, error in failures.items() if (i, "ingest") not in kept]
    dropped = {name for (_, name) in prior.keys() - kept.keys()}
    touched = dropped | {name for names in measured.values() for name in names} | {row["extractor"] for row in copied}

    output, claim, changed = Output(), Output(), set()
    for name in sorted(touched - {"open", "ingest"}):
        table = base.load(name).table
        stays = {i for (i, extractor), row in kept.items() if extractor == name and row["status"] == "ok"}
        rows = lake.rows(table, dataset, drop)
        parts = [rows.filter(pc.is_in(rows["file_id"], pa.array(stays, pa.string())))]
        parts += _copied_rows(lake, table, copies, name, dataset, drop)
        output.add(table, lake.write_fragment(table, dataset, drop, parts))
        changed.add(table.name)
    replaced = [row | {"params_hash": REPLACING} for key, row in prior.items() if key not in kept]
    if replaced:
        marked = pa.Table.from_pylist([*kept.values(), *replaced], schema=EXTRACTIONS.schema)
        claim.add(EXTRACTIONS, lake.write_fragment(EXTRACTIONS, dataset, drop, [marked]))
    if touched or broken:
        ops = pa.Table.from_pylist([*kept.values(), *copied, *broken], schema=EXTRACTIONS.schema)
        output.add(EXTRACTIONS, lake.write_fragment(EXTRACTIONS, dataset, drop, [ops]))
        changed.add(EXTRACTIONS.name)
    found = pa.Table.from_pylist(
        [vars(label) | {"dataset": dataset, "drop_date": drop} for label in labels], schema=LABELS.schema
    )
    output.add(LABELS, lake.write_fragment(LABELS, dataset, drop, [found]))
    return Takeover(output, claim, changed | {LABELS.name})


def _holds(key: tuple[str, str], failures: Mapping[str, Quarantined]) -> bool:
    return key[1] != "ingest" or key[0] in failures


def _failed(file: Row, stage: str, error: Quarantined, run_id: str) -> Row:
    same = {name: file[name] for name in ("dataset", "drop_date", "file_id", "path", "sha256")}
    return same | {
        "extractor": stage,
        "params_hash": "",
        "status": "quarantined",
        "error_class": error.error_class,
        "error": str(error),
        "seconds": 0.0,
        "run_id": run_id,
    }


def _copied_rows(
    lake: Lake, table: Table, copies: Mapping[str, Mapping[str, Row]], name: str, dataset: str, drop: str
) -> Iterable[pa.Table]:
    """Silver rows of identical bytes, under this drop's own file ids."""
    sources: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for target, found in copies.items():
        if (row := found.get(name)) and row["status"] == "ok":
            sources[row["dataset"], row["drop_date"]][row["file_id"]].append(target)
    for place, targets in sources.items():
        rows = lake.rows(table, *place)
        ids = rows["file_id"].to_pylist()
        taken = [(index, target) for index, i in enumerate(ids) for target in targets.get(i, ())]
        part = rows.take(pa.array([index for index, _ in taken], pa.int64()))
        fresh = {
            "file_id": pa.array([target for _, target in taken], pa.string()),
            "dataset": pa.array([dataset] * len(taken), pa.string()),
            "drop_date": pa.array([drop] * len(taken), pa.string()),
        }
        yield pa.table({f.name: fresh.get(f.name, part[f.name]) for f in table.schema})
