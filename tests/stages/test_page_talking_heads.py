"""The page on talking heads says what gold holds, shows what the lake has, and stands alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import wave
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from avlake.extractors.speaker_features import SpeakerFeatures
from avlake.lake import Lake
from avlake.learn import curation
from avlake.learn.impact import Design
from avlake.pipelines import get_pipeline
from avlake.runner import run
from avlake.settings import MIB, Settings
from avlake.stages.contents import store_bytes
from avlake.stages.pages import sheet
from avlake.stages.report import report
from avlake.stages.train import train
from avlake.tables import EXTRACTIONS, THRESHOLDS, TIME
from clips import make_clip, noise_pictures

PIPELINE = "talking_heads"
TEXTS = [
    "file_id",
    "dataset",
    "drop_date",
    "path",
    "subject_id",
    "video_id",
    "split_group",
    "split",
    "reject_reason",
    "duplicate_of",
    "cluster",
    "standard_video",
    "standard_audio",
    "licence",
    "source",
]
NUMBERS = [
    "duration_s",
    "width_px",
    "height_px",
    "frame_rate_hz",
    "face_presence_ratio",
    "avg_blur_score",
    "speech_ratio",
    "min_blur_score",
    "face_size_ratio",
    "brightness",
    "snr_db",
    "av_offset_s",
]
SCHEMA = pa.schema(
    [*((name, pa.string()) for name in TEXTS), ("kept", pa.bool_()), *((name, pa.float64()) for name in NUMBERS)]
)
LEAST = {"face_presence_ratio": 0.99, "avg_blur_score": 50.0, "speech_ratio": 0.9}
VOID = {"br", "hr", "img", "meta", "link", "input", "source", "rect", "path"}


class Page(HTMLParser):
    """A page's text, headings, tables, tags, and everything that it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.loaded: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.loaded += [value or "" for name, value in attrs if name in ("src", "poster", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        said = re.sub(r"\s+", " ", data)
        self.text += said
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += said.strip()

    def count(self, row: str) -> str:
        """What stands right of this word in a table."""
        return next(cells[1] for cells in self.rows if cells and cells[0] == row)

    def cards(self) -> int:
        return sum(tag == "article" for tag in self.tags)


def clip(number: int, **facts: Any) -> dict[str, Any]:
    """A row of gold, decided as its metrics say unless `facts` say otherwise."""
    row = {
        "file_id": f"{number:032x}",
        "dataset": "voxceleb",
        "drop_date": "2026-09-01",
        "path": f"dev/mp4/id{number % 3}/v{number % 5}/{number:05}.mp4",
        "subject_id": f"id{number % 3}",
        "video_id": f"v{number % 5}",
        "split": "train",
        "duration_s": 3.6,
        "licence": "CC-BY-4.0",
        "source": f"voxceleb/2026-09-01/{number}",
        "cluster": f"{number:032x}",
        "face_presence_ratio": 1.0,
        "avg_blur_score": 80.0,
        "speech_ratio": 0.95,
    } | facts
    low = {"face_presence_ratio": "low_face_presence", "avg_blur_score": "blurry", "speech_ratio": "low_speech"}
    reasons = [reason for name, reason in low.items() if row[name] is None or row[name] < LEAST[name]]
    reasons += ["duplicate"] if row.get("duplicate_of") else []
    row.setdefault("reject_reason", ",".join(reasons) or None)
    return row | {"kept": row["reject_reason"] is None}


def voices(rows: list[dict[str, Any]]) -> dict[str, pa.Table]:
    """A voice for each clip, told by its speaker; and that it was measured."""
    rng = np.random.default_rng(0)
    schema, measured = SpeakerFeatures.table.schema, []
    for row in rows:
        features = rng.normal(int(row["subject_id"][-1]) / 5, 1.0, len(schema.names) - 3)
        same = {name: row[name] for name in ("file_id", "dataset", "drop_date")}
        measured.append(same | dict(zip(schema.names[3:], features.tolist(), strict=True)))
    done = {"extractor": "speaker_features", "status": "ok", "params_hash": SpeakerFeatures().params_hash}
    extractions = [{"file_id": row["file_id"], **done} for row in rows]
    return {
        "silver.speaker_features": pa.Table.from_pylist(measured, schema=schema),
        "ops.extractions": pa.Table.from_pylist(extractions, schema=EXTRACTIONS.schema),
    }


