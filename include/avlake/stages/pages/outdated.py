"""Pages that stay in the lake no longer: what is written before a takedown may show and play whom it takes down."""

from __future__ import annotations

from datetime import UTC, datetime

from avlake.ages import RETENTION_H, Found, age_h, listed
from avlake.lake import Lake
from avlake.pipelines import PIPELINES
from avlake.tables import SCORES, TAKEDOWNS

FOLDER = "reports"
PREVIEW = "preview-"  # begins the folder's name


def remove_outdated(lake: Lake, *, retention_h: float = RETENTION_H) -> tuple[int, list[Found]]:
    """Remove every page of a pipeline written before the latest takedown in its data, and old previews.

    Args:
        retention_h: younger previews stay, for somebody may be about to decide by them.

    Returns:
        How many pages there were, and those that are gone.
    """
    total, removed = 0, []
    for name, age_of_takedown_h in _ages_of_takedowns_h(lake).items():
        for page in list(listed(lake.store, f"{FOLDER}/{name}")):
            total += 1
            limits = [age_of_takedown_h] if age_of_takedown_h is not None else []
            if page.name.split("/")[-2].startswith(PREVIEW):
                limits.append(retention_h)
            age = age_h(lake.store, page.name) if limits else None  # now: a run may have written it anew
            if age is not None and age >= min(limits):
                with lake.store.explained():
                    lake.store.fs.rm_file(lake.store.path(page.name))
                removed.append(page)
    return total, removed


def _ages_of_takedowns_h(lake: Lake) -> dict[str, float | None]:
    """By pipeline, the hours since the latest takedown in data that it reads; None where there was none."""
    data, now = lake.scan(TAKEDOWNS.name), datetime.now(UTC)
    asked = [] if data is None else data.to_table(columns=["dataset", "when"]).to_pylist()
    ages: dict[str, float | None] = {}
    for name, pipeline in PIPELINES.items():
        datasets = {pipeline.dataset.name} | ({SCORES.name.partition(".")[2]} if pipeline.takes_scores else set())
        ages[name] = min(
            ((now - row["when"]).total_seconds() / 3600 for row in asked if row["dataset"] in datasets), default=None
        )
    return ages
