"""The page on sound effects says what gold and the training say, claims nothing nobody has heard, and stands alone."""

from __future__ import annotations

import hashlib
import io
import json
import wave
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from test_page_talking_heads import Page

from avlake.lake import Lake
from avlake.learn import artifacts
from avlake.learn.artifacts import Chosen
from avlake.learn.frame import content_hash
from avlake.settings import Settings
from avlake.stages.contents import store_bytes
from avlake.stages.report import report
from avlake.stages.takedowns import add
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS, THRESHOLDS

PIPELINE, DROP = "sound_effects", "2026-09-01"
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("file_id", "dataset", "drop_date", "path", "video_id", "youtube_id")),
        *((name, pa.string()) for name in ("sound", "audio_text_description", "human_sound", "split")),
        *((name, pa.string()) for name in ("reject_reason", "licence", "source")),
        *((name, pa.float64()) for name in ("speech_score", "music_score", "speech_ratio", "duration_s")),
        *((name, pa.float64()) for name in ("p_sfx", "calibrated_threshold")),
        ("kept", pa.bool_()),
    ]
)
SOUNDS = ("dog barking", "rain", "<b>people</b> & cats", None)


def clips(n: int, *, labelled: bool) -> list[dict[str, Any]]:
    """Clips whose scores say about what is in them; every seventh has speech that nothing notices."""
    rng, rows = np.random.default_rng(3), []
    for i in range(n):
        heard = ("sfx", "sfx", "sfx+speech", "music")[i % 4]
        speech = 10 ** rng.uniform(-1.3, 0) if "speech" in heard and i % 7 else 10 ** rng.uniform(-4, -1.2)
        music = 10 ** rng.uniform(-1.1, 0) if heard == "music" else 10 ** rng.uniform(-4, -1.2)
        reasons = [name for name, score in (("speech", speech), ("music", music)) if score >= 0.1]
        path = f"vggsound_00.tar.gz/clip{i:07}_{i:06}.mp4"
        p = float(np.clip(rng.normal(0.9 if heard == "sfx" else 0.15, 0.1), 0.01, 0.99))
        rows.append(
            {
                "file_id": hashlib.sha256(f"vggsound/{path}".encode()).hexdigest()[:32],
                "dataset": "vggsound",
                "drop_date": DROP,
                "path": path,
                "video_id": f"clip{i:07}_{i:06}",
                "youtube_id": f"clip{i:07}",
                "sound": SOUNDS[i % 5 % 4],
                "audio_text_description": f"Sound of number {i}",
                "human_sound": heard if labelled and i % 3 else None,
                "split": "train",
                "reject_reason": ",".join(reasons) or None,
                "licence": "CC-BY-4.0",
                "source": f"vggsound/{DROP}/{path}",
                "speech_score": speech,
                "music_score": music,
                "speech_ratio": 0.1,
                "duration_s": 10.0,
                "p_sfx": p if labelled else None,
                "calibrated_threshold": 0.5 if labelled else None,
                "kept": not reasons,
            }
        )
    return rows


