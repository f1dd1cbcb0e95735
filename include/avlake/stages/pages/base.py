"""What every page has: what it is made from, its template, and the tables that all of them show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from avlake.lake import Lake
from avlake.learn.data_card import records
from avlake.settings import Settings
from avlake.stages.pages.decisions import exists
from avlake.stages.takedowns import Excluded

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Page:
    """What a page is made from: the lake, the warehouse published from it, and what was taken down."""

    settings: Settings
    pipeline: str
    lake: Lake
    con: duckdb.DuckDBPyConnection
    out: Excluded


def html(template: str, **values: Any) -> bytes:
    """A file of stages/templates filled in; what is not given is an error."""
    environment = Environment(
        loader=PackageLoader("avlake.stages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values).encode()


def left(page: Page, table: str) -> str:
    """A gold table without what was taken down since it was built: a page later than a takedown never shows that."""
    if not page.out.file_ids:
        return table
    view, out = f"{table.rpartition('.')[2]}_left", list(page.out.file_ids)
    page.con.execute("CREATE OR REPLACE TEMP TABLE files_out AS SELECT unnest(?::VARCHAR[]) AS file_id", [out])
    page.con.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS FROM {table} ANTI JOIN files_out USING (file_id)")
    return view


def quarantine(con: duckdb.DuckDBPyConnection, dataset: str) -> list[dict[str, Any]]:
    """Files of a dataset that could not be read or measured, by drop and error; none where nothing was measured yet."""
    if not exists(con, "ops.extractions"):
        return []
    return records(
        con,
        """SELECT drop_date, extractor, error_class, count(DISTINCT file_id) AS files, min(path) AS example,
            min(error) AS error
        FROM ops.extractions WHERE dataset = ? AND status = 'quarantined'
        GROUP BY drop_date, extractor, error_class ORDER BY ALL""",
        [dataset],
    )
