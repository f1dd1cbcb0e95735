"""Fetch: bring a publisher's files into a drop of the landing, whole and checked, or not at all.

Every file is compared with a checksum where one is known: of a list that is set, else its ETag where that is an MD5.
What a run has got is kept for the next one, and delivered once nothing is left that another run could still get; so a
drop is never seen half-fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from avlake.datasets import base
from avlake.datasets.remote import Remote
from avlake.datasets.sources import is_date
from avlake.errors import RequestError
from avlake.settings import Settings
from avlake.stages.fetch_files import Fetched, Run, Traffic, Wishes
from avlake.stages.fetch_place import Landing, Place

DELIVERED = ("fetched", "there")
EVERYTHING = Wishes()
COLUMNS = ("path", "bytes", "sha256", "checked", "state", "error")


@dataclass(frozen=True)
class FetchReport:
    """What a run of `avlake fetch` did."""

    uri: str  # of the drop
    files: list[Fetched]
    delivered: bool  # is what is whole in the drop?
    unchecked: tuple[str, ...]  # settings that could name checksums for files that have none

    def count(self, state: str) -> int:
        return Counter(one.state for one in self.files)[state]

    @property
    def ok(self) -> bool:
        """Is there something of each kind, and did nothing go wrong but that the publisher lacks some?"""
        here = {one.kind for one in self.files if one.state in DELIVERED}
        return bool(here) and all(one.kind in here and one.state in (*DELIVERED, "missing") for one in self.files)


def fetchable() -> list[tuple[str, Remote]]:
    """All that can be fetched: datasets' names, and kinds."""
    return [(dataset.name, remote) for dataset in base.every() for remote in dataset.remotes]


def fetch(
    settings: Settings,
    *,
    dataset: str,
    to: str | None = None,
    drop: str | None = None,
    wishes: Wishes = EVERYTHING,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[Traffic], None] = lambda _: None,
) -> FetchReport:
    """Bring files of a dataset into a drop of a landing.

    Args:
        to: the landing, a folder or URI; default AVLAKE_LANDING.
        drop: YYYY-MM-DD; default the one that was fetched last, or begun, else today's.

    Raises:
        RequestError: if nothing of that kind can be fetched, or the request is wrong in another way.
        WorkError: if the disk is full, or the landing cannot be written; what was got is kept for the next run.
    """
    remotes = _remotes(dataset, wishes)
    if drop is not None and not is_date(drop):
        raise RequestError(f"--drop {drop!r} is not a drop; drops are dates, YYYY-MM-DD")
    landing = Landing.open(to or settings.landing, dataset)
    place = Place(settings, landing, drop or landing.latest())
    others = tuple(name for name in landing.drops() if name != place.drop)
    with place.locked(), Run(settings, place, others, wishes, say, progress) as run:
        for remote in remotes:
            run.bring(remote)
        whole = [one for one in run.files if one.state in DELIVERED]
        delivered = bool(whole) and (wishes.incomplete or not any(one.may_come for one in run.files))
        if delivered:
            place.deliver()
    return FetchReport(place.uri, run.files, delivered, tuple(sorted(run.unchecked)))


def _remotes(dataset: str, wishes: Wishes) -> list[Remote]:
    what = "; ".join(f"avlake fetch {name} {remote.kind}" for name, remote in fetchable())
    chosen = base.load(dataset)
    if not chosen.remotes:
        raise RequestError(
            f"nothing of {dataset} can be fetched; what can be: {what}. Put drops of {dataset} into "
            f"<landing>/{dataset}/YYYY-MM-DD/ yourself"
        )
    kinds = {remote.kind: remote for remote in chosen.remotes}
    if wrong := [kind for kind in wishes.kinds if kind not in kinds]:
        raise RequestError(f"no {wrong[0]} of {dataset} can be fetched; there is {', '.join(kinds)}")
    remotes = [remote for remote in chosen.remotes if not wishes.kinds or remote.kind in wishes.kinds]
    for remote in remotes:
        if wishes.split and wishes.split not in remote.splits:
            raise RequestError(f"--split {wishes.split}: of {dataset} there is {', '.join(remote.splits) or 'none'}")
    return remotes
