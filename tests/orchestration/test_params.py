"""pydantic models become Airflow's trigger form."""

from enum import StrEnum
from typing import Literal

import pytest
from airflow.sdk.exceptions import ParamValidationError
from pydantic import BaseModel, Field

from avlake.orchestration.params import drop_params, extractor_params, given_sampling, params_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Options(BaseModel):
    window_s: float = Field(3.0, gt=0, le=30, title="Window", description="seconds")
    limit: int | None = Field(None, ge=1)
    mode: Literal["fast", "exact"] = "exact"
    size: Literal["small", "large"] | None = None
    colour: Colour = Colour.RED


def test_title_description_range_and_default_survive():
    param = params_of(Options)["window_s"]
    assert param.value == 3.0
    assert param.schema["title"] == "Window"
    assert param.description == "seconds"
    assert param.resolve(30.0) == 30.0
    with pytest.raises(ParamValidationError):
        param.resolve(31.0)


def test_an_optional_value_may_be_null_and_keeps_its_range():
    param = params_of(Options)["limit"]
    assert param.resolve(None) is None
    assert param.resolve(5) == 5
    for wrong in (0, "many"):
        with pytest.raises(ParamValidationError):
            param.resolve(wrong)


@pytest.mark.parametrize(("name", "good"), [("mode", "fast"), ("colour", "blue")])
def test_choices(name, good):
    param = params_of(Options)[name]
    assert param.resolve(good) == good
    with pytest.raises(ParamValidationError):
        param.resolve("neither")


def test_a_choice_may_be_left_open():
    param = params_of(Options)["size"]
    assert param.resolve(None) is None and param.resolve("small") == "small"
    with pytest.raises(ParamValidationError):
        param.resolve("neither")


def test_only_a_sampling_that_was_named_is_given():
    assert given_sampling("voxforge_gender", {"drop": "2026-09-01"}) == {}
    flat = dict.fromkeys(drop_params("talking_heads")) | {"sampling": "random", "sample_clips": 5}
    assert given_sampling("talking_heads", flat) == {"sampling": "random", "sample_clips": 5}


def test_prefix_and_section():
    made = params_of(Options, prefix="voice.", section="voice")
    assert set(made) == {"voice.window_s", "voice.limit", "voice.mode", "voice.size", "voice.colour"}
    assert made["voice.mode"].schema["section"] == "voice"


def test_flat_params_become_each_extractors_options():
    flat = {"source": None, "voice_features.window_s": 2.0, "voice_features.hop_s": 1.0}
    options = extractor_params("voxforge_gender", flat)
    assert options["voice_features"] == {"window_s": 2.0, "hop_s": 1.0}
    assert options["media"] == {}
