"""Which sampled clips no run has looked at: another sample than the one that their drops were measured by leaves some.

A drop's run measures the clips of the sample as it is then. Where gold's thresholds change the sample later, or a new
drop makes other speakers the top ones, nothing of those drops has changed, and yet there is work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from avlake.lake import Lake
from avlake.pipelines import Pipeline
from avlake.stages import bounded, relations, sample
from avlake.stages.thresholds import current
from avlake.tables import EXTRACTIONS
from avlake.thresholds import Sampling

# A clip that could not be opened has been looked at: its row in ops is one, of the same bytes.
UNMEASURED = """
SELECT drop_date, count(*), sha256(string_agg(file_id || sha256, ',' ORDER BY file_id))[1:12]
FROM (FROM clips WHERE sampled) AS wanted ANTI JOIN looked_at USING (drop_date, file_id, sha256)
GROUP BY drop_date
"""


@dataclass(frozen=True)
class Unmeasured:
    """The clips of one drop that are sampled and not measured: how many, and 12 hex digits that stand for them."""

    clips: int
    mark: str


def unmeasured(lake: Lake, pipeline: Pipeline, thresholds: dict[str, Any] | None = None) -> dict[str, Unmeasured]:
    """By drop, where there are any; nothing for a pipeline that has no samples.

    Args:
        thresholds: those that are not to be the recorded ones.
    """
    values, dataset = current(lake, pipeline, thresholds), pipeline.dataset.name
    if not isinstance(values, Sampling):
        return {}
    with bounded.connect() as con:
        relations.show_thresholds(con, values)
        sample.show_delivered(con, lake, dataset)
        sample.clips(con, dataset)
        drops = [drop for drop in lake.drops() if drop[0] == dataset]
        bounded.show(con, "looked_at", lake, EXTRACTIONS, drops)
        return {drop: Unmeasured(clips, mark) for drop, clips, mark in con.execute(UNMEASURED).fetchall()}
