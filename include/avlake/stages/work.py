"""Notes a run keeps in the lake between its tasks: the plan, each shard's files, each shard's result.

Below `_work/<dataset>/<drop>/`. A shard is named by the hash of what it measures, and its result is written last; so a
run that is killed and started again finds what is measured already, and only the shards cut short are done anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from avlake.errors import StaleRun
from avlake.fragments import Fragment
from avlake.lake import Lake
from avlake.tables import Table

FOLDER = "_work"


@dataclass(frozen=True)
class Item:
    """One file to measure, and by which extractors."""

    file_id: str
    path: str
    sha256: str
    uri: str | None  # None: the bytes are a row of bronze.contents
    extractors: tuple[str, ...]
    annotation: str | None = None  # sha256 of what annotated extractors are told, see `stages.told`


@dataclass
class Output:
    """Fragments by table, as JSON between tasks."""

    fragments: dict[str, list[Fragment]] = field(default_factory=dict)

    def add(self, table: Table, fragment: Fragment) -> None:
        if fragment.rows:
            self.fragments.setdefault(table.name, []).append(fragment)

    def dump(self) -> dict[str, Any]:
        return {name: [asdict(f) for f in found] for name, found in self.fragments.items()}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Output:
        return cls({name: [Fragment(**f) for f in found] for name, found in data.items()})


@dataclass(frozen=True)
class Plan:
    """What one run will do to one drop."""

    pipeline: str
    dataset: str
    drop: str
    run_id: str
    extractors: dict[str, dict[str, Any]]  # name → parameters
    hashes: dict[str, str]  # name → params_hash
    versions: dict[str, int]  # tables that change → the drop's transaction version planned on
    carried: Output  # rows of the drop that stay, rows copied from identical bytes, labels
    claim: Output  # ops rows that mark what is being replaced, committed before the first silver table
    shards: tuple[str, ...]
    remaining: int  # files that a limit leaves for later
    left_out: int = 0  # files that are not measured, for they are not in the sample

    def store(self, lake: Lake) -> str:
        """Write it; returns its name in the lake."""
        name = f"{folder(self.dataset, self.drop)}/plan-{hashlib.sha256(self.run_id.encode()).hexdigest()[:16]}.json"
        lake.store.write(
            name, json.dumps({**asdict(self), "carried": self.carried.dump(), "claim": self.claim.dump()}).encode()
        )
        return name

    @classmethod
    def load(cls, lake: Lake, name: str) -> Plan:
        data = _read(lake, name)
        outputs = {name: Output.load(data[name]) for name in ("carried", "claim")}
        return cls(**{**data, **outputs, "shards": tuple(data["shards"])})


def store_shard(
    lake: Lake, dataset: str, drop: str, items: list[Item], hashes: dict[str, str], ops_version: int
) -> str:
    """Write a shard's files; returns its name, the hash of what is to be measured.

    The version of the drop's ops rows is a part of it: a run that was killed left it as it was and is resumed, while
    files that were put in the queue again are measured again.
    """
    identity: list[Any] = [[i.file_id, i.sha256, i.annotation, [[e, hashes[e]] for e in i.extractors]] for i in items]
    identity.append(ops_version)
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    lake.store.write(f"{folder(dataset, drop)}/{name}.items.json", json.dumps([asdict(i) for i in items]).encode())
    return name


def load_shard(lake: Lake, plan: Plan, shard: str) -> list[Item]:
    found = _read(lake, f"{folder(plan.dataset, plan.drop)}/{shard}.items.json")
    return [Item(**{**i, "extractors": tuple(i["extractors"])}) for i in found]


def store_result(lake: Lake, plan: Plan, shard: str, output: Output, report: dict[str, Any]) -> None:
    data = json.dumps({"output": output.dump(), "report": report}).encode()
    lake.store.write(f"{folder(plan.dataset, plan.drop)}/{shard}.done.json", data)


def load_result(lake: Lake, plan: Plan, shard: str) -> tuple[Output, dict[str, Any]] | None:
    """A shard's result, if it is done and its fragments are still there."""
    name = f"{folder(plan.dataset, plan.drop)}/{shard}.done.json"
    if not lake.store.exists(name):
        return None
    data = _read(lake, name)
    output = Output.load(data["output"])
    files = [f"{table.replace('.', '/')}/{f.path}" for table, found in output.fragments.items() for f in found]
    return (output, data["report"]) if all(lake.store.exists(file) for file in files) else None


def folder(dataset: str, drop: str) -> str:
    return f"{FOLDER}/{dataset}/{drop}"


def _read(lake: Lake, name: str) -> Any:
    try:
        return json.loads(lake.store.read(name))
    except FileNotFoundError:
        raise StaleRun(f"{lake.store.uri_of(name)} is gone: the run it belongs to is over; start a new one") from None
