"""What people are asked to label next, and what they are asked to check: segments chosen, cut and written out.

`next_batch` chooses what is worth most to a model (active learning): where it hesitates, spread over what there is to
hear. `audit_batch` draws at random, for an honest figure of how often the model is right. Both write a folder: a
playlist to listen to, and a file to fill in that `avlake labels import` takes. Choosing (`choose_next`, `draw_audit`)
is apart from writing: a page that asks the same of a person needs nothing but the choice.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from avlake import warehouse
from avlake.errors import RequestError, WorkError
from avlake.lake import Lake
from avlake.learn import artifacts
from avlake.learn.explore import assign
from avlake.pipelines import PIPELINES, LabelKind, get_pipeline
from avlake.settings import Settings
from avlake.stages import batch_files, human
from avlake.stages.audits import audit_name, record_audit, recorded
from avlake.stages.batch_files import Batch, Chosen
from avlake.stages.explored import explored
from avlake.stages.takedowns import excluded

if TYPE_CHECKING:
    import duckdb

COUNT, PER_CLASS = 20, 80
CERTAIN = 0.05  # what a segment is worth of which the model is certain: others are not the only ones worth a label
PREDICTIONS = "predictions.parquet"
SCHEMA = "file_id VARCHAR, segment_index INTEGER, start_s DOUBLE, p_music FLOAT, p_dialogue FLOAT, p_both FLOAT"

CANDIDATES = """
SELECT g.file_id, g.path, g.segment_index, round(g.start_s, 3) AS start_s, round(g.end_s, 3) AS end_s,
    g.machine_label, r.cluster, r.distance, p.predicted, p.probability, p.margin
