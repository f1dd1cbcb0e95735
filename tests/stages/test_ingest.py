"""Ingest: what a drop leaves in bronze, and that it stays right whatever is repeated, changed, raced or killed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from avlake.datasets.synthetic import write_drop
from avlake.errors import RequestError, StaleRun, UnknownDrop, WorkError
from avlake.lake import Lake
from avlake.settings import Settings, load_settings
from avlake.stages.ingest import IngestReport, archive_failures, ingest
from avlake.tables import BRONZE_CONTENTS, BRONZE_FILES

SHARED = Path(__file__).parents[2].parent / "shared/data"
DROP = "2026-09-01"
Row = dict[str, Any]


class House:
    """A landing with one drop, and a lake beside it."""

    def __init__(self, root: Path) -> None:
        self.root, self.landing = root, root / "landing"
        self.folder = write_drop(self.landing, DROP, speakers=3, utterances=1)

    def settings(self, **values: object) -> Settings:
        defaults = {"uri": str(self.root / "lake"), "downloads": self.root / "downloads"}
        return load_settings(**(defaults | values))

    @property
    def lake(self) -> Lake:
        return Lake.open(self.settings())

    def ingest(self, *, source: str | None = None, max_archives: int | None = None, **values: object) -> IngestReport:
        return self.ingest_with(self.settings(**values), source=source, max_archives=max_archives)

    def ingest_with(self, settings: Settings, *, source: str | None = None, **options: Any) -> IngestReport:
        place = {"dataset": "voxforge", "source": source or str(self.landing), "drop": DROP, "run_id": "test"}
        return ingest(settings, **place, **options)

    def rows(self) -> dict[str, Row]:
        return {row["path"]: row for row in self.lake.rows(BRONZE_FILES, "voxforge", DROP).to_pylist()}

    def stored(self) -> dict[str, bytes]:
        shas = self.lake.rows(BRONZE_CONTENTS, "voxforge", DROP, ["sha256"])["sha256"].to_pylist()
        return dict(self.lake.contents("voxforge", DROP, shas))

    def versions(self) -> tuple[int, int]:
        return self.lake.log_version(BRONZE_FILES.name), self.lake.log_version(BRONZE_CONTENTS.name)

    def check(self) -> None:
        """Every row whose bytes are to be kept has them, and no bytes are without a row."""
        rows, stored = self.rows(), self.stored()
        inline = set()
        for path, row in rows.items():
            if row["uri"]:
                data = Path(row["uri"]).read_bytes()
            elif any(other.startswith(f"{path}/") for other in rows):
                continue
            else:
                inline.add(row["sha256"])
                data = stored[row["sha256"]]
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (row["sha256"], row["size_bytes"]), path
        assert inline == stored.keys()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def pack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_drop_becomes_rows_and_bytes(house: House) -> None:
    (house.folder / "notes").mkdir()
    (house.folder / "notes/info.txt").write_text("hello")
    report = house.ingest()
    rows = house.rows()
    delivered = [path for path in house.folder.rglob("*") if path.is_file()]
    assert report == IngestReport(
        files=len(rows), archives=3, bytes=sum(p.stat().st_size for p in delivered), quarantined=0, changed=True
    )
    archive = "synthetic01-20260901-syn"
    assert [path for path in sorted(rows) if path.startswith(archive)] == [
        f"{archive}.tgz",
        f"{archive}.tgz/{archive}/LICENSE",
        f"{archive}.tgz/{archive}/etc/PROMPTS",
        f"{archive}.tgz/{archive}/etc/README",
        f"{archive}.tgz/{archive}/wav/syn-0000.wav",
    ]
    whole, readme = rows[f"{archive}.tgz"], rows[f"{archive}.tgz/{archive}/etc/README"]
    assert whole["sha256"] == hashlib.sha256((house.folder / f"{archive}.tgz").read_bytes()).hexdigest()
    assert readme["file_id"] == hashlib.sha256(f"voxforge/{readme['path']}".encode()).hexdigest()[:32]
    assert {rows[path]["media_type"] for path in rows} == {"application/x-tar", "text/plain", "audio/x-wav"}
    assert readme["source_uri"] == whole["source_uri"] == str(house.folder / f"{archive}.tgz")
    assert readme["source_version"] == whole["source_version"] and readme["licence"] == "GPL-3.0-or-later"
    assert {row["uri"] for row in rows.values()} == {None}
    house.check()


def test_contents_lie_text_first_and_uncompressed(house: House) -> None:
    house.ingest()
    (path,) = (house.root / "lake/bronze/contents").rglob("*.parquet")
    with pq.ParquetFile(path) as file:
        texts, media = (file.read_row_group(k) for k in range(file.num_row_groups))
        chunk = file.metadata.row_group(1).column(file.schema_arrow.names.index("content"))
    assert all(b"RIFF" not in data.as_py() for data in texts["content"])
    assert all(data.as_py().startswith(b"RIFF") for data in media["content"])
    assert media["sha256"].to_pylist() == sorted(media["sha256"].to_pylist())
    assert (chunk.compression, chunk.has_dictionary_page) == ("UNCOMPRESSED", False)


def test_again_changes_nothing_and_reads_nothing(house: House) -> None:
    first = house.ingest()
    rows, versions = house.rows(), house.versions()
    fragments = set((house.root / "lake" / "bronze").rglob("*.parquet"))
    path = next(house.folder.iterdir())
    before = path.stat()
    path.write_bytes(bytes(before.st_size))  # would be noticed if it were read
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = house.ingest()
    assert again == IngestReport(first.files, first.archives, first.bytes, 0, changed=False)
    assert (house.rows(), house.versions()) == (rows, versions)
    assert set((house.root / "lake" / "bronze").rglob("*.parquet")) == fragments


def test_only_what_changed_gets_new_rows(house: House) -> None:
    house.ingest()
    before = house.rows()
    changed = house.folder / "synthetic02-20260901-syn.tgz"
    pack(changed, {"x/etc/README": b"User Name:b", "x/wav/new.wav": b"RIFF new"})
    pack(house.folder / "synthetic04-20260901-syn.tgz", {"y/wav/more.wav": b"RIFF more"})
    (house.folder / "synthetic03-20260901-syn.tgz").unlink()
    assert house.ingest().changed
    after = house.rows()
    assert {path for path in after if path.startswith("synthetic02")} == {
        changed.name,
        f"{changed.name}/x/etc/README",
        f"{changed.name}/x/wav/new.wav",
    }
    same = {path: row for path, row in before.items() if path.startswith("synthetic01")}
    assert same and {path: row for path, row in after.items() if path.startswith("synthetic01")} == same
    assert any(path.startswith("synthetic04") for path in after)
    assert not any(path.startswith("synthetic03") for path in after)
    house.check()


def test_a_file_delivered_again_with_the_same_bytes_keeps_its_time(house: House) -> None:
    house.ingest()
    before = house.rows()
    for path in house.folder.iterdir():
        os.utime(path)
    house.ingest()
    after = house.rows()
    assert {p: r["ingested_at"] for p, r in after.items()} == {p: r["ingested_at"] for p, r in before.items()}
    assert {r["source_version"] for r in after.values()} != {r["source_version"] for r in before.values()}


def test_equal_bytes_are_kept_once(house: House) -> None:
    for name in ("a.wav", "b.wav"):
        (house.folder / name).write_bytes(b"RIFF same")
    pack(house.folder / "c.tgz", {"c.wav": b"RIFF same"})
    house.ingest()
    assert list(house.stored().values()).count(b"RIFF same") == 1
    house.check()


def test_large_files_become_objects_inside_archives_too(house: House) -> None:
    (house.folder / "big.wav").write_bytes(b"B" * 5000)
    pack(house.folder / "c.tgz", {"c/big.wav": b"C" * 5000, "c/same.wav": b"B" * 5000, "c/small.wav": b"c"})
    house.ingest(inline_max_bytes=4999)
    rows = house.rows()
    sha256 = rows["big.wav"]["sha256"]
    assert rows["big.wav"]["uri"] == rows["c.tgz/c/same.wav"]["uri"]
    assert rows["big.wav"]["uri"] == str(house.root / "lake/objects" / sha256[:2] / sha256)
    assert rows["c.tgz"]["uri"] is None and rows["c.tgz/c/small.wav"]["uri"] is None
    assert Path(rows["c.tgz/c/big.wav"]["uri"]).read_bytes() == b"C" * 5000
    house.check()
    assert not house.ingest(inline_max_bytes=4999).changed


def test_an_archive_that_holds_an_archive_keeps_it_whole(house: House) -> None:
    inner = house.root / "inner.tgz"
    pack(inner, {"x.wav": b"x"})
    pack(house.folder / "outer.tgz", {"inner.tgz": inner.read_bytes()})
    assert house.ingest().archives == 4
    assert inner.read_bytes() in house.stored().values()
    assert [path for path in house.rows() if path.startswith("outer")] == ["outer.tgz", "outer.tgz/inner.tgz"]
    assert not archive_failures(house.lake, "voxforge", DROP, house.settings())
    house.check()


@pytest.mark.parametrize("inline_max_bytes", [1 << 20, 10])
def test_a_broken_archive_is_kept_whole_and_says_why(house: House, inline_max_bytes: int) -> None:
    write_drop(house.landing, DROP, speakers=3, utterances=1, faults=["truncated"])
    pack(house.folder / "zz.tgz", {"../x": b"1"})
    report = house.ingest(inline_max_bytes=inline_max_bytes)
    assert (report.archives, report.quarantined) == (5, 2)
    rows = house.rows()
    failures = archive_failures(house.lake, "voxforge", DROP, house.settings())
    assert {rows[path]["file_id"]: word for path, word in BROKEN.items()} == {
        file_id: error.error_class for file_id, error in failures.items()
    }
    assert [path for path in rows if path.startswith(tuple(BROKEN))] == list(BROKEN)
    house.check()
    assert not house.ingest(inline_max_bytes=inline_max_bytes).changed


BROKEN = {"synthetic04-20260901-syn.tgz": "truncated_archive", "zz.tgz": "unsafe_path"}


def test_an_archive_over_a_limit_is_read_once_the_limit_is_raised(house: House) -> None:
    assert house.ingest(archive_max_members=3).quarantined == 3
    failures = archive_failures(house.lake, "voxforge", DROP, house.settings(archive_max_members=3))
    assert {error.error_class for error in failures.values()} == {"too_many_members"}
    report = house.ingest()
    assert report.changed and report.quarantined == 0 and report.files == 15
    house.check()


def test_only_the_first_archives_are_taken_and_none_is_given_up(house: House) -> None:
    (house.folder / "a.wav").write_bytes(b"x")
    assert house.ingest(max_archives=1).archives == 1
    assert "a.wav" in house.rows()
    assert not house.ingest(max_archives=1).changed
    assert house.ingest().archives == 3
    again = house.ingest(max_archives=1)
    assert (again.archives, again.changed) == (3, False)


def test_a_missing_drop_lists_those_that_exist(house: House) -> None:
    write_drop(house.landing, "2026-09-03", speakers=1, utterances=1)
    with pytest.raises(UnknownDrop, match=r"2026-10-01 of voxforge .*: 2026-09-01, 2026-09-03"):
        ingest(house.settings(), dataset="voxforge", source=str(house.landing), drop="2026-10-01", run_id="r")
    for wrong in ({"drop": "yesterday"}, {"dataset": "nonesuch"}, {"source": str(house.root / "nowhere")}):
        place = {"dataset": "voxforge", "source": str(house.landing), "drop": DROP}
        with pytest.raises(RequestError):
            ingest(house.settings(), run_id="r", **(place | wrong))  # type: ignore[arg-type]


def test_a_drop_emptied_at_its_source_is_empty(house: House) -> None:
    house.ingest()
    for path in house.folder.iterdir():
        path.unlink()
    assert house.ingest() == IngestReport(files=0, archives=0, bytes=0, quarantined=0, changed=True)
    assert (house.rows(), house.stored()) == ({}, {})


def test_progress_counts_to_the_end(house: House) -> None:
    told: list[tuple[int, int]] = []
    house.ingest_with(house.settings(), progress=lambda what, done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_file_that_changes_while_it_is_read_commits_nothing(house: House) -> None:
    path = house.folder / "a.wav"
    path.write_bytes(b"before")

    def meddle(what: str, done: int, total: int) -> None:
        path.write_bytes(b"during")

    with pytest.raises(WorkError, match=r"a\.wav changed while it was read"):
        house.ingest_with(house.settings(), progress=meddle)
    assert house.rows() == {}
    house.ingest()
    house.check()


def test_an_object_is_never_written_under_a_wrong_name(house: House) -> None:
    path = house.folder / "a.wav"
    path.write_bytes(b"before")
    with pytest.raises(WorkError, match="changed while it was read"):
        house.ingest_with(house.settings(inline_max_bytes=0), progress=lambda *_: path.write_bytes(b"during"))
    for stored in (house.root / "lake/objects").rglob("*"):
        assert stored.is_dir() or hashlib.sha256(stored.read_bytes()).hexdigest() == stored.name


def test_of_two_racing_runs_one_stops_and_bronze_is_right(house: House) -> None:
    def race(what: str, done: int, total: int) -> None:
        if done == 1:
            (house.folder / "late.wav").write_bytes(b"late")
            house.ingest()

    with pytest.raises(StaleRun):
        house.ingest_with(house.settings(), progress=race)
    assert "late.wav" in house.rows()
    house.check()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_that_dies_at_any_commit_is_made_good_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    house.ingest()
    (house.folder / "new.wav").write_bytes(b"new")
    (house.folder / "synthetic01-20260901-syn.tgz").unlink()
    calls = iter(range(1, 100))
    commit = Lake.commit_drop

    def dying(self: Lake, *given: Any, **named: Any) -> bool:
        if next(calls) == step:
            raise KeyboardInterrupt
        return commit(self, *given, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "commit_drop", dying)
        house.ingest()
    rows, stored = house.rows(), house.stored()
    kept = [r for p, r in rows.items() if not any(other.startswith(f"{p}/") for other in rows)]
    assert all(row["sha256"] in stored for row in kept)  # no row points at missing bytes
    house.ingest()
    assert "new.wav" in house.rows() and not any(path.startswith("synthetic01") for path in house.rows())
    pack(house.folder / "next.tgz", {"x.wav": b"next"})
    house.ingest()
    house.check()


@pytest.fixture
def index(house: House) -> Iterator[tuple[str, list[str]]]:
    """The drop's folder behind an HTTP index, and a log of what is asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(f"{self.command} {self.path}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(house.folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def test_an_http_index_is_ingested_and_not_downloaded_twice(house: House, index: tuple[str, list[str]]) -> None:
    url, asked = index
    shutil.copy(house.folder / "synthetic01-20260901-syn.tgz", house.folder / "other-20260902-abc.tgz")
    report = house.ingest(source=url)
    assert (report.archives, report.files, report.changed) == (3, 15, True)
    assert {row["source_uri"].rpartition("/")[0] + "/" for row in house.rows().values()} == {url}
    assert sum(a.startswith("GET") and a.endswith(".tgz") for a in asked) == 3
    assert not house.ingest(source=url).changed
    assert sum(a.startswith("GET") and a.endswith(".tgz") for a in asked) == 3
    assert [path for path in (house.root / "downloads").iterdir() if path.is_dir()] == []
    house.check()