def judged(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """What a training leaves of these clips, in the shape that its module describes; figures are made up."""
    known = [row for row in rows if row["human_sound"]]
    right = [row for row in known if row["kept"] and row["human_sound"] == "sfx"]
    wrong = [row for row in known if row["kept"] != (row["human_sound"] == "sfx")]
    score = {"value": 0.937, "ci_low": 0.881, "ci_high": 0.968}
    decisions = [
        {
            "name": name,
            "in_charge": name == "plain",
            "why_not": None,
            "threshold": None,
            "n": len(known),
            "kept": sum(row["kept"] for row in known),
            "true_positive": len(right),
            "false_positive": 4,
            "false_negative": 5,
            "true_negative": 6,
            "precision": score | {"value": value},
            "recall": score | {"value": 0.86},
            "f1": score,
            "average_precision": 0.971,
            "errors": [{"sound": "sfx+speech", "wrong": 4, "of": 31}],
        }
        for name, value in (("plain", 0.937), ("calibrated", 0.962))
    ]
    decisions.append({"name": "panns", "in_charge": False, "why_not": "too few clips were tagged", "precision": None})
    columns = ("path", "human_sound", "kept", "speech_score", "music_score", "speech_ratio", "p_sfx", "sound")
    verdict = {
        "words": ["The plain decision is right about what it keeps in 93.7 % of the clips.", "More follows."],
        "calibrated": True,
        "decisions": decisions,
        "mistakes": [{name: row[name] for name in columns} for row in wrong],
        "throughput": [
            {
                "extractor": "audio_tags",
                "clips": len(rows),
                "seconds": 12.5,
                "clips_per_s_per_core": 16.0,
                "one_million_core_hours": 17.4,
            }
        ],
        "taggers": {
            **{"clips": 50, "agreement": 0.9, "both": 20, "only_yamnet": 2, "only_panns": 3},
            "neither": 25,
        },
    }
    curve = [{"threshold": t, "precision": 0.6 + 0.39 * t, "recall": 1 - t**3} for t in np.linspace(0, 1, 30)]
    flat = [{"threshold": 0.0, "precision": None, "recall": 0.0}, *curve]
    return {
        "verdict.json": json.dumps(verdict).encode(),
        "curves.json": json.dumps({"pr": {"calibrated": curve, "plain": flat}, "histograms": {}}).encode(),
    }


def lake_of(folder: Path, rows: list[dict[str, Any]], files: dict[str, bytes] | None = None) -> Settings:
    """A warehouse whose gold is these clips, the first four of them with their sound, and what a training left."""
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=1)
    lake, same = Lake.open(settings), {"dataset": "vggsound", "drop_date": DROP}
    bronze = [
        {name: row[name] for name in ("file_id", "path", "licence")}
        | same
        | {"media_type": "audio/wav", "sha256": f"{i:064x}", "size_bytes": 1}
        for i, row in enumerate(rows)
    ]
    for row in bronze[:4]:
        data = sound()
        row |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        row["uri"] = f"objects/{store_bytes(lake, data)}"
    index = {"file_id": "i" * 32, "source": "vggsound.csv", **same}
    labels = [index | {"name": name, "value": n} for name, n in (("rows_without_clip", "17"), ("malformed_rows", "2"))]
    bad = {**same, "file_id": "b" * 32, "path": "vggsound_01.tar.gz", "extractor": "ingest", "status": "quarantined"}
    bad |= {"error_class": "truncated_archive", "error": "it ends in the middle"}
    tables = {
        "gold.sound_effects": pa.Table.from_pylist(rows, schema=SCHEMA),
        "bronze.files": pa.Table.from_pylist(bronze, schema=BRONZE_FILES.schema),
        "silver.labels": pa.Table.from_pylist(labels, schema=LABELS.schema),
        "ops.extractions": pa.Table.from_pylist([bad], schema=EXTRACTIONS.schema),
        "governance.thresholds": THRESHOLDS.schema.empty_table(),
    }
    with duckdb.connect(settings.warehouse) as con:
        for name, table in tables.items():
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {name.split('.')[0]}")
            con.register("incoming", table)
            con.execute(f"CREATE TABLE {name} AS FROM incoming")
            con.unregister("incoming")
        version = content_hash(con, "gold.sound_effects")
    if files:
        artifacts.write_files(lake.store, f"models/{PIPELINE}/r0", files)
        artifacts.choose(lake.store, PIPELINE, Chosen("r0", "key", "plain", version, f"models/{PIPELINE}/r0"))
    return settings


def sound() -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(16_000) * 0.1) * 9_000).astype("<i2").tobytes())
    return held.getvalue()


def page_of(settings: Settings) -> Page:
    return Page(Path(report(settings, pipeline=PIPELINE, run_id="r1")).read_text())


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[dict[str, Any]], Page]:
    rows = clips(120, labelled=True)
    settings = lake_of(tmp_path_factory.mktemp("effects"), rows, judged(rows))
    return settings, rows, page_of(settings)


def test_it_loads_nothing_from_outside_and_is_well_formed(rich: tuple[Settings, list[dict[str, Any]], Page]) -> None:
    page = rich[2]
    assert page.loaded and all(source.startswith("data:") for source in page.loaded)
    assert not {"script", "link", "iframe", "object", "b<"} & set(page.tags)
    anchors = {a["id"] for _, a in page.attributes if "id" in a}
    links = [a["href"] or "" for tag, a in page.attributes if tag == "a"]
    assert links and all(link[0] == "#" and link[1:] in anchors for link in links)
    assert all(a.get("alt") for tag, a in page.attributes if tag == "img")
    assert page.tags.count("img") == 3, "scores, probabilities, precision over recall"


