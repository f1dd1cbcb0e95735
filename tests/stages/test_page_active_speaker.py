"""The page on who speaks: what a training said, scenes with faces, what was counted; and it stands alone."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from episodes import put
from PIL import Image
from test_page_talking_heads import Page

from avlake import warehouse
from avlake.errors import RequestError
from avlake.extractors.face_tracks import FaceTracks
from avlake.lake import Lake
from avlake.learn import artifacts
from avlake.learn.artifacts import Chosen
from avlake.learn.frame import content_hash
from avlake.settings import Settings
from avlake.stages.report import report
from avlake.stages.takedowns import add
from avlake.tables import BRONZE_FILES, EXTRACTIONS, LABELS, Table

PIPELINE, DATASET, DROP, RUN = "active_speaker", "ava", "2026-09-01", "train-1"
PATHS = ("videos/one.mp4", "videos/two <b>$x_{$ 二.mp4", "videos/three.mp4", "videos/four.mp4")
NEW = "videos/nobody labelled.mp4"
FACES, STEP_S, LOUD = 30, 0.1, slice(10, 25)  # of each track; which of them speak, where one does
GOLD = pa.schema(
    [
        *((name, pa.string()) for name in ("file_id", "dataset", "drop_date", "path", "video_id", "track_id")),
        *((name, pa.string()) for name in ("label", "label_source", "subject_id", "split", "reject_reason")),
        *((name, pa.string()) for name in ("left_out_reason", "licence", "source")),
        *((name, pa.int32()) for name in ("scene", "faces_on_screen", "part", "face_index")),
        *((name, pa.float64()) for name in ("frame_timestamp", "x1", "y1", "x2", "y2", "face_px", "track_s")),
        *((name, pa.bool_()) for name in ("audible", "kept", "trains")),
    ]
)


def file_id(path: str) -> str:
    return hashlib.sha256(f"{DATASET}/{path}".encode()).hexdigest()[:32]


def of_drop(path: str) -> dict[str, Any]:
    return {"file_id": file_id(path), "dataset": DATASET, "drop_date": DROP, "path": path}


def track(path: str, number: int, *, talkers: bool) -> list[dict[str, Any]]:
    """A track's rows of gold: the first of a video speaks and is heard, the second moves its lips."""
    rows = []
    for i in range(FACES):
        label = ("SPEAKING_AUDIBLE", "SPEAKING_NOT_AUDIBLE")[number] if LOUD.start <= i < LOUD.stop else "NOT_SPEAKING"
        reason = "unlabelled" if path == NEW else ("small_face,short_track" if i == 0 else None)
        row = of_drop(path) | {
            "video_id": Path(path).stem,
            "track_id": f"{Path(path).stem}:{number}",
            "label": None if path == NEW else label,
            "label_source": None if path == NEW else "annotation",
            "subject_id": f"s{number}" if talkers and path != NEW else None,
            "split": "train",
            "reject_reason": reason,
            "left_out_reason": "class_balance" if not reason and i == 1 and number else None,
            "licence": "CC-BY-4.0",
            "source": f"{DATASET}/{DROP}/{path}",
            "scene": 0,
            "faces_on_screen": 2,
            "part": 0,
            "face_index": i,
            "frame_timestamp": 900 + i * STEP_S,
            "x1": 0.1 + 0.5 * number,
            "y1": 0.2,
            "x2": 0.3 + 0.5 * number,
            "y2": 0.6,
            "face_px": 64.0,
            "track_s": (FACES - 1) * STEP_S,
            "audible": None if path == NEW else label == "SPEAKING_AUDIBLE",
            "kept": not reason,
        }
        rows.append(row | {"trains": row["kept"] and not row["left_out_reason"]})
    return rows


