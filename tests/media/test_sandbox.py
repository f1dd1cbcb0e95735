"""The sandbox against real misbehaviour: each costs one file, and the next file is measured."""

from __future__ import annotations

import math
import struct
import time
import wave
from io import BytesIO
from pathlib import Path

import pytest

from avlake.errors import Quarantined, RequestError, WorkError
from avlake.media.sandbox import Sandbox
from avlake.settings import Settings

HOSTILE = Path(__file__).parent / "hostile"


def tone(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        samples = (int(9000 * math.sin(2 * math.pi * 220 * i / rate)) for i in range(int(seconds * rate)))
        file.writeframes(b"".join(struct.pack("<h", s) for s in samples))
    return buffer.getvalue()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox whose child also finds the extractors in tests/media/hostile."""
    monkeypatch.setenv("PYTHONPATH", str(HOSTILE))
    with Sandbox(Settings(file_timeout_s=8, file_memory_mb=700)) as opened:
        yield opened


def test_measures_bytes_and_paths_alike(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(tone(1.5))
    from_bytes = sandbox.measure(tone(1.5), {"media": {}})["media"]
    from_path = sandbox.measure(path, {"media": {}})["media"]
    assert from_bytes.error is None and from_bytes.batch is not None
    assert from_bytes.batch.equals(from_path.batch)
    assert from_bytes.batch.to_pylist()[0]["duration_s"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("content", "error_class"),
    [
        (b"", "empty"),
        (b"not audio at all", "not_media"),
        (tone(0.0), "empty"),
        (tone()[:40], "not_media"),
    ],
)
def test_what_cannot_be_opened_says_why(sandbox: Sandbox, content: bytes, error_class: str) -> None:
    with pytest.raises(Quarantined) as caught:
        sandbox.measure(content, {"media": {}})
    assert caught.value.error_class == error_class
    assert sandbox.measure(tone(), {"media": {}})["media"].error is None


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [("hang", "timeout"), ("segfault", "crashed"), ("exit", "crashed"), ("touch_memory", "out_of_memory")],
)
def test_a_child_that_ends_costs_one_file(sandbox: Sandbox, behaviour: str, error_class: str) -> None:
    began = time.monotonic()
    with pytest.raises(Quarantined) as caught:
        sandbox.measure(tone(), {"hostile": {"behaviour": behaviour}})
    assert caught.value.error_class == error_class
    assert time.monotonic() - began < 15
    assert sandbox.measure(tone(), {"media": {}})["media"].error is None


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [("raise", "measure_error"), ("allocate", "out_of_memory"), ("wrong_columns", "measure_error")],
)
def test_one_extractor_that_fails_spares_the_others(sandbox: Sandbox, behaviour: str, error_class: str) -> None:
    found = sandbox.measure(tone(), {"hostile": {"behaviour": behaviour}, "media": {}})
    assert found["hostile"].error is not None and found["hostile"].error.error_class == error_class
    assert found["media"].error is None


@pytest.mark.parametrize(
    ("behaviour", "error", "says"),
    [
        ("lack_a_setting", RequestError, "model file x is missing: fetch it"),
        ("lack_a_library", WorkError, "y does not load: install it"),
        ("lack_a_module", WorkError, "no_such_module_of_anybody"),
    ],
)
def test_what_the_installation_lacks_is_no_fault_of_the_file(
    sandbox: Sandbox, behaviour: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        sandbox.measure(tone(), {"media": {}, "hostile": {"behaviour": behaviour}})
    assert not isinstance(caught.value, Quarantined)
    assert sandbox.measure(tone(), {"media": {}})["media"].error is None


def test_a_child_that_cannot_start_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('half installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Sandbox(Settings()) as sandbox, pytest.raises(WorkError, match="did not start") as caught:
        sandbox.measure(tone(), {"media": {}})
    assert not isinstance(caught.value, Quarantined)


def test_modules_in_the_users_folder_are_not_the_childs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("random", "html", "json", "avlake"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    with Sandbox(Settings()) as sandbox:
        assert sandbox.measure(tone(), {"media": {}})["media"].error is None


def test_a_longer_recording_has_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HOSTILE))
    dawdling = {"hostile": {"behaviour": "dawdle"}}  # for 2.5 s
    with Sandbox(Settings(file_timeout_s=2)) as sandbox:
        assert sandbox.measure(tone(20.0), dawdling)["hostile"].error is None
        with pytest.raises(Quarantined, match="AVLAKE_FILE_TIMEOUT_S=2"):
            sandbox.measure(tone(0.5), dawdling)


def test_prints_of_libraries_do_not_corrupt_the_reply(sandbox: Sandbox) -> None:
    assert sandbox.measure(tone(), {"hostile": {"behaviour": "print"}})["hostile"].error is None


def test_the_child_sees_no_credentials(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("motherduck_token", "hush")
    found = sandbox.measure(tone(), {"hostile": {"behaviour": "environment"}})["hostile"]
    assert found.batch is not None
    assert "hush" not in found.batch.to_pylist()[0]["note"]


def test_a_playlist_cannot_open_other_files(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(tone())
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
    for content in (playlist, concat):
        with pytest.raises(Quarantined):
            sandbox.measure(content, {"media": {}})
        path = tmp_path / "list.m3u8"
        path.write_bytes(content)
        with pytest.raises(Quarantined):
            sandbox.measure(path, {"media": {}})
