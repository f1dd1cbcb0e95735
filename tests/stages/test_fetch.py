"""AVA's files are fetched from a real server that is honest, slow, broken or hostile."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from avlake.datasets.ava import AVA
from avlake.errors import RequestError, WorkError
from avlake.lake import Lake
from avlake.settings import Settings, load_settings
from avlake.stages.fetch import FetchReport, fetch
from avlake.stages.fetch_files import Traffic, Wishes
from avlake.stages.ingest import ingest
from avlake.tables import BRONZE_FILES
from publisher import Answer, Publisher, Request, archive, publishing, row

DROP = "2026-09-01"
QUICK = 0.001


@pytest.fixture
def site() -> Iterator[Publisher]:
    with publishing() as it:
        yield it


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


def addresses(site: Publisher) -> dict[str, str]:
    return {
        "ava_annotations": f"{site.address}/annotations/ava_{{split}}.tar.bz2",
        "ava_video_list": f"{site.address}/annotations/names.txt",
        "ava_videos": f"{site.address}/trainval/",
    }


def settings_of(site: Publisher, landing: Path, **more: object) -> Settings:
    made = {"uri": str(landing.parent / "lake"), "downloads": landing.parent / "downloads", **addresses(site)}
    return load_settings(**(made | more))


def fetched(site: Publisher, landing: Path, *kinds: str, **more: object) -> FetchReport:
    wishes = {name: more.pop(name) for name in ("split", "limit", "rate_mb_s", "incomplete") if name in more}
    return fetch(
        settings_of(site, landing, **more),
        dataset="ava",
        to=str(landing),
        drop=DROP,
        wishes=Wishes(kinds, backoff_s=QUICK, **wishes),  # type: ignore[arg-type]
    )


def states(report: FetchReport) -> dict[str, str]:
    return {one.path: one.state for one in report.files}


def seen(landing: Path) -> list[str]:
    """What a source lists of the drop."""
    if not landing.exists():
        return []
    source = AVA.open_source(str(landing), load_settings())
    return [entry.path for drop in source.drops() for entry in source.entries(drop)]


def command(site: Publisher, landing: Path, *args: str, **env: str) -> dict[str, object]:
    """What `subprocess` needs to run `avlake fetch` against the site."""
    variables = {f"AVLAKE_{name.upper()}": value for name, value in addresses(site).items()}
    variables |= {"AVLAKE_URI": str(landing.parent / "lake"), "AVLAKE_DOWNLOADS": str(landing.parent / "downloads")}
    return {
        "args": [sys.executable, "-m", "avlake.cli", "fetch", *args, "--to", str(landing), "--drop", DROP],
        "env": {k: v for k, v in os.environ.items() if not k.startswith("AVLAKE_")} | variables | env,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        # Where the tests are a shell's background job, SIGINT is ignored, and so it would be by what they start.
        "preexec_fn": partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    }


def at_first(times: int, answer: Answer, data: bytes) -> Answer:
    return lambda request, before: answer(request, before) if before < times else request.send(data)


def slow(data: bytes, begun: threading.Event) -> Answer:
    """Half of the file, and then nothing for long."""

    def answer(request: Request, _: int) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.send_header("ETag", str(request.publisher.etag(data)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            begun.set()
            time.sleep(20)

    return answer


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.025)
    raise AssertionError("it never came to that")


def parts(landing: Path) -> list[Path]:
    return sorted(path for path in landing.rglob("*.part") if path.stat().st_size)


def test_annotations_and_the_films_they_are_about_become_a_drop(site: Publisher, landing: Path) -> None:
    report = fetched(site, landing)
    names = ["ava_train.tar.bz2", "ava_val.tar.bz2", "videos/aaa.mkv", "videos/bbb.mp4", "videos/ccc.webm"]
    assert list(states(report).items()) == [(name, "fetched") for name in names]
    assert seen(landing) == names and report.ok and report.delivered
    for one in report.files:
        data = (landing / "ava" / DROP / one.path).read_bytes()
        assert (one.bytes, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert data == site.files.get(f"/trainval/{Path(one.path).name}", data)
    made = settings_of(site, landing)
    ingest(made, dataset="ava", source=str(landing), drop=DROP, run_id="r")
    rows = Lake.open(made).rows(BRONZE_FILES, "ava", DROP, ["path"])["path"].to_pylist()
    assert "ava_val.tar.bz2/ava_activespeaker_val_v1.0/ccc-activespeaker.csv" in rows and "videos/ccc.webm" in rows


def test_what_is_there_is_not_fetched_again(site: Publisher, landing: Path) -> None:
    fetched(site, landing)
    before = list(site.asked)
    report = fetched(site, landing)
    assert set(states(report).values()) == {"there"} and report.ok
    assert site.asked[len(before) :] == [("GET", "/annotations/names.txt", None)]
    assert all(one.sha256 and one.checked == "md5 (ETag)" for one in report.files)


def test_a_file_that_another_put_there_stays_and_one_of_ours_that_was_cut_does_not(
    site: Publisher, landing: Path
) -> None:
    own = landing / "ava" / DROP / "videos" / "aaa.mkv"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"my own cut of it")
    assert states(fetched(site, landing))["videos/aaa.mkv"] == "there"
    (cut := own.with_name("bbb.mp4")).write_bytes(b"short")
    assert states(fetched(site, landing))["videos/bbb.mp4"] == "fetched"
    assert own.read_bytes() == b"my own cut of it" and cut.read_bytes() == site.files["/trainval/bbb.mp4"]


def test_videos_join_the_drop_of_the_annotations_and_a_run_finds_it_by_itself(site: Publisher, landing: Path) -> None:
    made = load_settings(**addresses(site), landing=str(landing), downloads=landing.parent / "downloads")
    fetch(made, dataset="ava", drop="2026-05-05", wishes=Wishes(("annotations",)))
    report = fetch(made, dataset="ava", wishes=Wishes(("videos",)))
    assert report.uri.endswith("ava/2026-05-05") and len(report.files) == 3


def test_a_split_and_a_limit(site: Publisher, landing: Path) -> None:
    report = fetched(site, landing, split="val")
    assert list(states(report)) == ["ava_val.tar.bz2", "videos/ccc.webm"]
    with pytest.raises(RequestError, match="no annotations of split train"):
        fetched(site, landing, "videos", split="train")
    assert list(states(fetched(site, landing, limit=1))) == ["ava_train.tar.bz2", "videos/aaa.mkv"]


def test_a_drop_is_seen_only_once_all_of_it_is_there(site: Publisher, landing: Path) -> None:
    fetched(site, landing, "annotations")
    before, begun = seen(landing), threading.Event()
    site.rules["/trainval/ccc.webm"] = slow(site.files["/trainval/ccc.webm"], begun)
    with subprocess.Popen(**command(site, landing, "ava", "videos")) as process:  # type: ignore[call-overload]
        assert begun.wait(20)
        wait_for(lambda: (landing / "ava/.fetch" / DROP / "videos/bbb.mp4").is_file())
        assert seen(landing) == before
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 130 and "run it again to go on" in said and "Traceback" not in said
    assert seen(landing) == before
    del site.rules["/trainval/ccc.webm"]
    fetched(site, landing, "videos")
    assert len(seen(landing)) == 5


def test_a_killed_run_is_taken_up_where_it_was(site: Publisher, landing: Path) -> None:
    data, begun = site.files["/trainval/aaa.mkv"], threading.Event()
    part = landing / "ava/.fetch" / DROP / "videos/aaa.mkv.part"
    site.rules["/trainval/aaa.mkv"] = slow(data, begun)
    with subprocess.Popen(**command(site, landing, "ava")) as process:  # type: ignore[call-overload]
        assert begun.wait(20)
        wait_for(lambda: part.exists() and part.stat().st_size > 10_000)
        process.kill()
    assert seen(landing) == []
    have = part.stat().st_size
    del site.rules["/trainval/aaa.mkv"]
    assert fetched(site, landing).delivered
    assert site.gets("/trainval/aaa.mkv")[-1] == f"bytes={have}-"
    assert (landing / "ava" / DROP / "videos/aaa.mkv").read_bytes() == data
    assert len(site.gets("/annotations/ava_train.tar.bz2")) == 1


def test_a_broken_connection_is_resumed_and_a_server_that_stays_away_leaves_no_drop(
    site: Publisher, landing: Path
) -> None:
    data = site.files["/trainval/bbb.mp4"]
    site.rules["/trainval/bbb.mp4"] = lambda request, _: request.send(data, cut=200_000)
    report = fetched(site, landing)
    assert states(report)["videos/bbb.mp4"] == "failed" and not report.delivered and not report.ok
    assert seen(landing) == []
    del site.rules["/trainval/bbb.mp4"]
    assert fetched(site, landing).delivered
    assert (landing / "ava" / DROP / "videos/bbb.mp4").read_bytes() == data
    assert len(site.gets("/trainval/aaa.mkv")) == 1


def test_what_is_whole_is_delivered_on_request(site: Publisher, landing: Path) -> None:
    site.rules["/trainval/bbb.mp4"] = lambda request, _: request.status(503)
    report = fetched(site, landing, incomplete=True)
    assert report.delivered and not report.ok
    assert "videos/bbb.mp4" not in seen(landing) and len(seen(landing)) == 4


@pytest.mark.parametrize("etag", [lambda _: None, lambda data: f'W/"{len(data)}"'])
def test_a_server_that_cannot_confirm_a_file_sends_it_again(
    site: Publisher, landing: Path, etag: Callable[[bytes], str | None]
) -> None:
    site.etag = etag
    data = site.files["/trainval/aaa.mkv"]
    site.rules["/trainval/aaa.mkv"] = at_first(1, lambda request, _: request.send(data, cut=200_000), data)
    assert fetched(site, landing).delivered
    assert site.gets("/trainval/aaa.mkv") == [None, None]
    assert (landing / "ava" / DROP / "videos/aaa.mkv").read_bytes() == data


def test_two_versions_of_a_file_are_not_stitched_together(site: Publisher, landing: Path) -> None:
    old = site.files["/trainval/aaa.mkv"]
    site.rules["/trainval/aaa.mkv"] = lambda request, _: request.send(old, cut=200_000)
    fetched(site, landing)
    assert parts(landing)
    site.files["/trainval/aaa.mkv"] = new = b"x" * len(old)
    del site.rules["/trainval/aaa.mkv"]
    assert fetched(site, landing).delivered
    assert (landing / "ava" / DROP / "videos/aaa.mkv").read_bytes() == new


@pytest.mark.parametrize("form", ["sha256sum", "md5sum", "bsd", "table", "address"])
def test_checksums_are_compared_whatever_their_form(site: Publisher, landing: Path, form: str, tmp_path: Path) -> None:
    site.etag = lambda data: f'"{len(data)}-2"'  # as S3 has it for what came in parts: no MD5

    def listed(name: str, data: bytes) -> str:
        md5, sha256 = hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()
        lines = {"md5sum": f"{md5} *a/{name}", "bsd": f"MD5 ({name}) = {md5}", "table": f"{name},{md5}"}
        return lines.get(form, f"{sha256}  {name}")

    every = {Path(path).name: data for path, data in site.files.items()}
    lines = ["file_name,md5"] * (form == "table") + [listed(name, data) for name, data in every.items()]
    wrong = [line.replace(line[-4:], "0000") if form in ("bsd", "table") else f"0000{line[4:]}" for line in lines]
    lines = [bad if "bbb.mp4" in line else line for line, bad in zip(lines, wrong, strict=True)]
    text = "\n".join(lines)
    (tmp_path / "sums").write_text(text)
    site.files["/sums"] = text.encode()
    given = f"{site.address}/sums" if form == "address" else str(tmp_path / "sums")
    report = fetched(site, landing, ava_checksums=given)
    bad = next(one for one in report.files if one.path == "videos/bbb.mp4")
    assert bad.state == "mismatch" and "0000" in str(bad.error) and "AVLAKE_AVA_CHECKSUMS" in str(bad.error)
    algorithm = "md5" if form in ("md5sum", "bsd", "table") else "sha256"
    assert {one.checked for one in report.files if one is not bad} == {algorithm}
    assert report.delivered and not report.ok and len(seen(landing)) == 4
    assert not list(landing.rglob("bbb.mp4*"))


def test_an_etag_that_is_an_md5_serves_where_nothing_else_is_known(site: Publisher, landing: Path) -> None:
    data = site.files["/trainval/aaa.mkv"]
    site.rules["/trainval/aaa.mkv"] = lambda request, _: request.send(data[:-1] + b"?", ETag=f'"{"0" * 32}"')
    report = fetched(site, landing)
    assert states(report)["videos/aaa.mkv"] == "mismatch" and "ETag" in str(report.files[2].error)
    assert "videos/aaa.mkv" not in seen(landing)
    site.rules["/trainval/aaa.mkv"] = lambda request, _: request.send(
        data, ETag=f'"{"0" * 32}"', **{"x-amz-server-side-encryption": "aws:kms"}
    )
    report = fetched(site, landing)
    assert states(report)["videos/aaa.mkv"] == "fetched" and report.unchecked == ("AVLAKE_AVA_CHECKSUMS",)


@pytest.mark.parametrize("given", ["/no/such/list", "0123  aaa.mkv", "s3//x"])
def test_a_list_of_checksums_that_is_none_is_named(site: Publisher, landing: Path, given: str) -> None:
    with pytest.raises(RequestError, match="AVLAKE_AVA_CHECKSUMS"):
        fetched(site, landing, ava_checksums=given)


def test_the_rate_is_that_of_all_connections_together(site: Publisher, landing: Path) -> None:
    fetched(site, landing, "annotations")
    began = time.monotonic()
    fetched(site, landing, "videos", rate_mb_s=0.9)
    assert 0.8 < time.monotonic() - began < 4.0  # three times 0.3 MB; two of the three alone take 0.67 s


def test_who_is_asked_to_wait_waits(site: Publisher, landing: Path) -> None:
    data = site.files["/annotations/ava_val.tar.bz2"]
    wait = {"Retry-After": "1"}
    busy = at_first(2, lambda request, _: request.status(503, **wait), data)
    site.rules["/annotations/ava_val.tar.bz2"] = lambda request, before: (
        request.send(data) if request.command == "HEAD" else busy(request, before)
    )
    began = time.monotonic()
    assert fetched(site, landing, "annotations", split="val").delivered
    assert 1.9 <= time.monotonic() - began < 5


def test_who_is_asked_to_wait_for_hours_comes_back_another_time(site: Publisher, landing: Path) -> None:
    site.rules["/trainval/aaa.mkv"] = lambda request, _: request.status(429, **{"Retry-After": "7200"})
    report = fetched(site, landing)
    (late,) = [one for one in report.files if one.state == "failed"]
    assert "come back in 7200 s" in str(late.error) and late.may_come and not report.delivered
    assert len(site.gets("/trainval/aaa.mkv")) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_films_that_are_gone_are_counted_and_no_failure(site: Publisher, landing: Path, status: int) -> None:
    site.rules["/trainval/bbb.mp4"] = lambda request, _: request.status(status)
    report = fetched(site, landing)
    assert report.ok and report.delivered and report.count("missing") == 1
    assert str(status) in str(report.files[3].error) and len(seen(landing)) == 4
    for name in ("aaa.mkv", "ccc.webm"):
        (landing / "ava" / DROP / "videos" / name).unlink()
        site.rules[f"/trainval/{name}"] = lambda request, _: request.status(status)
    assert not fetched(site, landing, "videos").ok


def test_annotations_that_are_gone_are_a_failure(site: Publisher, landing: Path) -> None:
    del site.files["/annotations/ava_val.tar.bz2"]
    report = fetched(site, landing, "annotations")
    assert states(report) == {"ava_train.tar.bz2": "fetched", "ava_val.tar.bz2": "failed"} and not report.ok


def test_a_server_that_is_away_is_not_asked_for_every_file(site: Publisher, landing: Path) -> None:
    ids = [f"v{k:02d}" for k in range(30)]
    site.files["/annotations/ava_train.tar.bz2"] = archive({"a.csv": b"".join(map(row, ids))})
    site.files["/annotations/names.txt"] = " ".join(f"{one}.mp4" for one in ids).encode()
    site.rules |= {f"/trainval/{one}.mp4": lambda request, _: request.status(503) for one in ids}
    report = fetched(site, landing, split="train")
    assert report.count("failed") < 20 and report.count("not_tried") >= 10 and not report.delivered


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://localhost/x", "gopher://x/"])
def test_redirects_to_other_places_are_refused(site: Publisher, landing: Path, location: str) -> None:
    site.rules["/trainval/aaa.mkv"] = lambda request, _: request.status(302, Location=location)
    report = fetched(site, landing)
    assert states(report)["videos/aaa.mkv"] == "failed" and "redirects to" in str(report.files[2].error)
    assert not list(landing.rglob("aaa.mkv*")) and "videos/bbb.mp4" in seen(landing)


@pytest.mark.parametrize("address", ["file:///etc/", "ftp://127.0.0.1/", "/srv/ava/"])
def test_only_the_web_is_fetched_from(site: Publisher, landing: Path, address: str) -> None:
    with pytest.raises(RequestError, match="only http:// and https://"):
        fetched(site, landing, ava_videos=address)


def test_a_file_without_end_ends_at_the_limit(site: Publisher, landing: Path) -> None:
    def endless(request: Request, _: int) -> None:
        request.send_response(200)
        request.end_headers()
        request.close_connection = True
        while request.command == "GET":
            request.wfile.write(bytes(1 << 16))

    site.rules["/trainval/aaa.mkv"] = endless
    report = fetched(site, landing, download_max_mb=1)
    assert states(report)["videos/aaa.mkv"] == "failed" and "AVLAKE_DOWNLOAD_MAX_MB" in str(report.files[2].error)
    assert sum(path.stat().st_size for path in landing.rglob("aaa.mkv.part")) <= 1 << 20


def test_names_that_lead_elsewhere_are_no_files(site: Publisher, landing: Path) -> None:
    ids = b"".join(row(one) for one in ("aaa", "..", "x", ".hidden"))
    site.files["/annotations/ava_train.tar.bz2"] = archive({"a.csv": ids, "._a.csv": b"\x00\x05junk,\n"})
    site.files["/annotations/names.txt"] = b"../../x.mkv\n/etc/x.mkv\n.hidden.mkv\n%2e%2e%2fx.mkv\naaa.mkv\nx.sh\n"
    assert list(states(fetched(site, landing, split="train"))) == ["ava_train.tar.bz2", "videos/aaa.mkv"]


def test_annotations_that_cannot_be_read_are_named(site: Publisher, landing: Path) -> None:
    site.files["/annotations/ava_train.tar.bz2"] = site.files["/annotations/ava_train.tar.bz2"][:-40]
    with pytest.raises(RequestError, match=r"ava_train\.tar\.bz2: these annotations cannot be read"):
        fetched(site, landing)


def test_secrets_of_addresses_are_used_and_never_shown(site: Publisher, landing: Path) -> None:
    site.rules["/trainval/bbb.mp4"] = lambda request, _: request.status(404)
    site.rules["/trainval/ccc.webm"] = lambda request, _: request.send(b"x", ETag=f'"{"0" * 32}"')
    at = site.address.replace("http://", "http://ann:hushhush@")
    env = {"AVLAKE_AVA_ANNOTATIONS": f"{at}/annotations/ava_{{split}}.tar.bz2?sig=hushhush"}
    env["AVLAKE_AVA_VIDEOS"] = f"{at}/trainval/?sig=hushhush"
    done = subprocess.run(**command(site, landing, "ava", **env), timeout=60)  # type: ignore[call-overload]
    assert done.returncode == 1 and "ccc.webm" in done.stderr
    assert any(given and given.startswith("Basic ") for given in site.credentials)
    written = [path.read_bytes() for path in landing.parent.rglob("*") if path.is_file()]
    assert "hushhush" not in done.stdout + done.stderr and not any(b"hushhush" in data for data in written)


def test_a_full_disk_is_said_and_what_was_got_stays(site: Publisher, landing: Path) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    asked = command(site, landing, "ava") | {"preexec_fn": small}
    done = subprocess.run(**asked, timeout=60)  # type: ignore[call-overload]
    assert done.returncode == 1 and "no room left to write" in done.stderr and "Traceback" not in done.stderr
    assert seen(landing) == [] and parts(landing)
    assert fetched(site, landing).delivered


def test_too_little_room_is_said_before_anything_is_fetched(site: Publisher, landing: Path) -> None:
    site.rules["/trainval/aaa.mkv"] = lambda request, _: (
        request.status(200, **{"Content-Length": str(1 << 60)}) if request.command == "HEAD" else None
    )
    with pytest.raises(WorkError, match=r"GB are needed and .* GB are free; make room, move --to"):
        fetched(site, landing, download_max_mb=1 << 45)
    assert not site.gets("/trainval/bbb.mp4") and seen(landing) == []


def test_a_drop_whose_delivery_was_killed_is_hidden_until_it_is_finished(site: Publisher, landing: Path) -> None:
    fetched(site, landing, "annotations")
    mark = landing / "ava/.fetch" / f"{DROP}.delivering"
    mark.write_text("")
    for uri in (landing, landing / "ava", landing / "ava" / DROP):
        assert AVA.open_source(str(uri), load_settings()).drops() == []
    assert fetched(site, landing).delivered and not mark.exists()
    assert len(seen(landing)) == 5


def test_two_runs_do_not_write_one_drop(site: Publisher, landing: Path) -> None:
    begun = threading.Event()
    site.rules["/trainval/aaa.mkv"] = slow(site.files["/trainval/aaa.mkv"], begun)
    with subprocess.Popen(**command(site, landing, "ava")) as process:  # type: ignore[call-overload]
        assert begun.wait(20)
        with pytest.raises(WorkError, match="another `avlake fetch` is at work"):
            fetched(site, landing)
        process.kill()


def test_progress_tells_bytes(site: Publisher, landing: Path) -> None:
    told: list[tuple[int, int | None, int]] = []

    def progress(traffic: Traffic) -> None:
        told.append((traffic.bytes_done, traffic.bytes, traffic.files_done))

    made = settings_of(site, landing)
    fetch(made, dataset="ava", to=str(landing), drop=DROP, progress=progress)
    size = sum(len(site.files[f"/trainval/{name}"]) for name in ("aaa.mkv", "bbb.mp4", "ccc.webm"))
    assert told[-1] == (size, size, 3)


def test_the_command_prints_a_row_for_each_file_and_says_what_was_not_checked(site: Publisher, landing: Path) -> None:
    del site.files["/trainval/bbb.mp4"]
    asked = command(site, landing, "ava", "--format", "json", AVLAKE_AVA_CHECKSUMS="none")
    done = subprocess.run(**asked, timeout=60)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [one["state"] for one in rows] == ["fetched", "fetched", "fetched", "missing", "fetched"]
    data = site.files["/trainval/aaa.mkv"]
    assert (rows[2]["bytes"], rows[2]["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert "1 missing" in done.stderr and "avlake run active_speaker" in done.stderr
    assert "4 have no known checksum: no more than their size was compared" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("voxforge",), "nothing of voxforge can be fetched; what can be: avlake fetch ava annotations"),
        (("nope",), "there is ava, "),
        (("ava", "films"), "there is annotations, videos"),
        (("ava", "--split", "test"), "there is train, val"),
        (("ava", "videos"), "first `avlake fetch ava annotations`"),
        (("ava", "--drop", "yesterday"), "drops are dates"),
    ],
)
def test_a_wrong_request_is_told_what_there_is(
    site: Publisher, landing: Path, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = dict(zip(args[1::2], args[2::2], strict=False)) if len(args) > 2 else {}
    kinds = args[1:] if not asked else ()
    with pytest.raises(RequestError, match=said):
        fetch(
            settings_of(site, landing),
            dataset=args[0],
            to=str(landing),
            drop=asked.get("--drop", DROP),
            wishes=Wishes(kinds, asked.get("--split")),
        )
    assert seen(landing) == []


def test_what_is_logged_of_requests_has_no_secrets(
    site: Publisher, landing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")  # Airflow, where a test before has loaded it, says less
    videos = f"{site.address.replace('//', '//ann:hushhush@')}/trainval/?sig=hushhush"
    assert fetched(site, landing, ava_videos=videos).delivered
    assert "/trainval/aaa.mkv" in caplog.text and "hushhush" not in caplog.text