def lake_of(
    folder: Path, rows: list[dict[str, Any]], thresholds: dict[str, float] | None = None, **more: pa.Table
) -> Settings:
    """A warehouse whose gold is these rows, and an empty lake beside it."""
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=1)
    Lake.open(settings)
    values = get_pipeline(PIPELINE).decided(thresholds).model_dump(mode="json")
    decided = {"pipeline": PIPELINE, "values": json.dumps(values), "who": "a test", "when": pa.scalar(0, TIME).as_py()}
    tables = {
        "gold.talking_heads": pa.Table.from_pylist(rows, schema=SCHEMA),
        "ops.extractions": EXTRACTIONS.schema.empty_table(),
        "governance.thresholds": pa.Table.from_pylist([decided], schema=THRESHOLDS.schema),
    } | more
    with duckdb.connect(settings.warehouse) as con:
        for name, table in tables.items():
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {name.split('.')[0]}")
            con.register("incoming", table)
            con.execute(f"CREATE TABLE {name} AS FROM incoming")
            con.unregister("incoming")
    return settings


def sql(settings: Settings, query: str) -> Any:
    """The one value that a query of the warehouse gives."""
    with duckdb.connect(settings.warehouse, read_only=True) as con:
        return con.execute(query).fetchall()[0][0]


def page_of(settings: Settings) -> Page:
    return Page(Path(report(settings, pipeline=PIPELINE, run_id="r1")).read_text())


