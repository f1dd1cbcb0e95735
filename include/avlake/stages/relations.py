"""The names that SQL about a pipeline may use beside the lake's tables: thresholds, splits, the current files."""

from __future__ import annotations

import duckdb

from avlake.learn import splits
from avlake.media.archives import ARCHIVE_OF
from avlake.thresholds import Thresholds

# A source does not depend on where the landing zone was mounted; bronze.files.source_uri has the full address.
CURRENT_FILES = f"""
CREATE VIEW {{name}} AS
SELECT *, CASE
    WHEN regexp_matches(source_uri, '^https?://') THEN source_uri
    ELSE concat_ws('/', dataset, drop_date, coalesce(nullif(regexp_extract(path, '{ARCHIVE_OF}', 1), ''), path))
END AS source
FROM {{files}} QUALIFY row_number() OVER (PARTITION BY file_id ORDER BY drop_date DESC) = 1
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


def show_current(con: duckdb.DuckDBPyConnection, name: str, source: str) -> None:
    """Make `name` a view of `source`, rows of bronze.files: where a path is in several drops, the latest."""
    # A Python variable `files` here would be what DuckDB takes for bronze.files where there is none.
    con.execute(CURRENT_FILES.format(name=name, files=source))


def show_split(con: duckdb.DuckDBPyConnection, salt: str) -> None:
    """Define `split_of(group)`."""
    con.execute(SPLIT_OF.format(salt=salt))


def show_thresholds(con: duckdb.DuckDBPyConnection, thresholds: Thresholds) -> None:
    """Define `threshold('name')` for numbers, NULL where there is none, and `setting('name')` for words."""
    values = thresholds.model_dump(mode="json")
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    words = {name: value for name, value in values.items() if isinstance(value, str)}
    con.execute("SET VARIABLE thresholds = MAP(?::VARCHAR[], ?::DOUBLE[])", [list(numbers), list(numbers.values())])
    con.execute("CREATE MACRO threshold(name) AS map_extract(getvariable('thresholds'), name)[1]")
    con.execute("SET VARIABLE settings = MAP(?::VARCHAR[], ?::VARCHAR[])", [list(words), list(words.values())])
    con.execute("CREATE MACRO setting(name) AS map_extract(getvariable('settings'), name)[1]")
