"""Recordings in the rows of a Parquet file: read to the byte, in bounded memory, and condemned whole when bad."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avlake.errors import Quarantined
from avlake.media.archives import ARCHIVE_OF, Member, inspect, is_parquet, members
from avlake.media.limits import Limits
from avlake.settings import MIB

LIMITS = Limits(max_members=100, max_bytes=1 << 30, max_ratio=200.0)
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WAV = b"RIFF\0\0\0\0WAVE"
Recording = tuple[bytes | None, str | None] | None


def parquet(path: Path, recordings: list[Recording], *, name: str = "audio", **columns: Any) -> Path:
    """A file of recordings; `columns` are the others."""
    rows = [None if one is None else {"bytes": one[0], "path": one[1]} for one in recordings]
    pq.write_table(pa.table({name: pa.array(rows, AUDIO), **columns}), path, row_group_size=2)
    return path


def refused(path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(Quarantined) as caught:
        inspect(path, limits)
    return caught.value.error_class


def read(path: Path) -> dict[str, bytes]:
    found = {}
    for name, size, file in members(path, LIMITS):
        found[name] = file.read()
        assert len(found[name]) == size
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.parquet"


def test_rows_are_members_and_the_other_columns_are_the_last_one(path: Path) -> None:
    recordings: list[Recording] = [(WAV, "x/a.wav"), (b"", "./b.mp3"), (None, "c.wav"), None, (b"ID3", None)]
    found = read(parquet(path, recordings, label=["dog", "cat, or so", None, "é\n", "cow"], start=[1, 2, 3, None, 5]))
    rows = list(csv.reader(found.pop("rows.csv").decode().splitlines(keepends=True)))
    assert found == {"x/a.wav": WAV, "b.mp3": b"", "000004.mp3": b"ID3"}
    assert rows == [
        ["member", "path", "label", "start"],
        ["x/a.wav", "x/a.wav", "dog", "1"],
        ["b.mp3", "./b.mp3", "cat, or so", "2"],
        ["", "c.wav", "", "3"],
        ["", "", "é\n", ""],
        ["000004.mp3", "", "cow", "5"],
    ]


def test_members_are_hashed_in_stored_order_and_need_not_be_read(path: Path) -> None:
    parquet(path, [(b"z", "z.wav"), (b"a", "a.wav")])
    text = b"member,path\nz.wav,z.wav\na.wav,a.wav\n"
    expected = {"z.wav": b"z", "a.wav": b"a", "rows.csv": text}
    assert inspect(path, LIMITS) == [Member(n, len(d), hashlib.sha256(d).hexdigest()) for n, d in expected.items()]
    assert [name for name, _, _ in members(path, LIMITS)] == list(expected)


def test_a_downloaded_file_is_told_by_the_name_it_was_delivered_under(path: Path) -> None:
    moved = parquet(path, [(b"a", "a.wav")]).rename(path.with_name("3f2a"))
    assert [member.name for member in inspect(moved, LIMITS, name="data/A.PARQUET")] == ["a.wav", "rows.csv"]
    assert is_parquet("A.PARQUET") and not is_parquet("parquet")
    assert "parquet" in ARCHIVE_OF  # so that a takedown of all its recordings takes the file itself


@pytest.mark.parametrize(
    ("content", "given", "name"),
    [
        (WAV, None, "000000.wav"),
        (b"fLaC", "", "000000.flac"),
        (b"OggS", "clip", "clip.ogg"),
        (b"\0\0\0\x20ftypisom", "clip.bin", "clip.bin.mp4"),
        (b"\xff\xfb\x90", None, "000000.mp3"),
        (WAV, "clip.flac", "clip.flac"),
        (b"what", None, "000000"),
    ],
)
def test_a_name_without_an_ending_gets_that_of_its_bytes(path: Path, content: bytes, given: str, name: str) -> None:
    assert name in read(parquet(path, [(content, given)]))


def test_a_file_without_recordings_is_no_archive(path: Path) -> None:
    pq.write_table(pa.table({"bytes": [b"a"], "path": ["a.wav"], "at": [{"lat": 1.0}]}), path)
    assert inspect(path, LIMITS) == []


def test_pictures_are_no_recordings_and_classes_have_names(path: Path) -> None:
    features = {"face": {"_type": "Image"}, "class": {"_type": "ClassLabel", "names": ["dog", "cat"]}, "odd": None}
    rows = [{"bytes": b"a", "path": "a.png"}, {"bytes": b"b", "path": "b.png"}]
    table = pa.table({"face": pa.array(rows, AUDIO), "class": [1, -1], "tags": [["x"], None]})
    said = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(said), path)
    assert inspect(path, LIMITS) == []
    pq.write_table(table.append_column("sound", table["face"]).replace_schema_metadata(said), path)
    text = b'member,path,class,tags\na.png,a.png,cat,"[""x""]"\nb.png,b.png,,\n'
    assert read(path) == {"a.png": b"a", "b.png": b"b", "rows.csv": text}


@pytest.mark.parametrize("said", [b"{", b"[]", b'{"info": 1}', b'{"info": {"features": {"label": {"_type": []}}}}'])
def test_metadata_that_makes_no_sense_says_nothing(path: Path, said: bytes) -> None:
    table = pa.table({"audio": pa.array([{"bytes": b"a", "path": "a.wav"}], AUDIO), "label": [0]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": said}), path)
    assert read(path)["rows.csv"] == b"member,path,label\na.wav,a.wav,0\n"


@pytest.mark.parametrize("given", ["../a.wav", "/etc/passwd", "a/../../b.wav", "a\\b.wav", "C:/a.wav", "a\0.wav", ".."])
def test_a_path_that_could_escape_condemns_the_file(path: Path, given: str) -> None:
    assert refused(parquet(path, [(b"a", "a.wav"), (b"b", given)])) == "unsafe_path"


@pytest.mark.parametrize("names", [("a.wav", "./a.wav"), ("rows.csv", "b.wav"), ("000001", None)])
def test_one_name_twice_condemns_the_file(path: Path, names: tuple[str, str]) -> None:
    assert refused(parquet(path, [(b"a", names[0]), (b"b", names[1])])) == "duplicate_member"


def test_two_columns_of_one_name_condemn_the_file(path: Path) -> None:
    rows = pa.array([{"bytes": b"a", "path": "a.wav"}], AUDIO)
    pq.write_table(pa.Table.from_arrays([rows, rows], names=["audio", "audio"]), path)
    assert refused(path) == "malformed_archive"


def test_a_file_without_rows_is_empty(path: Path) -> None:
    assert refused(parquet(path, [])) == "empty_archive"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"nothing of the kind", b"ID3" + bytes(100)])
def test_what_is_no_parquet_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refused(path) == ("truncated_archive" if content == b"PAR1" else "not_an_archive")


def test_a_file_that_was_cut_short_is_condemned_wherever_it_ends(path: Path) -> None:
    whole = parquet(path, [(bytes(range(256)), f"{i}.wav") for i in range(4)]).read_bytes()
    for end in range(4, len(whole), 97):
        path.write_bytes(whole[:end])
        assert refused(path) == "truncated_archive"


def test_limits_hold_whatever_the_file_says_of_itself(path: Path) -> None:
    parquet(path, [(np.random.default_rng(i).bytes(20_000), f"{i}.wav") for i in range(5)])
    assert refused(path, Limits(4, 1 << 30, 200.0)) == "too_many_members"
    assert refused(path, Limits(100, 99_000, 200.0)) == "archive_too_large"
    assert len(inspect(path, Limits(5, 110_000, 200.0))) == 6


def test_a_dictionary_that_unpacks_to_very_much_is_suspicious(path: Path) -> None:
    rows = [{"bytes": bytes(MIB), "path": f"{i}.wav"} for i in range(40)]
    pq.write_table(pa.table({"audio": pa.array(rows, AUDIO)}), path)
    assert path.stat().st_size < 40 * MIB / LIMITS.max_ratio
    assert refused(path) == "suspicious_ratio"


def test_memory_holds_a_few_recordings_however_many_there_are(path: Path) -> None:
    make = np.random.default_rng(0)
    rows = [{"bytes": make.bytes(MIB), "path": f"{i}.wav"} for i in range(48)]
    with pq.ParquetWriter(path, pa.schema([("audio", AUDIO)])) as writer:
        for row in rows:
            writer.write_table(pa.table({"audio": pa.array([row], AUDIO)}))
    before, most = pa.total_allocated_bytes(), 0
    for _ in members(path, LIMITS):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 8 * MIB


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_ends_in_quarantine_or_in_members(path: Path, data: st.DataObject) -> None:
    if not path.with_suffix(".whole").exists():
        parquet(path.with_suffix(".whole"), [(WAV * 9, "a.wav"), (None, "b"), (b"fLaC", None)], label=["x", None, "y"])
    damaged = bytearray(path.with_suffix(".whole").read_bytes())
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(4, len(damaged) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    ):
        damaged[at] = value
    path.write_bytes(damaged)
    try:
        found = read(path)
    except Quarantined as error:
        assert error.error_class.endswith(("_archive", "_member", "_members", "_path", "_ratio", "_large"))
    else:
        assert all(name and not name.startswith("/") and ".." not in name.split("/") for name in found)
