"""What wakes which Dag: two assets per pipeline, and the schedules made of them.

An outlet event inherits its run's partition key, and an event without a key never fires a partitioned schedule (nor the
other way round). So every Dag here is partitioned: a drop run's key is the drop's date, and the Dags that rebuild whole
tables map every date to the one key `all`.
"""

from __future__ import annotations

from airflow.sdk import Asset, CronPartitionTimetable, FixedKeyMapper, PartitionedAssetTimetable

POOL = "avlake_publish"  # one slot: whole tables are rebuilt by one task at a time
WHOLE = "all"


def silver(pipeline: str) -> Asset:
    """Measured facts of a drop were committed; the event's key is the drop's date."""
    return Asset(f"{pipeline}_silver", uri=f"avlake://silver/{pipeline}")


def warehouse(pipeline: str) -> Asset:
    """The pipeline's gold was published to the warehouse."""
    return Asset(f"{pipeline}_warehouse", uri=f"avlake://warehouse/{pipeline}")


def daily_drops() -> CronPartitionTimetable:
    """One run a day, whose partition key is its date in UTC."""
    return CronPartitionTimetable("0 0 * * *", timezone="UTC", key_format="%Y-%m-%d")


def fed_by(asset: Asset) -> PartitionedAssetTimetable:
    """A run whenever `asset` has an event, whatever the event's key."""
    return PartitionedAssetTimetable(assets=asset, default_partition_mapper=FixedKeyMapper(WHOLE))
