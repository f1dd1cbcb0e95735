"""Curate: rebuild a pipeline's gold tables whole, by SQL, from all silver, labels, takedowns and thresholds.

A gold table is one file in sql/gold. It reads `layer.table` views of the lake, without the files that were taken down,
and, beside DuckDB's own SQL, `current_files` (where a path is in several drops, the latest; `source` is where a file
came from), `split_of(group)`, `threshold('name')` for a number and `setting('name')` for a word. Tables of the pipeline
that the lake does not have yet are empty. What SQL cannot say is a relation that a line `-- with: name` asks for.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa

from avlake.errors import RequestError, WorkError
from avlake.extractors import base
from avlake.lake import Lake
from avlake.learn import splits
from avlake.media.archives import ARCHIVE_OF
from avlake.pipelines import Pipeline, Thresholds, get_pipeline
from avlake.settings import Settings
from avlake.stages import bounded, duplicates
from avlake.stages.record import record
from avlake.stages.takedowns import Excluded, excluded
from avlake.tables import BRONZE_FILES, LABELS, SCORES, THRESHOLDS, Table

RELATIONS = {"near_duplicates": duplicates.near_duplicates}
MEMORY = "1GB"  # of DuckDB, for gold of any size; the rest is on disk
log = logging.getLogger(__name__)

# A source does not depend on where the landing zone was mounted; bronze.files.source_uri has the full address.
CURRENT_FILES = f"""
CREATE VIEW current_files AS
SELECT *, CASE
    WHEN regexp_matches(source_uri, '^https?://') THEN source_uri
    ELSE concat_ws('/', dataset, drop_date, coalesce(nullif(regexp_extract(path, '{ARCHIVE_OF}', 1), ''), path))
END AS source
FROM bronze.files QUALIFY row_number() OVER (PARTITION BY file_id ORDER BY drop_date DESC) = 1
"""

# The same rule as avlake.learn.splits.split_of, which a test holds it to.
SPLIT_OF = f"""
CREATE MACRO split_of(grp) AS CASE
    WHEN starts_with(grp, '{splits.ANONYMOUS}') THEN '{splits.TRAIN}'
    WHEN ('0x' || sha256('{{salt}}' || grp)[1:8])::BIGINT / 4294967296 < {splits.TRAIN_SHARE} THEN '{splits.TRAIN}'
    WHEN ('0x' || sha256('{{salt}}' || grp)[1:8])::BIGINT / 4294967296 < {splits.TRAIN_SHARE + splits.VALIDATION_SHARE}
        THEN '{splits.VALIDATION}'
    WHEN grp IS NOT NULL THEN '{splits.TEST}'
