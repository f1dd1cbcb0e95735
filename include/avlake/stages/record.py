"""ops.runs: what each stage of each run did, how long it took, and at what rate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from avlake.lake import Lake
from avlake.tables import RUNS


def record(lake: Lake, *, run_id: str, stage: str, seconds: float, **facts: Any) -> None:
    """Append one row; a stage that is retried appends nothing more. `facts` are further columns of ops.runs."""
    rates = {f"{name}_per_s": _rate(facts.get(name), seconds) for name in ("files", "media_s")}
    row = {"run_id": run_id, "stage": stage, "seconds": seconds, "started_at": datetime.now(UTC), **facts, **rates}
    where = "/".join(str(facts[name]) for name in ("pipeline", "drop_date") if facts.get(name))
    lake.append(RUNS, pa.Table.from_pylist([row], schema=RUNS.schema), once=f"{run_id}/{where}/{stage}")


def _rate(amount: float | None, seconds: float) -> float | None:
    return amount / seconds if amount and seconds > 0 else None