FROM {table} AS g
LEFT JOIN regions AS r USING (file_id, segment_index)
LEFT JOIN (
    SELECT file_id, segment_index, start_s, predicted, probability::DOUBLE AS probability,
        list_reverse_sort([p_music, p_dialogue, p_both]) AS p, (p[1] - p[2])::DOUBLE AS margin
    FROM predictions
) AS p ON p.file_id = g.file_id AND p.segment_index = g.segment_index AND abs(p.start_s - g.start_s) < 0.01
WHERE g.kept AND coalesce(g.label_source, 'machine') = 'machine' AND NOT list_contains(?::VARCHAR[], g.file_id)
"""
STILL_THERE = """
SELECT file_id, segment_index, round(start_s, 3) FROM {table} WHERE list_contains(?::VARCHAR[], file_id)
"""
ORDER = "ORDER BY distance NULLS LAST, file_id, segment_index"


def next_batch(settings: Settings, *, pipeline: str, to: str, count: int = COUNT, form: str = "csv") -> Batch:
    """Write the `count` segments that are most worth a label to the folder `to`; see `choose_next`.

    Raises:
        RequestError: if nobody labels parts in this pipeline, nothing is published, nothing is left to label, `form`
            is neither csv nor json, or `to` is taken.
        WorkError: naming the recording, where one cannot be cut.
    """
    with _Asked(settings, pipeline) as asked, batch_files.folder(to, form) as aside:
        chosen = choose_next(asked.candidates(), count)
        if not chosen:
            raise RequestError(
                f"people have labelled every segment of {asked.table} that is kept; nothing is left to label"
            )
        key = json.dumps([(one.path, one.start_s, one.end_s) for one in chosen]).encode()
        name = f"next-{hashlib.sha256(key).hexdigest()[:8]}"
        batch = Batch(name, to, tuple(chosen), asked.run_id, blind=False)
        batch_files.write(aside, asked.con, asked.lake, asked.pipeline, asked.kind, asked.table, batch, form)
        return batch


def audit_batch(settings: Settings, *, pipeline: str, to: str, per_class: int = PER_CLASS, form: str = "csv") -> Batch:
    """Write a random sample of each class that the model in charge predicts to the folder `to`; see `draw_audit`.

    What was predicted is noted in the lake (see `stages.audits`) and not in the files: who sees it tends to agree.

    Raises:
        RequestError: as `next_batch`, and if nothing has been trained.
        WorkError: naming the recording, where one cannot be cut.
    """
    with _Asked(settings, pipeline) as asked, batch_files.folder(to, form) as aside:
        run_id = artifacts.get_chosen(asked.lake.store, pipeline).run_id
        before = recorded(asked.lake, pipeline, run_id)
        # A sample that is drawn again, when part of it is labelled, is the same one.
        drawn = draw_audit(asked.candidates(also=before), per_class, run_id)
        if not drawn:
            raise RequestError(
                f"training {run_id} predicted no segment of {asked.table} that people have not labelled; there is "
                "nothing to audit"
            )
        batch = Batch(audit_name(run_id), to, tuple(drawn), run_id, blind=True)
        batch_files.write(aside, asked.con, asked.lake, asked.pipeline, asked.kind, asked.table, batch, form)
        record_audit(asked.lake, pipeline, batch, before)
        return batch


def choose_next(candidates: Sequence[Chosen], count: int) -> list[Chosen]:
    """The segments most worth a label, the first the most.

    Each is worth `u / ((1 + c) (1 + e))`. u is how uncertain the model is: 1 less the margin between its two most
    probable classes (margin sampling, Scheffer et al. 2001), at least `CERTAIN`; 1 where no model has seen it. c and e
    count what has been chosen already of its region of sounds and of its episode. The one worth most is chosen, and so
    on; but as long as a region has fewer than its quota, which is half of an equal share and at least 1, only such
    regions are chosen from. Of equals the most typical of its region is first.

    Args:
        candidates: in the order that decides between equals.
    """
    if not candidates or count < 1:
        return []
    uncertainty = np.array([1.0 if one.margin is None else max(CERTAIN, 1.0 - one.margin) for one in candidates])
    region = np.unique([-1 if one.cluster is None else one.cluster for one in candidates], return_inverse=True)[1]
    episode = np.unique([one.file_id for one in candidates], return_inverse=True)[1]
    of_region, of_episode = np.zeros(region.max() + 1), np.zeros(episode.max() + 1)
    left_in_region = np.bincount(region)
    quota = max(1, count // (2 * len(of_region)))
    free = np.ones(len(candidates), bool)
    chosen = []
    for _ in range(min(count, len(candidates))):
        wanting = (of_region < quota) & (left_in_region > 0)
        able = free & wanting[region] if wanting.any() else free
        worth = np.where(able, uncertainty / ((1 + of_region[region]) * (1 + of_episode[episode])), -1.0)
        best = int(worth.argmax())
        free[best] = False
        of_region[region[best]] += 1
        of_episode[episode[best]] += 1
        left_in_region[region[best]] -= 1
        chosen.append(candidates[best])
    return chosen


def draw_audit(candidates: Sequence[Chosen], per_class: int, run_id: str) -> list[Chosen]:
    """At most `per_class` segments of each predicted class, drawn at random, in an order that tells nothing.

    Drawn among the segments that people have not labelled: those are what the model is used for, and its training saw
    none of them. The order of a hash with the training's id is the draw: the same again, and a larger sample holds the
    smaller one.
    """

    def drawn(one: Chosen) -> str:
        return hashlib.sha256(f"{run_id}/{one.file_id}/{one.segment_index}".encode()).hexdigest()

    taken: Counter[str] = Counter()
    found = []
    for one in sorted(candidates, key=drawn):
        if one.predicted is not None and taken[one.predicted] < per_class:
            taken[one.predicted] += 1
            found.append(one)
    return found


class _Asked:
    """One request: the warehouse opened, the model in charge if there is one, and what may be chosen."""

    def __init__(self, settings: Settings, pipeline: str) -> None:
        self.pipeline, self.kind = get_pipeline(pipeline), parts_kind(pipeline)
        self.table = f"gold.{self.pipeline.gold[0]}"
        self.lake, self._settings = Lake.open(settings), settings

    def __enter__(self) -> _Asked:
        self.con = warehouse.connect(self._settings)
        if self.table not in warehouse.tables(self.con):
            self.con.close()
            raise RequestError(f"{self.table} is not in the warehouse; `avlake run {self.pipeline.name}` publishes it")
        chosen = artifacts.find_chosen(self.lake.store, self.pipeline.name)
        self.run_id = chosen.run_id if chosen else None
        self._folder = chosen.folder if chosen else None
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def candidates(self, also: Sequence[Chosen] = ()) -> list[Chosen]:
        """Kept segments that people have not labelled yet, nor in labels that gold does not know yet.

        Args:
            also: segments that count all the same, where gold still has them.
        """
        out = excluded(self.lake)
        exploration = explored(self.lake, self.con, self.table, out)
        regions = assign(self.con, self.table, exploration.regions) if exploration else None
        _relation(
            self.con, "regions", regions, "file_id VARCHAR, segment_index INTEGER, cluster BIGINT, distance DOUBLE"
        )
        _relation(self.con, "predictions", self._predictions(), f"{SCHEMA}, predicted VARCHAR, probability FLOAT")
        columns = ", ".join(Chosen.__dataclass_fields__)
        query = f"SELECT {columns} FROM ({CANDIDATES.format(table=self.table)}) {ORDER}"
        rows = self.con.execute(query, [list(out.file_ids)]).fetchall()
        dataset = self.pipeline.dataset.name
        labelled = _labelled(self.lake, dataset, self.kind)
        found = [Chosen(*row) for row in rows]
        kept = {one.key for one in also}
        fresh = [
            one
            for one in found
            if one.key not in kept
            and not human.harmless(one.path)
            and not any((item, one.start_s) in labelled for item in batch_files.items_of(dataset, one.path))
        ]
        files = [one.file_id for one in also if one.file_id not in set(out.file_ids)]
        there = set(self.con.execute(STILL_THERE.format(table=self.table), [files]).fetchall())
        return [*(one for one in also if (*one.key, one.start_s) in there), *fresh]

    def _predictions(self) -> Any:
        if self._folder is None:
            return None
        name = f"{self._folder}/{PREDICTIONS}"
        try:
            return pq.read_table(io.BytesIO(self.lake.store.read(name)))
        except (FileNotFoundError, ValueError) as error:
            raise WorkError(
                f"{self.lake.store.uri_of(name)} cannot be read ({error}); train {self.pipeline.name} again"
            ) from None


def parts_kind(pipeline: str) -> LabelKind:
    """What people say of parts in this pipeline.

    Raises:
        RequestError: if that is nothing, naming the pipelines in which it is something.
    """
    able = {p.name: kind for p in PIPELINES.values() for kind in p.labels if kind.of_parts}
    if get_pipeline(pipeline).name not in able:
        raise RequestError(f"nobody labels parts of recordings in {pipeline}; there is {', '.join(able)}")
    return able[pipeline]


def _labelled(lake: Lake, dataset: str, kind: LabelKind) -> set[tuple[str, float]]:
    """Item and start of the parts that people have labelled, whether gold knows it already or not."""
    latest = {
        (str(row["item"]), round(row["start_s"], 3)): row["value"] is not None
        for row in human.everything(lake)
        if row["dataset"] == dataset and row["name"] == kind.name and row["start_s"] is not None
    }
    return {part for part, is_labelled in latest.items() if is_labelled}


def _relation(con: duckdb.DuckDBPyConnection, name: str, table: Any, columns: str) -> None:
    """A table of ours as a relation of that name; an empty one with these columns where there is none."""
    if table is None:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({columns})")
    else:
        con.register(f"{name}_read", table)
        con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_read")
