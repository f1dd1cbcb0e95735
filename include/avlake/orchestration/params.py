"""Airflow's trigger form, generated from pydantic models: titles, descriptions, ranges and defaults are written once.

A Dag's Params are flat, so an extractor's options are named `<extractor>.<option>`; each extractor is a section of the
form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param
from pydantic import BaseModel, ConfigDict, Field

from avlake.extractors import base
from avlake.pipelines import MEASURE, get_pipeline
from avlake.thresholds import Sampling, Thresholds


class DropRun(BaseModel):
    """What a run over one drop may be told."""

    model_config = ConfigDict(extra="forbid")

    source: str | None = Field(None, title="Source", description="landing folder, object-store prefix or http index")
    drop: str | None = Field(
        None,
        title="Drop",
        description="the drop's date, where the run has no partition key",
        json_schema_extra={"format": "date"},
    )
    limit: int | None = Field(None, ge=0, title="Limit", description="measure at most so many new files")
    max_archives: int | None = Field(None, ge=1, title="Most archives", description="take at most so many archives")
    files_per_task: int = Field(64, ge=1, le=10_000, title="Files per task", description="1 makes a task of each file")


class GoldRun(BaseModel):
    """What a run that rebuilds gold may be told besides thresholds, each where the pipeline has it."""

    model_config = ConfigDict(extra="forbid")

    approval: bool = Field(
        False,
        title="Ask a person",
        description="show what gold would hold, and wait for approval; always where AVLAKE_APPROVAL says so",
    )
    scores: str | None = Field(
        None, title="Scores", description="a CSV of clips measured elsewhere, path or URI: gold decides over these, too"
    )


def drop_params(pipeline: str) -> dict[str, Param]:
    """The form of a pipeline's drop Dag: `DropRun`, which clips are sampled, and the options of its extractors."""
    made = params_of(DropRun)
    for name, param in params_of(_sampling(pipeline), section="sampling").items():
        # Recorded thresholds hold until others are named: a run that only names a drop leaves them as they are.
        made[name] = Param(
            None, f"{param.description or param.schema['title']}; empty: as before", schema=_nullable(param)
        )
    for name in get_pipeline(pipeline).extractors:
        made |= params_of(base.load(name).Params, prefix=f"{name}.", section=name)
    for name in get_pipeline(pipeline).also:
        schema = {"type": "boolean", "title": "Measure it", "section": name}
        made[f"{name}.{MEASURE}"] = Param(False, "what other pipelines use", schema=schema)
        made |= params_of(base.load(name).Params, prefix=f"{name}.", section=name)
    return made


def gold_params(pipeline: str) -> dict[str, Param]:
    """The form of a pipeline's gold Dag: its thresholds, and what of `GoldRun` it has."""
    chosen, more = get_pipeline(pipeline), params_of(GoldRun)
    has = {"approval": chosen.approvable, "scores": chosen.takes_scores}
    return params_of(chosen.thresholds) | {name: param for name, param in more.items() if has[name]}


def params_of(model: type[BaseModel], *, prefix: str = "", section: str | None = None) -> dict[str, Param]:
    """One Param per field of a model."""
    schema = model.model_json_schema()
    shown = {"section": section} if section else {}
    made = {}
    for name, field in schema["properties"].items():
        flat = _flat(field, schema.get("$defs", {})) | shown
        # Airflow keeps the description beside the schema, and fails to read a Dag back where it is in both.
        made[f"{prefix}{name}"] = Param(field.get("default"), flat.pop("description", None), schema=flat)
    return made


def extractor_params(pipeline: str, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of each extractor, out of a run's flat Params."""
    return {
        extractor: {
            name.removeprefix(f"{extractor}."): value
            for name, value in params.items()
            if name.startswith(f"{extractor}.")
        }
        for extractor in get_pipeline(pipeline).measurable
    }


def given_sampling(pipeline: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a drop run says of the clips to sample."""
    return {name: params[name] for name in _sampling(pipeline).model_fields if params[name] is not None}


def _sampling(pipeline: str) -> type[BaseModel]:
    return Sampling if issubclass(get_pipeline(pipeline).thresholds, Sampling) else Thresholds


def _nullable(param: Param) -> dict[str, Any]:
    made = {**param.schema, "type": [param.schema["type"], "null"]}
    return made | ({"enum": [*made["enum"], None]} if "enum" in made else {})


def _flat(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A field's JSON schema as Airflow's form understands it: no references, `anyOf` with null as a list of types."""
    if "$ref" in field:
        field = {**definitions[field["$ref"].rpartition("/")[2]], **{k: v for k, v in field.items() if k != "$ref"}}
    flat = {k: v for k, v in field.items() if k not in ("anyOf", "default")}
    if kinds := field.get("anyOf"):
        for kind in kinds:
            flat |= {k: v for k, v in kind.items() if k != "type"}
        flat["type"] = [kind["type"] for kind in kinds]
        if "enum" in flat and "null" in flat["type"]:
            flat["enum"] = [*flat["enum"], None]
    return flat
