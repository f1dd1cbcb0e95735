"""People's labels: files of any shape are taken or refused whole, folded exactly once, and read as gold reads them."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from avlake.datasets.podcasts import PODCASTS
from avlake.errors import RequestError
from avlake.lake import Lake
from avlake.settings import Settings
from avlake.stages import human, labelling, takedowns
from avlake.stages.human import Said
from avlake.stages.label_files import read
from avlake.stages.publish import deliver
from avlake.tables import BRONZE_FILES, EXTRACTIONS, HUMAN_LABELS

TRUTH = Path(__file__).parents[3] / "shared" / "data" / "truth"
DROP = "2026-09-01"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"))


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake.open(settings)


def file_id(path: str, dataset: str = "podcasts") -> str:
    return hashlib.sha256(f"{dataset}/{path}".encode()).hexdigest()[:32]


def deliver_files(lake: Lake, *paths: str, dataset: str = "podcasts", drop: str = DROP) -> None:
    """Commit a drop that holds these files."""
    rows = [
        {
            "file_id": file_id(path, dataset),
            "dataset": dataset,
            "drop_date": drop,
            "path": path,
            "media_type": "audio/mpeg",
            "sha256": hashlib.sha256(path.encode()).hexdigest(),
        }
        for path in paths
    ]
    for table, extra in ((BRONZE_FILES, {}), (EXTRACTIONS, {"extractor": "media", "status": "ok"})):
        made = [{name: value for name, value in (row | extra).items() if name in table.schema.names} for row in rows]
        fragments = [lake.write_fragment(table, dataset, drop, [pa.Table.from_pylist(made, schema=table.schema)])]
        lake.commit_drop(table, dataset, drop, fragments, expected_version=lake.drop_version(table, dataset, drop))


def folded(lake: Lake) -> list[dict[str, Any]]:
    """The rows of labels.human as any reader sees them."""
    data = lake.scan(HUMAN_LABELS.name)
    return [] if data is None else data.to_table().to_pylist()


@contextmanager
def shown(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """What curate shows gold SQL."""
    out = takedowns.excluded(lake)
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA labels")
        data = lake.scan(HUMAN_LABELS.name)
        con.register("read", HUMAN_LABELS.schema.empty_table() if data is None else out.without(data))
        con.execute("CREATE VIEW labels.human AS FROM read")
        human.show(con, PODCASTS, lake.scan(BRONZE_FILES.name), out)
        yield con


def counted(lake: Lake) -> dict[tuple[str, str], str]:
    with shown(lake) as con:
        return {
            (row[0], row[1]): row[2] for row in con.execute("SELECT file_id, name, value FROM human_labels").fetchall()
        }


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def outro(item: str, value: str | None = "60") -> Said:
    return Said(item, "outro_start_s", value)


# --- from the inbox into the table


def test_a_submission_is_one_object_and_counts_once_it_is_folded(lake: Lake) -> None:
    deliver_files(lake, "ep1.mp3", "ep2.mp3")
    name = human.submit(lake, "podcasts", [outro("ep1.mp3"), outro("ep2.mp3", "none")], who="ann")
    assert lake.store.list(human.INBOX) == [name] and not folded(lake) and len(human.everything(lake)) == 2
    assert human.fold(lake, "podcasts") == human.Folded(2, ()) and human.fold(lake, "podcasts") == human.Folded(0, ())
    assert not lake.store.list(human.INBOX) and len(folded(lake)) == len(human.everything(lake)) == 2
    assert counted(lake) == {
        (file_id("ep1.mp3"), "outro_start_s"): "60",
        (file_id("ep2.mp3"), "outro_start_s"): "none",
    }


def test_killed_between_commit_and_removal_nothing_is_there_twice(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    human.submit(lake, "podcasts", [outro("ep1.mp3")], who="ann")
    with monkeypatch.context() as patch:
        patch.setattr(type(lake.store), "delete", lambda self, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            human.fold(lake, "podcasts")
    human.submit(lake, "podcasts", [outro("ep2.mp3")], who="ann")
    assert len(lake.store.list(human.INBOX)) == 2
    assert human.fold(lake, "podcasts").labels == 1
    assert sorted(row["item"] for row in folded(lake)) == ["ep1.mp3", "ep2.mp3"] and not lake.store.list(human.INBOX)


def test_racing_folds_lose_and_double_nothing(settings: Settings, lake: Lake) -> None:
    for number in range(24):
        human.submit(lake, "podcasts", [outro(f"ep{number}.mp3")], who="ann")
    start, failed = threading.Barrier(4), []

    def work(number: int) -> None:
        start.wait()
        try:
            mine = Lake.open(settings)
            human.submit(mine, "podcasts", [outro(f"late{number}.mp3")], who="ben")
            human.fold(mine, "podcasts")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    human.fold(lake, "podcasts")
    rows = folded(lake)
    assert not failed and len(rows) == len({row["label_id"] for row in rows}) == 28
    assert not lake.store.list(human.INBOX)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"ann"', "7"),
        lambda text: text.replace('"start_s": null', '"start_s": NaN'),
        lambda text: text.replace("ep1", "ep\\u0007"),
        lambda text: text.replace('"value"', '"valeu"'),
        lambda text: text.replace("+00:00", ""),
        lambda text: "[" * 100_000 + "\n",
        lambda text: "",
    ],
)
def test_a_damaged_submission_stays_is_named_and_stops_nothing(
    lake: Lake, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad = human.submit(lake, "podcasts", [outro("ep1.mp3")], who="ann")
    broken = damage(lake.store.read(bad).decode())
    lake.store.write(bad, broken.encode())
    lake.store.write(f"{human.INBOX}/notes.txt", b"not ours")
    human.submit(lake, "podcasts", [outro("ep2.mp3")], who="ann")
    done = human.fold(lake, "podcasts")
    assert done.labels == 1 and [row["item"] for row in folded(lake)] == ["ep2.mp3"]
    assert set(done.damaged) == {bad, f"{human.INBOX}/notes.txt"} and bad in caplog.text
    assert lake.store.read(bad).decode() == broken


# --- what counts


def test_files_are_found_by_path_name_and_stem_and_never_guessed(lake: Lake) -> None:
    deliver_files(lake, "a/one.mp3", "a/two.mp3", "b/two.mp3", "tre\u0301s.mp3", "one.txt")
    items = ["a/one.mp3", "podcasts/a/two.mp3", "two.mp3", "two", "tr\u00e9s", "One", "nobody", "one.txt"]
    labels = [outro(item, str(number)) for number, item in enumerate(items)]
    human.submit(lake, "podcasts", labels, who="ann")
    human.fold(lake, "podcasts")
    assert counted(lake) == {
        (file_id("a/one.mp3"), "outro_start_s"): "0",
        (file_id("a/two.mp3"), "outro_start_s"): "1",
        (file_id("tre\u0301s.mp3"), "outro_start_s"): "4",
    }
    assert human.unknown(lake, PODCASTS, items) == (3, 2)


def test_a_path_goes_before_a_name_and_labels_wait_for_their_file(lake: Lake) -> None:
    deliver_files(lake, "b/one.mp3")
    human.submit(lake, "podcasts", [outro("one.mp3", "1"), outro("later", "2")], who="ann")
    human.fold(lake, "podcasts")
    assert counted(lake) == {(file_id("b/one.mp3"), "outro_start_s"): "1"}
    deliver_files(lake, "one.mp3", "later.mp3", drop="2026-09-02")
    assert counted(lake) == {
        (file_id("one.mp3"), "outro_start_s"): "1",
        (file_id("later.mp3"), "outro_start_s"): "2",
    }


def test_the_latest_counts_whoever_said_it_and_however_the_file_was_named(lake: Lake) -> None:
    deliver_files(lake, "ep1.mp3", "ep2.mp3")
    part = Said("ep1.mp3", "content", "music", 0.0, 10.0)
    human.submit(lake, "podcasts", [outro("ep1.mp3", "10"), outro("ep1", "11"), outro("ep2.mp3", "5"), part], who="ann")
    human.fold(lake, "podcasts")
    human.submit(lake, "podcasts", [outro("podcasts/ep1.mp3", "12"), outro("ep2", None)], who="ben")
    human.fold(lake, "podcasts")
    assert counted(lake) == {(file_id("ep1.mp3"), "outro_start_s"): "12", (file_id("ep1.mp3"), "content"): "music"}
    with shown(lake) as con:
        found = con.execute("SELECT who, start_s, end_s FROM human_labels ORDER BY name").fetchall()
    assert found == [("ann", 0.0, 10.0), ("ben", None, None)]


def test_labels_of_what_was_taken_down_are_nowhere(settings: Settings, lake: Lake) -> None:
    deliver_files(lake, "a/x.mp3", "b/x.mp3", "y.mp3")
    human.submit(lake, "podcasts", [outro(i) for i in ("a/x.mp3", "b/x.mp3", "x.mp3", "x", "y", "y.mp3")], who="ann")
    human.fold(lake, "podcasts")
    before = deliver(lake, 1_000).tables["labels.human"]
    takedowns.add(settings, files=["podcasts/a/x.mp3"], reason="asked", who="ann")
    assert counted(lake) == {
        (file_id("b/x.mp3"), "outro_start_s"): "60",
        (file_id("y.mp3"), "outro_start_s"): "60",
    }, "x meant two files; it does not mean the one that is left"
    after = deliver(lake, 1_000).tables["labels.human"]
    assert sorted(after.rows([""]).to_table()["item"].to_pylist()) == ["b/x.mp3", "y", "y.mp3"]
    assert before.slices != after.slices, "the warehouse notices"
    assert {row[1] for row in labelling.exported(settings, history=True)} == {"b/x.mp3", "y", "y.mp3"}


# --- files of labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video_id,class,label\nabc_000001,sfx+music,dog barking\n", ("abc_000001", "sound", "sfx+music")),
        ("file,value\nabc_000001, Music + SFX \n", ("abc_000001", "sound", "sfx+music")),
        ("path,label\na/b.mp4,speech\n", ("a/b.mp4", "sound", "speech")),
        ("item,sound\na.mp4,sfx\n", ("a.mp4", "sound", "sfx")),
        ("file,origin,kind,outro_start_s\ne.mp3,real,outro,59.45\n", ("e.mp3", "outro_start_s", "59.45")),
        ("file,kind,outro_start_s\ne.mp3,none,\n", ("e.mp3", "outro_start_s", "none")),
        ("item,name,value\ne.mp3,intro_end_s,12.50\n", ("e.mp3", "intro_end_s", "12.5")),
        ("item,name,value\ne.mp3,intro_end_s,unknown\n", ("e.mp3", "intro_end_s", None)),
        ('\ufeffitem,value\r\n"a, b.mp4",sfx\r\n\r\n', ("a, b.mp4", "sound", "sfx")),
        ('[{"item": "e.mp3", "outro_start_s": 76.0, "note": null}]', ("e.mp3", "outro_start_s", "76")),
        ('{"item": "e.mp3", "name": "outro_start_s", "value": 3}\n\n', ("e.mp3", "outro_start_s", "3")),
    ],
)
def test_shapes_that_are_understood(tmp_path: Path, text: str, expected: tuple[str, str, str | None]) -> None:
    (label,) = read(written(tmp_path, text)).labels
    assert (label.item, label.name, label.value) == expected


def test_parts_have_a_span_and_choose_what_they_are_about(tmp_path: Path) -> None:
    found = read(written(tmp_path, "item,start_s,end_s,value,batch\ne.mp3,0,10,music,next-1\ne.mp3,10,20,,next-1\n"))
    assert found.pipeline.name == "podcast_outros" and found.empty == 1
    assert found.labels == (Said("e.mp3", "content", "music", 0.0, 10.0, "next-1"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "item,value\na,sfx\nb,sfxx\n",
            r"line 3, column value: 'sfxx' is no sound: did you mean sfx\? It is sfx, music",
        ),
        ("item,outro_start_s\na,1:30\n", "line 2, column outro_start_s: '1:30' is not a number of seconds from 0 to"),
        ("item,outro_start_s\na,-1\n", "not a number of seconds"),
        ("item,outro_start_s\na,nan\n", "not a number of seconds"),
        ("item,outro_start_s\na,1e7\n", "not a number of seconds"),
        ("item,outro_start_s\na,1_000\n", "not a number of seconds"),
        ("item,name,value\na,outro,1\n", "says nothing that is labelled"),
        ("item,name,value\na,outro_start_s,1\na,outro,1\n", "line 3, column name: 'outro' is nothing"),
        ("item,name,value\na,sound,sfx\nb,outro_start_s,4\n", "sound_effects or podcast_outros: give --pipeline"),
        (
            "item,value\na,5\n",
            r"podcast_outros \(outro_start_s\) or podcast_outros \(intro_end_s\): add a column `name`",
        ),
        ("item,start_s,end_s,value\na,9,3,music\n", "line 2, column end_s: the part ends at 3 s, before it has begun"),
        ("item,start_s,end_s,value\na,9,x,music\n", "column end_s: 'x' is not a number"),
        ("item,start_s,end_s,value\na,9,,music\n", "content is said of a part: give start_s and end_s"),
        ("item,start_s,sound\na,3,sfx\n", "sound is said of a whole file"),
        ("item,value\na,sfx\na,music\n", "line 3, column value: 'music', but line 2 says 'sfx'"),
        ("item,value\n,sfx\n", "line 2, column item is empty"),
        ("item,value\na\x00b,sfx\n", "column item: has control characters"),
        ("item,value\na\u202egpm,sfx\n", "column item: has control characters"),
        (f"item,value\n{'a' * 2000},sfx\n", "longer than 1024"),
        ("item,value,source\na,sfx,=cmd()\n", "column source: '=cmd\\(\\)' would be a formula"),
        ("item,value,sound\na,sfx,sfx\n", "columns value and sound: take one of them out"),
        ("item,value\na,sfx,speech\n", "line 2: 3 fields under 2 columns"),
        ("item;value\na;sfx\n", "separated by semicolons"),
        ("item,value,value\na,sfx,sfx\n", "the column value twice"),
        ('item,value\n"a,sfx\n', "line 2: unexpected end of data"),
        ("clip,value\na,sfx\n", "no column item, file, path, video_id.* it has clip, value"),
        ("item,note\na,b\n", "says nothing that is labelled. sound_effects: sound"),
        ("file,outro_start_s,intro_end_s,confidence\na.mp3,60.5,,0.9\n", "this is what a model says"),
        ("item,value\n", "no rows of labels"),
        ("", "no rows of labels"),
        ("item,value,dataset\na,sfx,voxforge\n", "its column dataset has voxforge"),
        (b"item,value\na\xff,sfx\n", "line 2: not UTF-8"),
        ('[{"item": "a", "value": ["sfx"]}]', "entry 1, 'value': not a text"),
        ('[{"item": "a", "outro_start_s": NaN}]', "NaN is no number"),
        ('[{"item": "a", "item": "b", "value": "sfx"}]', "a name twice"),
        ('{"item": "a", "value": "sfx"}\n[1]\n', "line 2: not an object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_cannot_be_believed_is_refused_and_told_of(tmp_path: Path, text: str | bytes, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(RequestError, match=said) as refused:
        read(file)
    assert str(refused.value).startswith(file)


def test_of_many_slips_the_first_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    rows = "".join(f"a{n},sfx\nb{n},loud\n" for n in range(20))
    with pytest.raises(RequestError, match=r"nothing is imported.*line 3.*line 11.*and 15 more"):
        read(written(tmp_path, f"item,value\n{rows}"))


# --- importing and exporting


def test_the_same_file_again_adds_nothing_until_somebody_says_otherwise(settings: Settings, tmp_path: Path) -> None:
    first, other = (written(tmp_path, f"item,sound\na.mp4,{v}\n", f"{v}.csv") for v in ("sfx", "speech"))
    steps = [(first, "ann", 1), (first, "ann", 0), (first, "ben", 1), (first, "ann", 0), (other, "ben", 1)]
    for file, who, added in [*steps, (first, "ann", 1), (first, " ann ", 0)]:
        assert labelling.import_file(settings, file=file, who=who).added == added, (file, who)
        human.fold(Lake.open(settings), "vggsound")
    assert [row[5] for row in labelling.exported(settings, history=True)] == ["sfx", "sfx", "speech", "sfx"]


def test_an_audit_is_answered_though_the_same_was_said_before(settings: Settings, tmp_path: Path) -> None:
    head, row = "item,start_s,end_s,value,source\n", "e.mp3,0,10,music,"
    for source, added in (("next-1", 1), ("audit-r1", 1), ("audit-r1", 0)):
        file = written(tmp_path, f"{head}{row}{source}\n")
        assert labelling.import_file(settings, file=file, who="ann").added == added


def test_taking_back_needs_something_to_take_back(settings: Settings, tmp_path: Path) -> None:
    back = written(tmp_path, "item,sound\na.mp4,unknown\n", "back.csv")
    assert labelling.import_file(settings, file=back, who="ann", pipeline="sound_effects").added == 0
    labelling.import_file(settings, file=written(tmp_path, "item,sound\na.mp4,sfx\n"), who="ann")
    assert labelling.import_file(settings, file=back, who="ben").added == 1
    assert labelling.exported(settings) == []


def test_an_export_says_the_same_where_it_is_imported(settings: Settings, tmp_path: Path) -> None:
    from avlake import output

    text = "item,name,value\n-dash_000001,sound,sfx\n=1+1.mp4,sound,music\n"
    labelling.import_file(settings, file=written(tmp_path, text), who="ann")
    labelling.import_file(settings, file=written(tmp_path, "item,sound\n-dash_000001,speech\n"), who="ben")
    for form in ("csv", "json"):
        for history, least in ((False, 2), (True, 3)):
            rows = labelling.exported(settings, pipeline="sound_effects", history=history)
            assert len(rows) == least and not any(row[1].startswith(("=", "-")) for row in rows)
            file = tmp_path / f"out.{form}"
            with file.open("w") as out:
                output.show(labelling.COLUMNS, rows, form, out)
            elsewhere = Settings(uri=str(tmp_path / f"{form}{history}"), warehouse=settings.warehouse)
            assert labelling.import_file(elsewhere, file=str(file), who="cleo").added == least
            deliver_files(Lake.open(elsewhere), "s.tar.gz/-dash_000001.mp4", "=1+1.mp4", dataset="vggsound")
            said = {row[1]: row[5] for row in labelling.exported(elsewhere)}
            assert said == {"vggsound/-dash_000001": "speech", "vggsound/=1+1.mp4": "music"}
            done = labelling.import_file(elsewhere, file=str(file), who="cleo")
            assert done.added == done.no_file == done.several_files == 0


@pytest.mark.parametrize("who", ["", "  ", "=cmd", "a\nb", "x" * 300, "Machine 7"])
def test_a_label_is_somebodys(settings: Settings, tmp_path: Path, who: str) -> None:
    with pytest.raises(RequestError, match="--by"):
        labelling.import_file(settings, file=written(tmp_path, "item,sound\na,sfx\n"), who=who)


def test_what_is_wrong_or_tried_leaves_nothing(settings: Settings, lake: Lake, tmp_path: Path) -> None:
    file = written(tmp_path, "item,sound\na,sfx\n")
    assert labelling.import_file(settings, file=file, who="ann", dry_run=True).added == 1
    for other, pipeline in ((written(tmp_path, "item,sound\na,sfx\nb,x\n", "b.csv"), None), (file, "voxforge_gender")):
        with pytest.raises(RequestError):
            labelling.import_file(settings, file=other, who="ann", pipeline=pipeline)
    with pytest.raises(RequestError, match="there is no file"):
        labelling.import_file(settings, file=str(tmp_path / "none.csv"), who="ann")
    assert not lake.store.list(human.INBOX)


def test_many_labels_take_seconds(settings: Settings, lake: Lake, tmp_path: Path) -> None:
    rows = "".join(f"{n:011}_000000,sfx\n" for n in range(100_000))
    began = time.perf_counter()
    done = labelling.import_file(settings, file=written(tmp_path, f"video_id,class\n{rows}"), who="ann")
    assert done.added == 100_000 and human.fold(lake, "vggsound").labels == 100_000
    assert time.perf_counter() - began < 60  # a few seconds on an idle machine
    assert lake.log_version(HUMAN_LABELS.name).endswith("/1")


@pytest.mark.skipif(not TRUTH.exists(), reason="no ../shared/data")
@pytest.mark.parametrize(("name", "pipeline"), [("vggsound", "sound_effects"), ("podcasts", "podcast_outros")])
def test_truth_files_are_imported_as_they_are(settings: Settings, name: str, pipeline: str) -> None:
    file = TRUTH / f"{name}.csv"
    done = labelling.import_file(settings, file=str(file), who="ann")
    rows = len(file.read_text().splitlines()) - 1
    assert (done.pipeline, done.added + done.empty) == (pipeline, rows) and done.added > 0.8 * rows


def test_a_submission_says_all_of_itself(lake: Lake) -> None:
    name = human.submit(lake, "podcasts", [Said("e.mp3", "content", "both", 1.0, 2.0, "page")], who="ann")
    line = json.loads(lake.store.read(name))
    human.fold(lake, "podcasts")
    (row,) = folded(lake)
    assert row.pop("when").isoformat() == line.pop("when") and row == line
