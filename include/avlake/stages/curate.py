"""Curate: rebuild a pipeline's gold tables whole, by SQL, from all silver, labels, takedowns and thresholds.

A gold table is one file in sql/gold. It reads `layer.table` views of the lake, without the files that were taken down,
and, beside DuckDB's own SQL, `current_files` (where a path is in several drops, the latest; `source` is where a file
came from), `split_of(group)`, `threshold('name')` for a number and `setting('name')` for a word; where people label the
pipeline's dataset `human_labels`, which says what of that counts (see `avlake.stages.human`). Tables of the pipeline
that the lake does not have yet are empty, but for the one of `-- rows`. What SQL cannot say is a relation that a line
`-- with: name` asks for.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from avlake.errors import RequestError, WorkError
from avlake.extractors import base
from avlake.lake import Lake
from avlake.pipelines import Pipeline, get_pipeline
from avlake.settings import Settings
from avlake.stages import bounded, calibrated, clusters, duplicates, human, relations, sample
from avlake.stages import thresholds as decided
from avlake.stages.record import record
from avlake.stages.takedowns import Excluded, excluded
from avlake.tables import BRONZE_FILES, HUMAN_LABELS, LABELS, SCORES, Table
from avlake.thresholds import Sampling, Thresholds

MEMORY = "1GB"  # of DuckDB, for gold of any size; the rest is on disk
log = logging.getLogger(__name__)

MEASURED = """
SELECT (SELECT count(DISTINCT file_id) FROM built),
    (SELECT coalesce(sum(duration_s), 0) FROM silver.media SEMI JOIN built USING (dataset, drop_date, file_id))
"""


@dataclass(frozen=True)
class CurateReport:
    changed: bool
    rows: dict[str, int]  # by gold table
    kept: dict[str, int]
    taken_down: str  # how many recordings of how many people, in words; empty where none
    other_thresholds: bool = False  # were others recorded than before? They may all the same decide as those did


def curate(
    settings: Settings,
    *,
    pipeline: str,
    run_id: str,
    thresholds: dict[str, Any] | None = None,
    who: str = "avlake",
    only: Collection[str] | None = None,
) -> CurateReport:
    """Rebuild the pipeline's gold tables, one commit each; equal rows make no commit.

    The thresholds given are recorded last: killed before, and asked the same again, it ends in the same state.

    Args:
        only: names of its gold tables, where not all of them are to be rebuilt; that is no stage in ops.runs, and the
            thresholds given are not recorded.

    Raises:
        RequestError: for a threshold the pipeline does not have, or a lake without its silver tables.
        WorkError: when a gold table breaks its own checks; the table before it stays, and so do the thresholds.
    """
    began, lake, chosen = time.perf_counter(), Lake.open(settings), get_pipeline(pipeline)
    values = decided.current(lake, chosen, thresholds)
    if chosen.labels:
        human.fold(lake, chosen.dataset.name)
    tables = [GoldSql.load(name) for name in chosen.gold if only is None or name in only]
    # Versions are read before the silver they protect: of two racing builds, the one that saw less cannot win.
    versions = {gold.name: lake.table_version(gold.table(pa.schema([]))) for gold in tables}
    drops = lake.drops()
    out = excluded(lake, drops)
    changed, rows, kept, measured = False, {}, {}, (0, 0.0)
    with _opened(lake, chosen, values, drops, out, tables) as con:
        for gold in tables:
            name = f"gold.{gold.name}"
            rows[name], kept[name] = gold.build(con, chosen.dataset.name, lake.store.uri)
            table = gold.table(con.sql("FROM built LIMIT 0").to_arrow_table().schema)
            rows_in_order = bounded.batches(con, f"FROM built ORDER BY {', '.join(gold.key)}")
            changed |= lake.replace_table(table, rows_in_order, expected_version=versions[gold.name])
            measured = max(measured, con.execute(MEASURED).fetchall()[0]) if "media" in chosen.extractors else measured
    if chosen.finds is not None:
        changed |= _withdraw(lake, chosen.finds, out)
    if only is not None:
        return CurateReport(changed, rows, kept, str(out))
    others = thresholds is not None and decided.keep(lake, chosen, values, who=who, run_id=run_id)
    log.info("%s is rebuilt; %s", pipeline, str(out) or "nothing was taken down")
    files, media_s = measured  # of the gold table with most
    facts = {"files": files, "media_s": media_s, "seconds": time.perf_counter() - began}
    record(lake, run_id=run_id, stage="curate", pipeline=pipeline, **facts)
    return CurateReport(changed, rows, kept, str(out), others)


def _withdraw(lake: Lake, found: Table, out: Excluded) -> bool:
    """Take what was taken down out of what a model once said; the next training says the rest anew."""
    version = lake.table_version(found)
    data = lake.scan(found.name)
    if data is None or not data.count_rows(filter=pc.field("file_id").isin(pa.array(out.file_ids, pa.string()))):
        return False
    return lake.replace_table(found, [out.without(data).to_table()], expected_version=version)


@contextlib.contextmanager
def proposed(
    settings: Settings, *, pipeline: str, name: str, thresholds: Thresholds
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A gold table as these thresholds would make it, as `built` beside the silver it comes from; nothing is kept.

    Raises:
        RequestError: for a lake without the pipeline's silver tables.
        WorkError: when the table breaks its own checks.
    """
    lake, chosen, gold = Lake.open(settings), get_pipeline(pipeline), GoldSql.load(name)
    drops = lake.drops()
    with _opened(lake, chosen, thresholds, drops, excluded(lake, drops), [gold]) as con:
        gold.build(con, chosen.dataset.name, settings.uri)
        yield con