END
"""


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


def curate(
    settings: Settings, *, pipeline: str, run_id: str, thresholds: dict[str, Any] | None = None, who: str = "avlake"
) -> CurateReport:
    """Rebuild the pipeline's gold tables, one commit each; equal rows make no commit.

    Raises:
        RequestError: for a threshold the pipeline does not have, or a lake without its silver tables.
        WorkError: when a gold table breaks its own checks; the table before it stays.
    """
    began, lake, chosen = time.perf_counter(), Lake.open(settings), get_pipeline(pipeline)
    values = _thresholds(lake, chosen, thresholds, who=who, run_id=run_id)
    changed, rows, kept, measured = False, {}, {}, (0, 0.0)
    for name in chosen.gold:
        gold = GoldSql.load(name)
        # The version is read before the silver it protects: of two racing builds, the one that saw less cannot win.
        version = lake.table_version(gold.table(pa.schema([])))
        drops = lake.drops()
        out = excluded(lake, drops)
        with bounded.connect(MEMORY) as con:
            _prepare(con, lake, chosen, values, drops, out)
            for relation in gold.relations:
                RELATIONS[relation](con, chosen.dataset.name)
            try:
                con.execute(f"CREATE TABLE built AS {gold.query}")
            except duckdb.CatalogException as error:
                reason = str(error).splitlines()[0]
                raise RequestError(
                    f"{settings.uri} has nothing to build gold.{name} from: {reason}; run a drop"
                ) from None
            rows[f"gold.{name}"], kept[f"gold.{name}"] = gold.check(con, chosen.dataset.name)
            table = gold.table(con.sql("FROM built LIMIT 0").to_arrow_table().schema)
            rows_in_order = bounded.batches(con, f"FROM built ORDER BY {', '.join(gold.key)}")
            changed |= lake.replace_table(table, rows_in_order, expected_version=version)
            measured = max(measured, con.execute(MEASURED).fetchall()[0]) if "media" in chosen.extractors else measured
    log.info("%s is rebuilt; %s", pipeline, str(out) or "nothing was taken down")
    files, media_s = measured  # of the gold table with most
    facts = {"files": files, "media_s": media_s, "seconds": time.perf_counter() - began}
    record(lake, run_id=run_id, stage="curate", pipeline=pipeline, **facts)
    return CurateReport(changed, rows, kept, str(out))


@dataclass(frozen=True)
class GoldSql:
    """A file of sql/gold: its query, and what its first lines say of the rows it makes."""

    name: str
    query: str
    doc: str
    key: tuple[str, ...]  # `-- key:` columns that make a row unique
    group: str | None  # `-- group:` what never spans two splits
    label: str | None  # `-- label:` what a kept row cannot lack
    rows: str | None  # `-- rows:` the silver table with as many current rows
    relations: tuple[str, ...]  # `-- with:` names of RELATIONS

    @classmethod
    def load(cls, name: str) -> GoldSql:
        text = resources.files("avlake").joinpath(f"sql/gold/{name}.sql").read_text()
        head = [line.removeprefix("-- ") for line in text.splitlines() if line.startswith("-- ")]
        names = ("key", "group", "label", "rows", "with")
        facts = dict(line.split(": ", 1) for line in head if line.split(":")[0] in names)
        doc = next(line for line in head if line.split(":")[0] not in facts)
        key, relations = (
            tuple(part.strip() for part in facts[fact].split(",")) if fact in facts else () for fact in ("key", "with")
        )
        return cls(name, text, doc, key, facts.get("group"), facts.get("label"), facts.get("rows"), relations)

    def table(self, schema: pa.Schema) -> Table:
        return Table(f"gold.{self.name}", self.doc, self.key, schema, per_drop=False)

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
        if self.group:
            promises[f"a {self.group} is in two splits"] = (
                f"SELECT {self.group} FROM built GROUP BY ALL HAVING count(DISTINCT split) > 1"
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


def _prepare(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    pipeline: Pipeline,
    thresholds: Thresholds,
    drops: Collection[tuple[str, str]],
    out: Excluded,
) -> None:
    """Give a connection what is left of the lake's tables as views, and the names that gold SQL may use."""
    schemas = {e.table.name: e.table.schema for e in map(base.load, pipeline.extractors)}
    if pipeline.takes_scores:
        scored = lake.log_version(SCORES.name) is not None  # then gold needs no drop at all
        schemas |= {t.name: t.schema for t in ((SCORES, BRONZE_FILES, LABELS) if scored else (SCORES,))}
    for name in sorted({*lake.tables(), *schemas}):
        layer, table = name.split(".")
        if layer == "gold":
            continue  # gold comes from silver and labels alone
        con.execute(f'CREATE SCHEMA IF NOT EXISTS "{layer}"')
        if (data := lake.scan(name, drops)) is not None:
            con.register(f"{layer}_{table}", out.without(data))
        elif name in schemas:
            con.register(f"{layer}_{table}", schemas[name].empty_table())
        else:
            continue
        con.execute(f'CREATE VIEW "{layer}"."{table}" AS FROM "{layer}_{table}"')
    values = thresholds.model_dump(mode="json")
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    words = {name: value for name, value in values.items() if isinstance(value, str)}
    con.execute("SET VARIABLE thresholds = MAP(?::VARCHAR[], ?::DOUBLE[])", [list(numbers), list(numbers.values())])
    con.execute("CREATE MACRO threshold(name) AS map_extract(getvariable('thresholds'), name)[1]")
    con.execute("SET VARIABLE settings = MAP(?::VARCHAR[], ?::VARCHAR[])", [list(words), list(words.values())])
    con.execute("CREATE MACRO setting(name) AS map_extract(getvariable('settings'), name)[1]")
    con.execute(SPLIT_OF.format(salt=pipeline.salt))
    with contextlib.suppress(duckdb.CatalogException):  # a lake that holds no drop yet
        con.execute(CURRENT_FILES)


def _thresholds(lake: Lake, pipeline: Pipeline, given: dict[str, Any] | None, *, who: str, run_id: str) -> Thresholds:
    """The thresholds given, which become the pipeline's latest; else its latest; else the defaults."""
    recorded = lake.scan(THRESHOLDS.name)
    latest: dict[str, Any] = {}
    if recorded is not None:
        rows = [r for r in recorded.to_table().to_pylist() if r["pipeline"] == pipeline.name]
        latest = json.loads(max(rows, key=lambda r: r["when"])["values"]) if rows else {}
    chosen = pipeline.decided(latest if given is None else {**latest, **given})
    if given is not None and (values := chosen.model_dump(mode="json")) != latest:
        now = datetime.now(UTC)
        row = {"pipeline": pipeline.name, "values": json.dumps(values, sort_keys=True), "who": who, "when": now}
        lake.append(THRESHOLDS, pa.Table.from_pylist([row], schema=THRESHOLDS.schema), once=f"{run_id}/{pipeline.name}")
    return chosen
