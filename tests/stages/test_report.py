"""The report stands alone and says what the tables say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from avlake import warehouse
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages.report import report
from avlake.stages.train import TrainReport

PIPELINE = "voxforge_gender"
pytestmark = pytest.mark.usefixtures("fast")


class Page(HTMLParser):
    """The text, headings and everything a page would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.loaded, self.tags = "", [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += re.sub(r"\s+", " ", data)


@pytest.fixture(scope="module")
def page(trained: tuple[Settings, TrainReport]) -> Page:
    uri = report(trained[0], pipeline=PIPELINE, run_id="run/1")
    assert uri.endswith(f"reports/{PIPELINE}/run_1/index.html")
    assert Path(uri).read_bytes() == Lake.open(trained[0]).store.read(f"reports/{PIPELINE}/index.html")
    return Page(Path(uri).read_text())


def test_it_loads_nothing_from_outside(page: Page) -> None:
    assert page.tags.count("img") == 8
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert not {"script", "link", "iframe"} & set(page.tags)


@pytest.mark.parametrize(
    "question",
    [
        "How were the features extracted?",
        "Which features matter?",
        "Which features say the same?",
        "What was unexpected?",
        "What is wrong with the features?",
        "Which model wins, and by how much?",
        "When is a simpler model the better choice?",
        "What is the model good for?",
    ],
)
def test_every_question_is_answered_in_numbers(page: Page, question: str) -> None:
    answer = page.text.split(question, 1)[1].split("?", 1)[0]
    assert len(re.findall(r"\d+(?:\.\d+)?", answer)) >= 2


def test_figures_are_those_of_the_run(page: Page, trained: tuple[Settings, TrainReport]) -> None:
    settings, run = trained
    store = Lake.open(settings).store
    for level in ("window", "file", "speaker"):
        assert f"balanced accuracy per {level}{run.metrics[f'{level}_balanced_accuracy']:.3f}" in page.text
    description = json.loads(store.read(f"models/{PIPELINE}/first/features.json"))
    assert f"{description['windows']} labelled windows of {description['files']} files" in page.text


def test_quarantine_and_unknown_labels_are_counted(page: Page, trained: tuple[Settings, TrainReport]) -> None:
    assert "truncated_archive" in page.text
    with warehouse.connect(trained[0]) as con:
        unknown = con.execute("SELECT count(*) FROM gold.gender_windows WHERE gender IS NULL").fetchone()
    assert unknown is not None and unknown[0] > 0
    assert f"{unknown[0]} windows without a label" in page.text


def test_hostile_names_are_text(copy: Settings, edit_warehouse: Callable[..., None]) -> None:
    evil = "<script>alert(1)</script>"
    quarantined = "UPDATE ops.extractions SET path = ?, error = ? WHERE status = 'quarantined'"
    edit_warehouse(copy, quarantined, evil, evil)
    edit_warehouse(copy, "UPDATE gold.gender_windows SET subject_id = ? || subject_id", evil)
    page = Page(Path(report(copy, pipeline=PIPELINE, run_id="evil")).read_text())
    assert "script" not in page.tags
    assert evil in page.text
    assert "Gold has changed since this model was trained" in page.text


def test_without_a_model_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"avlake train {PIPELINE}"):
        report(Settings(uri=str(tmp_path / "lake")), pipeline=PIPELINE, run_id="x")
