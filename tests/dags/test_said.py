"""What a drop's annotations come to stands in the log of the task that plans it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from clips import make_clip, moving_bar

DROP = "2026-03-01"


@pytest.mark.usefixtures("database", "lake")
def test_the_task_that_plans_says_it(tmp_path: Path, dags: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "landing/ava" / DROP
    folder.mkdir(parents=True)
    (folder / "film.mp4").write_bytes(make_clip(moving_bar(), seconds=0.2))
    rows = ["film,0.0,0.1,0.1,0.9,0.9,NOT_SPEAKING,a", "gone,0.0,0.1,0.1,0.9,0.9,NOT_SPEAKING,a", "film,0.0"]
    (folder / "ava.csv").write_text("\n".join(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own
        done = dags["active_speaker"].test(logical_date=None, run_conf={"source": str(folder.parents[1]), "drop": DROP})
    assert done.state == "success"
    said = "annotations: 1 box of 1 video; 1 box of 1 video that is not there; 1 malformed row"
    lines = "".join(capfd.readouterr()).splitlines()
    assert any(line.endswith(said) for line in lines)  # alone, not within what the task returned
