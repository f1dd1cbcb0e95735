"""The data card: what a gold table was made from, on what terms, and what is not in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

# Each row with its share of its recording's duration; a file's origin is the folder or index that it lay in.
ROWS = """
SELECT g.dataset || '/' || g.drop_date AS "drop", g.file_id, g.kept, g.reject_reason, {subject_id} AS subject_id,
    {licence} AS licence, {source} AS source, regexp_replace({source}, '[^/]*$', '') AS origin,
    {duration_s} / count(*) OVER (PARTITION BY g.dataset, g.drop_date, g.file_id) AS seconds
FROM {table} AS g {media}
"""
COUNTS = """count(DISTINCT file_id) AS recordings, round(sum(seconds) / 3600, 3) AS hours,
    count(DISTINCT subject_id) AS people, count(*) AS rows, count(*) FILTER (kept) AS kept"""


def describe(con: duckdb.DuckDBPyConnection, table: str, *, taken_down: str) -> dict[str, Any]:
    """The card's figures, from a gold table of the warehouse, and from silver.media where that is there.

    Args:
        taken_down: how many recordings of how many people were left out, in words; empty where none.
    """
    columns = {name for name, *_ in con.execute(f"DESCRIBE {table}").fetchall()}
    known = {name: f"g.{name}" if name in columns else "NULL::VARCHAR" for name in ("subject_id", "licence", "source")}
    timed = con.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'silver' "
        "AND table_name = 'media'"
    ).fetchall()
    rows = ROWS.format(
        table=table,
        media="LEFT JOIN silver.media AS m USING (dataset, drop_date, file_id)" if timed else "",
        duration_s="m.duration_s" if timed else "NULL::DOUBLE",
        **known,
    )
    return {
        "table": table,
        "total": records(con, f"SELECT {COUNTS}, sum(seconds) AS media_s FROM ({rows})")[0],
        "origins": records(
            con,
            f"""SELECT coalesce(licence, 'unknown') AS licence, coalesce(origin, 'unknown') AS origin,
                count(DISTINCT source) AS sources, {COUNTS} FROM ({rows}) GROUP BY ALL ORDER BY ALL""",
        ),
        "drops": records(con, f'SELECT "drop", {COUNTS} FROM ({rows}) GROUP BY ALL ORDER BY ALL'),
        "rejected": records(
            con,
            f"""SELECT reason, count(DISTINCT file_id) AS recordings, count(*) AS rows
            FROM (SELECT file_id, unnest(string_split(reject_reason, ',')) AS reason FROM ({rows}) WHERE NOT kept)
            GROUP BY reason ORDER BY rows DESC, reason""",
        ),
        "taken_down": taken_down,
    }


def data_card(facts: Mapping[str, Any]) -> str:
    """Markdown, every figure from `describe`."""
    total = facts["total"]
    hours = "" if total["hours"] is None else f" ({total['hours']} hours)"
    return "\n".join(
        [
            f"# Data card: {facts['table']}",
            "",
            f"{total['rows']} rows, {total['kept']} of them kept, from {total['recordings']} recordings{hours} of "
            f"{total['people']} people.",
            "",
            "## Licences and origins",
            *_table(facts["origins"]),
            "Each row of the table has its own licence and source; `bronze.files` has the address and the sha256.",
            "",
            "## Drops",
            *_table(facts["drops"]),
            "## Rejected, by reason",
            *_table(facts["rejected"]),
            "## Taken down",
            f"{facts['taken_down'] or 'Nothing was taken down'}.",
            "",
        ]
    )


def records(con: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of a query by column name."""
    cursor = con.execute(query, list(values))
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["None.", ""]
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(_cell(value) for value in row.values()) for row in rows]
    return [*(f"| {line} |" for line in lines), ""]


def _cell(value: Any) -> str:
    """A name may hold what Markdown reads as a new cell, a new line or HTML."""
    text = "unknown" if value is None else " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;")