def test_figures_are_those_of_gold_and_of_the_training(rich: tuple[Settings, list[dict[str, Any]], Page]) -> None:
    _, rows, page = rich
    kept = sum(row["kept"] for row in rows)
    assert f"clips{len(rows)}" in page.text and f"kept{kept} ({kept / len(rows):.0%})".replace("%", " %") in page.text
    for reason in ("speech", "music"):
        assert page.count(reason) == str(sum(reason in (row["reject_reason"] or "") for row in rows))
    assert page.count("<b>people</b> & cats") == str(sum(row["sound"] == SOUNDS[2] for row in rows))
    (precision,) = (row for row in page.rows if row[0] == "precision")
    assert precision == ["precision", "0.937[0.881, 0.968]", "0.962[0.881, 0.968]"]
    assert ["sfx+speech", "4 of 31", "4 of 31"] in page.rows
    assert "precision0.937of the plain decision" in page.text and "panns: too few clips were tagged" in page.text
    assert page.count("audio_tags") == "120" and "agree on 90.0 % of them" in page.text
    (index,) = (row for row in page.rows if "vggsound.csv" in row)
    assert index == [DROP, "vggsound.csv", "17", "2"]
    assert any("truncated_archive" in row for row in page.rows)
    without = sum(row["sound"] is None for row in rows)
    assert f"{without} clips have no row" in page.text
    assert "ncalibrated." not in page.text and "Gold has changed" not in page.text


def test_mistakes_and_some_of_what_is_kept_can_be_heard(rich: tuple[Settings, list[dict[str, Any]], Page]) -> None:
    _, rows, page = rich
    wrong = [row for row in rows if row["human_sound"] and row["kept"] != (row["human_sound"] == "sfx")]
    assert wrong and all(page.count(row["video_id"]) == row["human_sound"] for row in wrong)
    players = [a for tag, a in page.attributes if tag == "audio"]
    names = {a["aria-label"] for a in players}
    assert names <= {row["path"] for row in rows[:4]}, "of the others the lake has no bytes"
    assert page.text.count("cannot be played here") + len(players) <= 12
    assert page.text.count("wrongly kept") >= 1


def test_without_labels_nothing_is_claimed(tmp_path: Path) -> None:
    page = page_of(lake_of(tmp_path, clips(8, labelled=False)))
    assert "Uncalibrated." in page.text and "precisionuncalibrated" in page.text
    assert "avlake train sound_effects" in page.text and "avlake labels import" in page.text
    assert "There is no calibrated probability" in page.text and page.tags.count("img") == 1
    assert len([1 for tag, _ in page.attributes if tag == "audio"]) >= 1, "what is kept can be heard all the same"


def test_a_page_of_no_clips_is_a_page(tmp_path: Path) -> None:
    page = page_of(lake_of(tmp_path, []))
    assert "clips0" in page.text and "img" not in page.tags and "No clip is kept" in page.text


def test_what_was_taken_down_since_is_not_on_the_page(tmp_path: Path) -> None:
    rows = clips(40, labelled=True)
    settings = lake_of(tmp_path, rows, judged(rows))
    lake = Lake.open(settings)
    gone = next(row for row in rows if row["human_sound"] and row["kept"] != (row["human_sound"] == "sfx"))
    for table, extra in ((BRONZE_FILES, {"media_type": "video/mp4", "sha256": "a" * 64}), (EXTRACTIONS, {})):
        made = {name: value for name, value in (gone | extra).items() if name in table.schema.names}
        fragment = lake.write_fragment(table, "vggsound", DROP, [pa.Table.from_pylist([made], schema=table.schema)])
        lake.commit_drop(table, "vggsound", DROP, [fragment], expected_version=0)
    before = page_of(settings)
    add(settings, files=[f"vggsound/{gone['path']}"], reason="asked", who="a test")
    after = page_of(settings)
    assert gone["video_id"] in before.text and gone["video_id"] not in after.text
    assert "clips40" in before.text and "clips39" in after.text