@dataclass(frozen=True)
class GoldSql:
    """A file of sql/gold: its query, and what its first lines say of the rows it makes."""

    name: str
    query: str
    doc: str
    key: tuple[str, ...]  # `-- key:` columns that make a row unique
    groups: tuple[str, ...]  # `-- group:` columns whose values never span two splits
    label: str | None  # `-- label:` what a kept row cannot lack
    rows: str | None  # `-- rows:` the silver table with as many current rows
    relations: tuple[str, ...]  # `-- with:` names of relations

    @classmethod
    def load(cls, name: str) -> GoldSql:
        text = resources.files("avlake").joinpath(f"sql/gold/{name}.sql").read_text()
        head = [line.removeprefix("-- ") for line in text.splitlines() if line.startswith("-- ")]
        names = ("key", "group", "label", "rows", "with")
        facts = dict(line.split(": ", 1) for line in head if line.split(":")[0] in names)
        doc = next(line for line in head if line.split(":")[0] not in facts)
        key, groups, asked = (
            tuple(part.strip() for part in facts[fact].split(",")) if fact in facts else ()
            for fact in ("key", "group", "with")
        )
        return cls(name, text, doc, key, groups, facts.get("label"), facts.get("rows"), asked)

    def table(self, schema: pa.Schema) -> Table:
        return Table(f"gold.{self.name}", self.doc, self.key, schema, per_drop=False)

    def build(self, con: duckdb.DuckDBPyConnection, dataset: str, uri: str) -> tuple[int, int]:
        """Make the table `built`; returns its rows and how many are kept.

        Raises:
            RequestError: for a lake, at `uri`, without what it reads.
            WorkError: as `check` does.
        """
        try:
            con.execute(f"CREATE OR REPLACE TABLE built AS {self.query}")
        except duckdb.CatalogException as error:
            raise _nothing_in(uri, f"gold.{self.name}", error) from None
        return self.check(con, dataset)

    def check(self, con: duckdb.DuckDBPyConnection, dataset: str) -> tuple[int, int]:
        """Hold the built table to its promises; returns its rows and how many are kept.

        Raises:
            WorkError: naming every promise that is broken; the table in the lake stays as it was.
        """
        types = {row[0]: row[1] for row in con.execute("DESCRIBE built").fetchall()}
        floats = [f'"{name}"' for name, kind in types.items() if kind in ("FLOAT", "DOUBLE")]
        not_finite = " OR ".join(f"NOT isfinite({name})" for name in floats) or "false"
        key = ", ".join(self.key)
        promises = {
            f"two rows share a key ({key})": f"SELECT {key} FROM built GROUP BY ALL HAVING count(*) > 1",
            "a row is neither kept nor rejected": "SELECT 1 FROM built WHERE kept IS NULL",
            "a rejected row has no reason": "SELECT 1 FROM built WHERE kept = (reject_reason IS NOT NULL)",
            "a row is in no split": "SELECT 1 FROM built WHERE split IS NULL",
            "a measurement is NaN or infinite": f"SELECT 1 FROM built WHERE {not_finite}",
        }
        for group in self.groups:
            promises[f"a {group} is in two splits"] = (
                f"SELECT {group} FROM built GROUP BY ALL HAVING count(DISTINCT split) > 1"
            )
        if self.label:
            promises[f"a kept row has no {self.label}"] = f"SELECT 1 FROM built WHERE kept AND {self.label} IS NULL"
        if self.rows:
            promises[f"its row count is not that of {self.rows}"] = f"""
                SELECT 1 WHERE (SELECT count(*) FROM built) != (
                    SELECT count(*) FROM {self.rows} SEMI JOIN current_files USING (dataset, drop_date, file_id)
                    WHERE dataset = '{dataset}'
                )"""
        broken = [f"{promise} ({n} times)" for promise, query in promises.items() if (n := _count(con, query))]
        if broken:
            raise WorkError(f"gold.{self.name} was not replaced: {'; '.join(broken)}")
        return _count(con, "FROM built"), _count(con, "FROM built WHERE kept")