def measured(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of silver.face_tracks of a track: a face is a gray square, and its second has none."""
    jpegs = [b"" if i == 1 else picture(10 * i % 256) for i in range(FACES)]
    times = [row["frame_timestamp"] for row in rows]
    said = {name: rows[0][name] for name in ("file_id", "dataset", "drop_date", "track_id", "part")}
    lists = {name: [row[name] for row in rows] for name in ("frame_timestamp", "x1", "y1", "x2", "y2", "label")}
    sound = {"log_mel": bytes(FACES * 4 * 40 * 2), "mfcc": bytes(FACES * 4 * 13 * 2)}
    return {
        **{"source": "annotation", "start_s": times[0], "end_s": times[-1], "faces": FACES, "width_px": 320},
        **{"height_px": 180, "problem": [None] * FACES, "crops": b"".join(jpegs), "crop_bytes": list(map(len, jpegs))},
        **said,
        **lists,
        **sound,
    }


def picture(gray: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.full((112, 112), gray, np.uint8)).save(held, "JPEG")
    return held.getvalue()


def commit(lake: Lake, table: Table, rows: list[dict[str, Any]]) -> None:
    made = pa.Table.from_pylist(rows, schema=table.schema)
    lake.commit_drop(table, DATASET, DROP, [lake.write_fragment(table, DATASET, DROP, [made])], expected_version=0)


@dataclass(frozen=True)
class World:
    settings: Settings
    rows: list[dict[str, Any]]

    def train(self, *, without: tuple[str, ...] = (), **files: bytes) -> None:
        """A model in charge that left these files."""
        store, folder = Lake.open(self.settings).store, f"models/{PIPELINE}/{RUN}"
        left = said_of_itself(self.rows) | {name.replace("_json", ".json"): data for name, data in files.items()}
        with warehouse.connect(self.settings) as con:
            version = content_hash(con, "gold.active_speaker_frames")
        artifacts.write_files(store, folder, {name: data for name, data in left.items() if name not in without})
        artifacts.choose(store, PIPELINE, Chosen(RUN, "key", "network", version, folder))

    def page(self) -> Page:
        return Page(Path(report(self.settings, pipeline=PIPELINE, run_id="shown")).read_text())


def world_of(folder: Path, *, talkers: bool = True) -> World:
    settings = Settings(uri=str(folder / "lake"), warehouse=str(folder / "warehouse.duckdb"), jobs=1)
    lake = Lake.open(settings)
    tracks = [track(path, number, talkers=talkers) for path in (*PATHS, NEW) for number in (0, 1)]
    bronze = {"media_type": "video/mp4", "size_bytes": 1, "licence": "CC-BY-4.0"}
    videos = [of_drop(path) | bronze | {"sha256": f"{i:064x}"} for i, path in enumerate((*PATHS, NEW))]
    commit(lake, BRONZE_FILES, videos)
    commit(lake, FaceTracks.table, [measured(rows) for rows in tracks])
    csv = {"file_id": "c" * 32, "dataset": DATASET, "drop_date": DROP, "source": "ava_train.csv", "subject_id": None}
    of_csv = {"rows": "99", "videos_missing": "17", "malformed_rows": "2"}
    counted = [csv | {"name": name, "value": n} for name, n in of_csv.items()]
    for path, unknown in zip(PATHS, "1300", strict=True):
        video = csv | {"file_id": file_id(path)}
        counted += [
            video | {"name": "unknown_labels", "value": unknown},
            video | {"name": "malformed_boxes", "value": "1"},
        ]
    commit(lake, LABELS, counted)
    bad = of_drop("videos/broken.mp4") | {"extractor": "open", "status": "quarantined", "error_class": "truncated"}
    fine = of_drop(PATHS[0]) | {"extractor": "face_tracks", "status": "ok"}
    commit(lake, EXTRACTIONS, [fine, bad | {"error": "it ends in the middle"}])
    rows = [row for track_rows in tracks for row in track_rows]
    put(settings, Table("gold.active_speaker_frames", "faces", ("file_id",), GOLD, per_drop=False), rows)
    return World(settings, rows)


def said_of_itself(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """What a training leaves, see `avlake.learn.speakers`; the figures are made up."""
    figures = []
    models = {"network": 0.9, "network_without_augmentation": 0.85, "network_with_pretraining": 0.91}
    models |= {"always_speaking": 0.3, "loudness": 0.5, "motion_x_energy": 0.6}
    for split, less in (("cv", 0.0), ("cv_unseen_talkers", 0.1)):
        figures += [score(name, split, value - less) for name, value in models.items()]
        figures += [
            score(f"network_minus_{name}", split, 0.9 - value) for name, value in models.items() if name != "network"
        ]
        for kind in ("middle", "2_faces"):
            figures += [score("network", split, 0.77, f"average_precision_{kind}")]
    epochs = [{"epoch": i, "loss": 1 / i, "validation_loss": 2 / i, "validation_ap": 1 - 1 / i} for i in range(1, 6)]
    pretraining = {"scenes": 3, "least": 8, "used": False}
    values = {
        "features.json": {"parameters": 812345, "options": {"augment": True}, "pretraining": pretraining},
        "metrics.json": figures,
        "curves.json": {"network": epochs, "fold_1": [one | {"validation_loss": None} for one in epochs]},
        "verdict.json": {"words": ["It hears who speaks.", "Now `avlake train`."]},
    }
    made = {name: artifacts.to_json(value) for name, value in values.items()}
    return made | {"card.md": b"# A card", "predictions.parquet": predictions(rows)}


def score(model: str, split: str, value: float, metric: str = "average_precision") -> dict[str, Any]:
    ends = {"ci_low": value - 0.05, "ci_high": value + 0.05}
    return {"model": model, "split": split, "metric": metric, "value": value, "n": 232, **ends}


def predictions(rows: list[dict[str, Any]]) -> bytes:
    """The first video is told rightly, the second wrongly, the others about."""
    rng, keys = np.random.default_rng(1), ("file_id", "track_id", "frame_timestamp", "label", "scene", "subject_id")
    told = []
    for row in rows:
        if row["kept"]:
            y, video = int(row["audible"]), PATHS.index(row["path"])
            said = (0.1 + 0.8 * y, 0.9 - 0.8 * y)[video] if video < 2 else float(rng.uniform(0, 0.6) + 0.3 * y)
            by = {"network": said, "network_unseen_talkers": said if row["subject_id"] else None}
            by |= {"always_speaking": 1.0, "loudness": float(rng.uniform()), "motion_x_energy": float(rng.uniform())}
            told.append({name: row[name] for name in keys} | {"y": y} | by)
    held = io.BytesIO()
    types = {"network_unseen_talkers": pa.float64(), "subject_id": pa.string()}
    schema = pa.schema([(name, types.get(name, pa.infer_type([value]))) for name, value in told[0].items()])
    pq.write_table(pa.Table.from_pylist(told, schema=schema), held)
    return held.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = world_of(tmp_path_factory.mktemp("speakers"))
    world.train()
    return world


@pytest.fixture(scope="module")
def page(world: World) -> Page:
    return world.page()


def test_it_loads_nothing_from_outside_and_is_well_formed(page: Page) -> None:
    assert page.loaded and all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert not {"script", "link", "iframe", "object", "b<"} & set(page.tags)
    anchors = {a["id"] for _, a in page.attributes if "id" in a}
    links = [a["href"] or "" for tag, a in page.attributes if tag == "a"]
    assert links and all(link[0] == "#" and link[1:] in anchors for link in links)
    assert all(a.get("alt") for tag, a in page.attributes if tag == "img")
    assert page.tags.count("img") == 6, "compared, precision over recall, training, and three scenes"


def test_figures_of_both_ways_to_judge_stand_side_by_side(page: Page) -> None:
    (heads,) = (row for row in page.rows if row[0] == "average precision")
    assert heads == ["average precision", "talkers never seen", "videos never seen"]
    assert ["network", "0.800[0.750, 0.850]", "0.900[0.850, 0.950]"] in page.rows
    assert ["motion x energy", "+0.300[+0.250, +0.350]better", "+0.300[+0.250, +0.350]better"] in page.rows
    names = [row[0] for row in page.rows]
    first = names.index("network")
    assert names[first : first + 3] == ["network", "network without augmentation", "network with pretraining"]
    assert names[first + 3 : first + 6] == ["motion x energy", "loudness", "always speaking"]
    assert "chance: the share of faces judged that speak0.259" in page.text, "60 of 232"
    assert (
        "It hears who speaks." in page.text and "Now avlake train." in page.text and "812,345 parameters" in page.text
    )
    assert "0.7151" in page.text and "None is comparable" in page.text


def test_what_the_two_add_is_said_with_their_sign(page: Page) -> None:
    added = "Augmentation adds +0.050 to the average precision (talkers never seen, 95 % interval [+0.000, +0.100])"
    assert added in page.text
    added = "Pre-training by synchrony adds +0.010 to the average precision (videos never seen, 95 % interval [-0.040, "
    assert f"{added}+0.060]); that it makes a difference is not shown." in page.text


def test_why_there_was_no_pre_training_is_said(page: Page) -> None:
    assert "Pre-training was not tried: the lake has 3 scenes of talking heads to learn from, and it takes 8." in (
        page.text
    )


def test_sizes_and_crowds(page: Page) -> None:
    assert ["talkers never seen", "below 64 px (0 faces)", "64 to 128 px (232 faces)", "above 128 px (0 faces)"] in (
        page.rows
    )
    assert ["network", "not measured", "0.770[0.720, 0.820]", "not measured"] in page.rows


def test_what_was_counted(page: Page, world: World) -> None:
    kept = sum(row["kept"] for row in world.rows)
    assert (
        f"{kept} of {len(world.rows)} faces are kept: 10 tracks, 5 scenes, 5 videos, 4 of them with labels" in page.text
    )
    assert ["unlabelled", "60", "2", "1"] in page.rows
    assert ["small_face", "8", "8", "4"] in page.rows and ["short_track", "8", "8", "4"] in page.rows
    assert ["SPEAKING_AUDIBLE", "60", "4", "60", "0", "60"] in page.rows
    assert ["NOT_SPEAKING", "120", "8", "112", "4", "108"] in page.rows
    assert [DROP, "ava_train.csv", "99", "2", "unknown", "17", "unknown", "4", "unknown"] in page.rows
    assert any("it ends in the middle" in row for row in page.rows)
    assert "8 of 10 tracks are known to show one of 2 people" in page.text


def test_scenes_are_the_best_the_worst_and_one_between(page: Page) -> None:
    headings = [page.text.index(which) for which in ("The best scene: ", "A typical scene: ", "The worst scene: ")]
    assert headings == sorted(headings) and "The best scene: average precision 1.000" in page.text
    best, worst = (page.text[headings[i] :][:200] for i in (0, 2))
    assert PATHS[0] in best and PATHS[1] in worst and "900.10 to 902.90 s, 2 tracks" in best
    assert "nor anybody in it" in page.text


def test_where_nobody_names_talkers_the_page_says_so(tmp_path: Path) -> None:
    world = world_of(tmp_path, talkers=False)
    figures = [score("network", "test", 0.9), score("always_speaking", "test", 0.3)]
    world.train(metrics_json=artifacts.to_json(figures))
    page = world.page()
    assert ["network", "0.900[0.850, 0.950]"] in page.rows and "test videos" in page.text
    assert page.tags.count("img") == 6
    assert "talkers never seen" not in page.text and "Nobody has said who the tracks show" in page.text
    assert "The best scene: average precision" in page.text and "nor anybody in it" not in page.text
    assert "did not compare" in page.text and "This training did not measure it." in page.text


def test_an_older_training_that_left_next_to_nothing_still_has_a_page(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    kept = ("metrics.json", "model.safetensors")
    world.train(without=tuple(set(said_of_itself(world.rows)) - set(kept)), metrics_json=b"[]")
    page = world.page()
    for said in ("left no verdict", "measured no average precision", "no scene to show", "left no curves"):
        assert said in page.text
    assert "img" not in page.tags and "232 of 300 faces are kept" in page.text


def test_nothing_trained_is_no_page(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    with pytest.raises(RequestError, match="train active_speaker"):
        world.page()


def test_films_taken_down_since_are_neither_shown_nor_counted(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.train()
    add(world.settings, files=[f"{DATASET}/{PATHS[1]}"], reason="asked", who="a test")
    page = world.page()
    assert PATHS[1] not in page.text and "174 of 240 faces are kept" in page.text
    worst = page.text[page.text.index("The worst scene: ") :][:200]
    assert PATHS[2] in worst or PATHS[3] in worst