def test_the_same_bytes_have_the_same_identity_from_any_source(house: House, index: tuple[str, list[str]]) -> None:
    house.ingest()
    rows = house.rows()
    house.ingest(source=index[0])
    assert {p: (r["file_id"], r["sha256"], r["ingested_at"]) for p, r in house.rows().items()} == {
        p: (r["file_id"], r["sha256"], r["ingested_at"]) for p, r in rows.items()
    }


def test_a_file_that_cannot_be_fetched_is_named_and_the_others_are_not_fetched_again(
    house: House, index: tuple[str, list[str]]
) -> None:
    url, asked = index
    (house.folder / "big-20260901-abc.tgz").write_bytes(bytes(2 << 20))
    with pytest.raises(WorkError, match=r"1 of 4 files could not be taken: big-20260901-abc\.tgz .*larger than"):
        house.ingest(source=url, download_max_mb=1)
    assert house.rows() == {}
    assert house.ingest(source=url).archives == 4
    assert asked.count("GET /synthetic01-20260901-syn.tgz") == 1
    house.check()


@pytest.mark.skipif(not SHARED.exists(), reason="no shared/data beside the checkout")
def test_the_real_drops(tmp_path: Path) -> None:
    settings = load_settings(uri=str(tmp_path / "lake"), downloads=tmp_path / "downloads")
    reports = {}
    for day in range(1, 6):
        drop = f"2026-09-0{day}"
        reports[drop] = ingest(settings, dataset="voxforge", source=str(SHARED / "landing"), drop=drop, run_id="r")
    assert sum(report.archives for report in reports.values()) == 57
    assert {drop: report.quarantined for drop, report in reports.items() if report.quarantined} == {"2026-09-05": 1}
    (failure,) = archive_failures(Lake.open(settings), "voxforge", "2026-09-05", settings).values()
    assert failure.error_class == "truncated_archive"