def _count(con: duckdb.DuckDBPyConnection, query: str) -> int:
    found = con.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(found[0]) if found else 0


@contextlib.contextmanager
def _opened(
    lake: Lake,
    pipeline: Pipeline,
    thresholds: Thresholds,
    drops: Collection[tuple[str, str]],
    out: Excluded,
    tables: Collection[GoldSql],
) -> Iterator[duckdb.DuckDBPyConnection]:
    """All that these gold tables may read."""
    with bounded.connect(MEMORY) as con:
        read = _prepare(con, lake, pipeline, thresholds, drops, out, needed={gold.rows for gold in tables})
        relations_in_order: dict[str, Callable[[duckdb.DuckDBPyConnection, str], None]] = {
            "clips": sample.clips,
            "near_duplicates": partial(clusters.near_duplicates, lake=lake, read=read, out=out),
            "split_groups": duplicates.split_groups,  # reads the one before
            "clip_sounds": calibrated.clip_sounds,
            "calibrated": partial(calibrated.calibrated, thresholds=thresholds),  # reads the one before
        }
        for name, create in relations_in_order.items():
            if any(name in gold.relations for gold in tables):
                try:
                    create(con, pipeline.dataset.name)
                except duckdb.CatalogException as error:
                    raise _nothing_in(lake.store.uri, f"gold of {pipeline.name}", error) from None
        yield con


def _nothing_in(uri: str, what: str, error: duckdb.CatalogException) -> RequestError:
    return RequestError(f"{uri} has nothing to build {what} from: {str(error).splitlines()[0]}; run a drop")


def _prepare(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    pipeline: Pipeline,
    thresholds: Thresholds,
    drops: Collection[tuple[str, str]],
    out: Excluded,
    *,
    needed: Collection[str | None],
) -> dict[str, ds.FileSystemDataset]:
    """Give a connection what is left of the lake's tables as views, and the names that gold SQL may use.

    Returns the tables themselves, by name, with what was taken down.

    Args:
        needed: tables without which there is nothing to decide; others that the lake does not have are empty.
    """
    tables = [e.table for e in map(base.load, pipeline.extractors)]
    schemas = {table.name: table.schema for table in tables if table.name not in needed}
    if pipeline.takes_scores:
        scored = lake.log_version(SCORES.name) is not None  # then gold needs no drop at all
        schemas |= {t.name: t.schema for t in ((SCORES, LABELS, BRONZE_FILES) if scored else (SCORES, LABELS))}
    if pipeline.labels:
        schemas[HUMAN_LABELS.name] = HUMAN_LABELS.schema
    read = {}
    for name in sorted({*lake.tables(), *schemas}):
        layer, table = name.split(".")
        if layer == "gold":
            continue  # gold comes from silver and labels alone
        con.execute(f'CREATE SCHEMA IF NOT EXISTS "{layer}"')
        if (data := lake.scan(name, drops)) is not None:
            con.register(f"{layer}_{table}", out.without(data))
            read[name] = data
        elif name in schemas:
            con.register(f"{layer}_{table}", schemas[name].empty_table())
        else:
            continue
        con.execute(f'CREATE VIEW "{layer}"."{table}" AS FROM "{layer}_{table}"')
    relations.show_thresholds(con, thresholds)
    relations.show_split(con, pipeline.salt)
    with contextlib.suppress(duckdb.CatalogException):  # a lake that holds no drop yet
        relations.show_current(con, "current_files", "bronze.files")
    if pipeline.labels:
        human.show(con, pipeline.dataset, read.get(BRONZE_FILES.name), out)
    if isinstance(thresholds, Sampling):
        sample.show_delivered(con, lake, pipeline.dataset.name)
    return read
