"""Requests that an object store is asked for, and what all this costs.

Requests cannot be counted from inside (Delta makes its own), so they are a formula. Its numbers were read off the
request log of moto's S3 server; `tests/storage/test_requests.py` counts them again and fails when the stages ask for
clearly more or less. Writes are PUT, POST, COPY and LIST, priced alike; reads are GET and HEAD.

A table's log is read from its last checkpoint on, and the lake writes one every twenty commits: so reads grow with each
drop committed before, up to that.
"""

from __future__ import annotations

from dataclasses import dataclass

from avlake.stages.estimate import Estimate
from avlake.stages.side_by_side import FILES_PER_SHARD

WRITES_PER_DROP, READS_PER_DROP = 97.0, 320.0
WRITES_PER_SHARD, READS_PER_SHARD = 8.0, 65.0
READS_PER_OLDER_DROP = 111.0  # how many more reads a drop takes for each drop before it
OLDER_DROPS_MOST = 10.0  # on average between two checkpoints
WRITES_PER_OBJECT, READS_PER_OBJECT = 1.0, 3.0
WRITES_PER_RUN, READS_PER_RUN = 170.0, 137.0


@dataclass(frozen=True)
class Requests:
    writes: Estimate
    reads: Estimate


@dataclass(frozen=True)
class Prices:
    """Examples to be overridden: US dollars, list prices of AWS us-east-1 as of 2025, from memory."""

    cpu_hour: float = 0.05  # half of an m7i.large (2 vCPU), on demand
    gb_month: float = 0.023  # S3 Standard, the first 50 TB; a GB is 1e9 bytes here
    writes_1000: float = 0.005  # S3 Standard: PUT, COPY, POST, LIST
    reads_1000: float = 0.0004  # S3 Standard: GET and all others

    def of(self, estimates: dict[str, Estimate]) -> dict[str, Estimate]:
        """A line of cost for each kind, and their sum with one month of storage."""
        stored = estimates["bronze_bytes"] + estimates["silver_bytes"] + estimates["gold_bytes"]
        found = {
            "cost_cpu": estimates["cpu_s"].times(self.cpu_hour / 3600),
            "cost_storage_month": stored.times(self.gb_month / 1e9),
            "cost_requests": estimates["writes"].times(self.writes_1000 / 1000)
            + estimates["reads"].times(self.reads_1000 / 1000),
        }
        return found | {"cost_first_month": found["cost_cpu"] + found["cost_storage_month"] + found["cost_requests"]}


def requests(*, drops: float, files: Estimate, objects: Estimate, fetched: float) -> Requests:
    """The requests of one run, without training.

    Args:
        files: media files; shards follow from them.
        objects: kept files above AVLAKE_INLINE_MAX_BYTES.
        fetched: delivered files that lie in an object store, too.
    """
    shards = Estimate(max(0.0, drops * 0.5)) + files.times(1 / FILES_PER_SHARD)  # a drop's last one is half full
    older = min((drops - 1) / 2, OLDER_DROPS_MOST) if drops > 1 else 0.0
    fixed_writes = WRITES_PER_DROP * drops + WRITES_PER_RUN + drops * bool(fetched)
    fixed_reads = (READS_PER_DROP + READS_PER_OLDER_DROP * older) * drops + READS_PER_RUN + fetched
    return Requests(
        writes=Estimate(fixed_writes) + shards.times(WRITES_PER_SHARD) + objects.times(WRITES_PER_OBJECT),
        reads=Estimate(fixed_reads) + shards.times(READS_PER_SHARD) + objects.times(READS_PER_OBJECT),
    )
