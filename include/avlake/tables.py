"""The lake's contract: every table's schema, key and meaning, readable top to bottom.

A silver table belongs to the extractor that fills it and is declared in that extractor's file with `silver(...)`; a
gold table belongs to one file in `sql/gold/`, whose first comment documents it. Everything else is here.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
DATE = pa.string()  # YYYY-MM-DD: partition values are text, and text compares like dates
TIME = pa.timestamp("us", tz="UTC")
PARTITION = ("dataset", "drop_date")


@dataclass(frozen=True)
class Table:
    """One table: `layer.name`, what a row is, what makes it unique."""

    name: str
    doc: str
    key: tuple[str, ...]
    schema: pa.Schema
    per_drop: bool = True  # partitioned by dataset and drop_date, committed per drop
    in_warehouse: bool = True

    @property
    def path(self) -> str:
        """The table's folder in the lake."""
        return self.name.replace(".", "/")


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


def silver(
    name: str, doc: str, *, key: tuple[str, ...] = (), columns: dict[str, pa.DataType], in_warehouse: bool = True
) -> Table:
    """Declare an extractor's table: `file_id` and the drop's two columns are added, `key` extends the file's key."""
    schema = _schema(file_id=TEXT, dataset=TEXT, drop_date=DATE, **columns)
    return Table(f"silver.{name}", doc, ("file_id", *key), schema, in_warehouse=in_warehouse)