def standard(settings: Settings, seed: int, *, seconds: float = 1.0) -> dict[str, str]:
    """The two objects of a standard form in the lake, as columns of gold."""
    tone = np.sin(np.arange(int(16_000 * seconds)) * 0.1 * (seed + 1)) * 0.3
    lake = Lake.open(settings)
    video = make_clip(noise_pictures(seed, 224, 224), tone, seconds=seconds, crf=40)
    wav = io.BytesIO()
    with wave.open(wav, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return {"standard_video": store_bytes(lake, video), "standard_audio": store_bytes(lake, wav.getvalue())}


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Page]:
    """Forty clips around every threshold, some not measured, two pairs of duplicates, twelve with a standard form."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("rich")
    forms = [standard(Settings(uri=str(folder / "lake")), seed) for seed in range(12)]
    rows = []
    for i in range(40):
        facts: dict[str, Any] = {
            "face_presence_ratio": None if i == 7 else float(rng.choice([0.2, 0.97, 0.99, 1.0])),
            "avg_blur_score": None if i in (7, 8) else float(rng.uniform(20, 120)),
            "speech_ratio": None if i == 9 else float(rng.uniform(0.6, 1.0)),
            "brightness": float(rng.normal(100, 10)),
            **(forms[i] if i < 12 else {}),
        }
        if i in (20, 30):
            facts |= {"cluster": f"{i - 1:032x}", "duplicate_of": f"{i - 1:032x}"}
        rows.append(clip(i, **facts))
    for i in (19, 29):
        rows[i] |= clip(i)  # the best of its cluster meets all thresholds
    settings = lake_of(folder, rows)
    return settings, page_of(settings)


def test_it_loads_nothing_from_outside_and_is_well_formed(rich: tuple[Settings, Page]) -> None:
    page = rich[1]
    assert all(source.startswith("data:") for source in page.loaded)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    policy = next(a["content"] for tag, a in page.attributes if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    anchors = {a["id"] for _, a in page.attributes if "id" in a}
    links = [a["href"] or "" for tag, a in page.attributes if tag == "a"]
    assert links and all(link[0] == "#" and link[1:] in anchors for link in links)
    assert all(a.get("alt") for tag, a in page.attributes if tag == "img")


def test_figures_are_those_of_gold(rich: tuple[Settings, Page]) -> None:
    settings, page = rich
    kept = sql(settings, "SELECT count(*) FROM gold.talking_heads WHERE kept")
    hours = sql(settings, "SELECT sum(duration_s) / 3600 FROM gold.talking_heads")
    assert f"clips40 kept{kept} ({kept / 40:.0%})".replace("%", " %") in page.text
    assert f"speakers{sql(settings, 'SELECT count(DISTINCT subject_id) FROM gold.talking_heads')}" in page.text
    assert f"hours{hours:.2f}" in page.text
    for reason in ("low_face_presence", "blurry", "low_speech", "duplicate"):
        n = sql(settings, f"SELECT count(*) FROM gold.talking_heads WHERE contains(reject_reason, '{reason}')")
        assert page.count(reason) == str(n) != "0"


def test_a_lake_of_scores_alone_has_a_page(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("filepath_video,speaker_id,face_presence_ratio,avg_blur_score,speech_ratio\na.mp4,ann,1,80,0.95\n")
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))
    run(settings, pipeline=PIPELINE, scores=str(file))
    page = page_of(settings)
    assert "clips1 kept1" in page.text and "a.mp4" in page.text


def test_keep_counts_are_what_deciding_again_would_keep(rich: tuple[Settings, Page]) -> None:
    settings, page = rich
    asked = {"face": "face_presence_ratio", "sharpness": "avg_blur_score", "speech": "speech_ratio"}
    checked = 0
    for title, metric in asked.items():
        start = page.rows.index([f"least {title}", "clips kept"]) + 1
        for at, said in page.rows[start : start + 8]:
            least = LEAST | {metric: float(at.removesuffix(" (today)"))}
            meets = " AND ".join(f"({m} >= {value} OR {value} = 0)" for m, value in least.items())
            again = sql(settings, f"SELECT count(DISTINCT cluster) FROM gold.talking_heads WHERE {meets}")
            assert said == str(again), (title, at)
            if "today" in at:
                assert again == sql(settings, "SELECT count(*) FROM gold.talking_heads WHERE kept")
            checked += 1
    assert checked == 24


def test_the_sheet_has_the_nearest_clips_of_both_sides(rich: tuple[Settings, Page]) -> None:
    settings, page = rich
    with duckdb.connect(settings.warehouse, read_only=True) as con:
        for metric, least in LEAST.items():
            for side, order in (("<", "DESC"), (">=", "ASC")):
                for path, reason in con.execute(
                    f"""SELECT path, reject_reason FROM gold.talking_heads WHERE {metric} {side} {least}
                    ORDER BY {metric} {order}, file_id LIMIT 6"""
                ).fetchall():
                    assert path in page.text
                    assert not reason or reason.replace("_", " ").replace(",", ", ") in page.text
    assert "1 clip was not measured, so on neither side." in page.text
    assert "2 clips were not measured, so on neither side." in page.text
    assert "2 clusters:" in page.text


def test_players_are_the_objects_themselves_each_once(rich: tuple[Settings, Page]) -> None:
    settings, page = rich
    played = [a["src"] or "" for tag, a in page.attributes if tag in ("video", "audio")]
    store = Lake.open(settings).store
    stored = {store.read(name) for name in store.list("objects")}
    assert {base64.b64decode(uri.partition(",")[2]) for uri in played} <= stored
    assert 0 < len(played) == len(set(played)) <= 12
    assert f"{len(played)} can be played here." in page.text


def test_pages_stay_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = standard(Settings(uri=str(tmp_path / "lake")), 0)
    settings = lake_of(tmp_path, [clip(i, speech_ratio=0.5 + i / 100, **form) for i in range(80)])
    monkeypatch.setattr(sheet, "PLAYERS", 5)
    page = page_of(settings)
    assert page.tags.count("video") == 5
    assert page.cards() <= 6 * sheet.PER_SIDE
    assert "more cannot, to keep the page light" in page.text
    assert "the page holds as many players as it may" in page.text
    monkeypatch.setattr(sheet, "PLAYER_BYTES", 1000)
    assert "too long to be played in this page" in page_of(settings).text
    monkeypatch.setattr(sheet, "LOOKED_AT_BYTES", 1000)
    assert "its picture is too large for this page" in page_of(settings).text


def test_a_page_full_of_the_largest_players_is_not_too_large(tmp_path: Path) -> None:
    lake = Lake.open(Settings(uri=str(tmp_path / "lake")))
    seconds = sheet.PLAYER_BYTES // 32_000 - 1
    forms = []
    for seed in range(8):
        wav = io.BytesIO()
        with wave.open(wav, "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(np.full(16_000 * seconds, seed + 1, "<i2").tobytes())
        forms.append({"standard_audio": store_bytes(lake, wav.getvalue())})
    settings = lake_of(tmp_path, [clip(i, speech_ratio=0.8 + i / 50, **form) for i, form in enumerate(forms)])
    written = Path(report(settings, pipeline=PIPELINE, run_id="r1"))
    assert Page(written.read_text()).tags.count("audio") == 4
    assert written.stat().st_size < 15 * MIB


def test_objects_missing_damaged_or_unreadable_are_said_on_their_cards(tmp_path: Path) -> None:
    settings = Settings(uri=str(tmp_path / "lake"))
    lake, good = Lake.open(settings), standard(settings, 0)
    junk = store_bytes(lake, b"no media at all")
    damaged = store_bytes(lake, b"was good")
    lake.store.write(f"objects/{damaged[:2]}/{damaged}", b"changed since")
    forms = [
        good,
        {"standard_video": hashlib.sha256(b"gone").hexdigest()},
        {"standard_video": junk, "standard_audio": junk},
        {"standard_audio": damaged},
        {"standard_video": "../../../etc/passwd"},
    ]
    page = page_of(lake_of(tmp_path, [clip(i, **form) for i, form in enumerate(forms)]))
    for said in (
        "its picture is not in the lake any longer",
        "its picture cannot be decoded",
        "its sound cannot be decoded",
        "its sound is damaged",
        "its picture has no valid address",
    ):
        assert said in page.text
    assert page.tags.count("video") == 1


def test_hostile_names_are_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    names = dict.fromkeys(("path", "subject_id", "video_id", "cluster", "licence", "source", "drop_date"), evil)
    page = page_of(lake_of(tmp_path, [clip(i, **names, reject_reason=evil) for i in range(2)]))
    assert "script" not in page.tags
    assert page.text.count(evil) >= 8


@pytest.mark.parametrize("number", [0, 1, 30])
def test_scores_alone_make_a_page(tmp_path: Path, number: int) -> None:
    nothing = dict.fromkeys(("duration_s", "avg_blur_score", "video_id", "cluster", "licence"))
    page = page_of(lake_of(tmp_path, [clip(i, dataset="scores", **nothing) for i in range(number)]))
    assert f"clips{number} kept0" in page.text
    assert "source videosunknown hoursunknown" in page.text
    assert "Nothing was delivered: these clips were measured elsewhere." in page.text
    assert "Nothing has been trained on these clips" in page.text
    assert not {"video", "audio"} & set(page.tags)


def test_a_threshold_of_zero_asks_for_nothing(tmp_path: Path) -> None:
    rows = [clip(i, avg_blur_score=None, reject_reason=None) for i in range(3)]
    page = page_of(lake_of(tmp_path, rows, {"min_blur_score": 0}))
    assert "A threshold of 0 asks for nothing." in page.text
    assert page.count("0 (today)") == "3"


def test_without_a_task_it_says_exactly_that(tmp_path: Path) -> None:
    rows = [clip(i, speech_ratio=0.5) for i in range(12)]
    settings = lake_of(tmp_path, rows, **voices(rows))
    train(settings, pipeline=PIPELINE, run_id="t1")
    page = page_of(settings)
    verdict = json.loads(Lake.open(settings).store.read(f"models/{PIPELINE}/t1/verdict.json"))
    assert not verdict["trainable"]
    assert verdict["words"][0] in page.text
    assert "What learning from the kept clips changes" not in page.text


def test_the_verdict_comes_first_and_what_is_not_comparable_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curation, "LEARNER", replace(curation.LEARNER, design=Design(seeds=2, draws=3, replicates=50)))
    rows = []
    for i in range(90):
        video = f"{i % 3}-{i % 5}"
        rows.append(clip(i, video_id=video, split_group=f"id{i % 3}/{video}", speech_ratio=0.8 if i % 4 == 0 else 0.95))
    settings = lake_of(tmp_path, rows, **voices(rows))
    train(settings, pipeline=PIPELINE, run_id="t1")
    page = page_of(settings)
    store = Lake.open(settings).store
    words = json.loads(store.read(f"models/{PIPELINE}/t1/verdict.json"))["words"]
    places = [page.text.index(sentence) for sentence in words]
    assert places == sorted(places)
    assert places[-1] < page.text.index("Why clips are rejected")
    scores = json.loads(store.read(f"models/{PIPELINE}/t1/metrics.json"))
    shown = {(c[0], c[1], c[2], c[5]): c[3] for c in page.rows if len(c) == 6 and "kept against" in c[1]}
    assert len(shown) == sum("_minus_" in score["metric"] for score in scores)
    tested = {"test": "all clips held out", "naive_random": "not comparable: different test sets"}
    compared = [s for s in scores if s["metric"] == "accuracy_kept_minus_all" and s["split"] in tested]
    assert len(compared) == 4
    for score in compared:
        said = shown[score["model"].replace("_", " "), "kept against all", "accuracy", tested[score["split"]]]
        fair = score["split"] == "test"
        interval = f" [{score['ci_low']:+.3f}, {score['ci_high']:+.3f}]" if fair else ""
        assert said == f"{score['value']:+.3f}{interval}"