BRONZE_FILES = Table(
    "bronze.files",
    "one row per file as delivered, archives and their members alike; no bytes",
    ("file_id",),
    _schema(
        file_id=TEXT,  # first 32 hex digits of sha256("dataset/path")
        dataset=TEXT,
        drop_date=DATE,
        path=TEXT,  # relative to the drop's folder; a member is <archive>/<member>
        source_uri=TEXT,
        source_version=TEXT,  # etag, or size and modification time: equal means unchanged
        media_type=TEXT,
        size_bytes=pa.int64(),
        sha256=TEXT,
        uri=TEXT,  # the object that holds the bytes; NULL where they are in bronze.contents or the archive's members
        ingested_at=TIME,
        licence=TEXT,
    ),
)
BRONZE_CONTENTS = Table(
    "bronze.contents",
    "the bytes of small files, once per sha256 and drop",
    ("sha256",),
    _schema(sha256=TEXT, dataset=TEXT, drop_date=DATE, content=pa.binary()),
    in_warehouse=False,
)
LABELS = silver(
    "labels",
    "what the source itself says of a file: one row per file and name; an unknown value is NULL",
    key=("name",),
    columns={"subject_id": TEXT, "name": TEXT, "value": TEXT, "source": TEXT},
)
EXTRACTIONS = Table(
    "ops.extractions",
    "one row per file and extractor: measured or quarantined, and why; committed last",
    ("file_id", "extractor"),
    _schema(
        dataset=TEXT,
        drop_date=DATE,
        file_id=TEXT,
        path=TEXT,
        sha256=TEXT,
        extractor=TEXT,  # `open` for a file that failed to open, `ingest` for an archive
        params_hash=TEXT,
        status=TEXT,  # ok | quarantined
        error_class=TEXT,
        error=TEXT,
        seconds=pa.float64(),
        run_id=TEXT,
    ),
)
RUNS = Table(
    "ops.runs",
    "one row per run and stage",
    ("run_id", "stage"),
    _schema(
        run_id=TEXT,
        pipeline=TEXT,
        dataset=TEXT,
        drop_date=DATE,
        stage=TEXT,
        started_at=TIME,
        seconds=pa.float64(),
        cpu_s=pa.float64(),  # of extract: its processes, their children included; NULL for other stages
        files=pa.int64(),
        bytes=pa.int64(),
        media_s=pa.float64(),
        errors=pa.int64(),
        partial=pa.bool_(),
        # Per second of `seconds`: of extract these are the seconds of all its tasks together. NULL where meaningless.
        files_per_s=pa.float64(),
        media_s_per_s=pa.float64(),
    ),
    per_drop=False,
)
_MODEL_RUNS = _schema(
    run_id=TEXT,
    pipeline=TEXT,
    model=TEXT,
    gold_version=TEXT,
    split=TEXT,
    metric=TEXT,
    value=pa.float64(),
    ci_low=pa.float64(),
    ci_high=pa.float64(),
    n=pa.int64(),
    params=TEXT,
    artifact_uri=TEXT,
    created_at=TIME,
)
MODEL_RUNS = Table(
    "gold.model_runs",
    "one row per trained model, split and metric",
    ("run_id", "model", "split", "metric"),
    _MODEL_RUNS,
    False,
)
PODCAST_OUTROS = Table(
    "gold.podcast_outros",
    "where an episode's outro music starts and its intro ends, as the model in charge hears it: one row per episode",
    ("file_id",),
    _schema(
        file_id=TEXT,
        dataset=TEXT,
        drop_date=DATE,
        path=TEXT,
        split=TEXT,
        duration_s=pa.float64(),
        outro_start_s=pa.float64(),  # where the last unbroken music begins, also under speech; NULL where there is none
        intro_end_s=pa.float64(),  # NULL where there is none
        confidence=pa.float64(),  # probability that what is said of the outro is right
        kept=pa.bool_(),  # has it an outro?
        reject_reason=TEXT,
        label_outro_start_s=pa.float64(),  # as a person heard it; NULL where nobody has, or there is none
        label_has_outro=pa.bool_(),  # NULL where nobody has said
        run_id=TEXT,  # of the training
    ),
    per_drop=False,
)
CURATION_IMPACT = Table(
    "gold.curation_impact",
    "what curation does to a proxy task, before and after: one row per run, model, split and metric",
    ("run_id", "model", "split", "metric"),
    _MODEL_RUNS,
    False,
)
SCORES = Table(
    "silver.scores",
    "clips measured elsewhere: one row per clip of the latest file that was read; NULL is not measured",
    ("file_id",),
    _schema(
        file_id=TEXT,  # first 32 hex digits of sha256("scores/path")
        dataset=TEXT,  # always `scores`
        drop_date=DATE,  # always 1970-01-01: of no drop
        path=TEXT,  # as the file says
        subject_id=TEXT,
        face_presence_ratio=pa.float64(),
        avg_blur_score=pa.float64(),
        speech_ratio=pa.float64(),
        source=TEXT,  # the file's name
    ),
    per_drop=False,
)
HUMAN_LABELS = Table(
    "labels.human",
    "what people say of recordings and their parts: append-only, of one item, name and span the latest row counts",
    ("label_id",),
    _schema(
        label_id=TEXT,
        dataset=TEXT,
        item=TEXT,  # the file as it was named: its path, its name, or that without its ending
        start_s=pa.float64(),  # of the part it is about; both NULL: all of it
        end_s=pa.float64(),  # NULL: to the end
        name=TEXT,  # what is labelled, see `avlake.pipelines.LabelKind`
        value=TEXT,  # NULL takes an earlier one back
        who=TEXT,
        when=TIME,
        source=TEXT,  # the file or the batch it came in
    ),
    per_drop=False,
)
THRESHOLDS = Table(
    "governance.thresholds",
    "what each pipeline's gold is decided by: the latest row of a pipeline counts",
    ("pipeline", "when"),
    _schema(pipeline=TEXT, values=TEXT, who=TEXT, when=TIME),
    per_drop=False,
)
TAKEDOWNS = Table(
    "governance.takedowns",
    "what must not be used any longer: one row per file or person; append-only",
    ("dataset", "file_id", "subject_id"),
    _schema(
        file_id=TEXT,  # exactly one of file_id and subject_id is set
        subject_id=TEXT,
        dataset=TEXT,
        path=TEXT,  # the file's; NULL for a person
        sha256s=pa.list_(TEXT),  # the bytes it covered when it was added: they stay out wherever they turn up
        reason=TEXT,
        who=TEXT,
        when=TIME,
    ),
    per_drop=False,
    in_warehouse=False,  # who asked not to be in it is not to be read there
)

CORE = {
    t.name: t
    for t in (
        BRONZE_FILES,
        BRONZE_CONTENTS,
        LABELS,
        SCORES,
        EXTRACTIONS,
        RUNS,
        MODEL_RUNS,
        CURATION_IMPACT,
        PODCAST_OUTROS,
        HUMAN_LABELS,
        THRESHOLDS,
        TAKEDOWNS,
    )
}
