"""Hostile and damaged archives: each is condemned whole and for its own reason; honest ones are read to the byte."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avlake.errors import Quarantined
from avlake.media.archives import HEADER_MAX_BYTES, Member, inspect, is_archive, members
from avlake.media.limits import RATIO_FROM_BYTES, Limits

LIMITS = Limits(max_members=100, max_bytes=1 << 30, max_ratio=200.0)
BAD = Path(__file__).parents[2].parent / "shared/data/bad"
FILES = {"a/etc/README": b"Gender: male\n", "a/wav/1.wav": b"RIFF" * 300, "a/wav/empty.wav": b""}


def info(name: str, size: int = 0, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def tar(files: dict[str, bytes] | list[tuple[tarfile.TarInfo, bytes]], **options: object) -> bytes:
    out = io.BytesIO()
    entries = [(info(n, len(d)), d) for n, d in files.items()] if isinstance(files, dict) else files
    with tarfile.open(fileobj=out, mode="w", **options) as file:
        for member, data in entries:
            file.addfile(member, io.BytesIO(data))
    return out.getvalue()


def read(path: Path, data: bytes, limits: Limits = LIMITS) -> list[Member]:
    path.write_bytes(data)
    return inspect(path, limits)


def refused(path: Path, data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(Quarantined) as caught:
        read(path, data, limits)
    return caught.value.error_class


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tgz"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress], ids=["plain", "gzip", "bzip2"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_to_the_byte_in_every_format(path: Path, pack: object, form: int) -> None:
    files = FILES | {f"{'d' * 90}/{'n' * 95}.wav": b"x" * 513}
    files |= {f"é/{'long' * 60}.wav": b"y"} if form != tarfile.USTAR_FORMAT else {}
    found = read(path, pack(tar(files, format=form)))  # type: ignore[operator]
    assert found == [Member(n, len(d), hashlib.sha256(d).hexdigest()) for n, d in files.items()]
    assert [(n, s, f.read()) for n, s, f in members(path, LIMITS)] == [(n, len(d), d) for n, d in files.items()]


def test_contents_that_are_not_read_are_skipped(path: Path) -> None:
    path.write_bytes(tar(FILES))
    assert [name for name, _, _ in members(path, LIMITS)] == list(FILES)


def test_directories_are_no_members_and_dots_are_dropped(path: Path) -> None:
    found = read(path, tar([(info("./d/", type=tarfile.DIRTYPE), b""), (info("./d//./x.wav", 1), b"x")]))
    assert [m.name for m in found] == ["d/x.wav"]


def test_a_name_that_is_not_utf8_is_latin1(path: Path) -> None:
    assert read(path, tar({"Männer.wav": b"x"}, format=tarfile.GNU_FORMAT, encoding="latin-1"))[0].name == "Männer.wav"


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "a\\b", "C:/x", "a\nb", "a/\x1b[2J", "..", "./", ""]
)
def test_a_path_that_could_escape_condemns_the_archive(path: Path, name: str) -> None:
    assert refused(path, tar(FILES | {name: b"x"})) == "unsafe_path"


def test_a_nul_in_a_pax_name_is_unsafe(path: Path) -> None:
    assert refused(path, tar([(info("x", 1, pax_headers={"path": "a\0b"}), b"x")])) == "unsafe_path"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link_member"),
        (tarfile.LNKTYPE, "link_member"),
        (tarfile.CHRTYPE, "device_member"),
        (tarfile.BLKTYPE, "device_member"),
        (tarfile.FIFOTYPE, "device_member"),
        (tarfile.GNUTYPE_SPARSE, "sparse_member"),
        (b"?", "unsupported_member"),
    ],
)
def test_only_plain_files_are_accepted(path: Path, kind: bytes, word: str) -> None:
    assert refused(path, tar([(info("ok", 1), b"x"), (info("odd", type=kind, linkname="ok"), b"")])) == word


def test_a_sparse_file_in_pax_form_is_refused(path: Path) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    assert refused(path, tar([(info("holes", 1, pax_headers=headers), b"x")])) == "sparse_member"


def test_one_name_twice_condemns_the_archive(path: Path) -> None:
    assert refused(path, tar([(info("a", 1), b"x"), (info("./a", 1), b"y")])) == "duplicate_member"


def test_an_archive_without_files_is_empty(path: Path) -> None:
    assert refused(path, tar({})) == "empty_archive"
    assert refused(path, tar([(info("d", type=tarfile.DIRTYPE), b"")])) == "empty_archive"


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"<html>" * 200, gzip.compress(b"just text" * 99, mtime=0), gzip.compress(b"", mtime=0)]
)
def test_what_is_no_tar_is_said_to_be_none(path: Path, data: bytes) -> None:
    assert refused(path, data) == "not_an_archive"


def test_count_is_limited_directories_and_headers_included(path: Path) -> None:
    many = [(info(f"d{k}", type=tarfile.DIRTYPE), b"") for k in range(100)]
    assert refused(path, tar([*many, (info("x", 1), b"x")])) == "too_many_members"


def test_a_size_over_the_limit_is_refused_before_it_is_read(path: Path) -> None:
    header = info("huge", 1 << 40).tobuf()
    assert refused(path, header) == "suspicious_ratio"
    assert refused(path, header, Limits(10, 1000, 1e30)) == "archive_too_large"
    assert refused(path, info("odd", -5).tobuf(tarfile.GNU_FORMAT)) == "malformed_archive"


def test_a_bomb_is_refused_by_its_ratio(path: Path) -> None:
    bomb = gzip.compress(tar({f"zeros{k}": bytes(1 << 20) for k in range(RATIO_FROM_BYTES // (1 << 20) + 1)}))
    assert refused(path, bomb) == "suspicious_ratio"
    assert read(path, bomb, Limits(100, 1 << 30, 2000.0))


def test_extended_headers_are_bounded(path: Path) -> None:
    long = tar([(info("x" * HEADER_MAX_BYTES, 1), b"x")], format=tarfile.GNU_FORMAT)
    assert refused(path, long) == "oversized_header"
    declared = info("bomb", 1 << 32, type=tarfile.XHDTYPE).tobuf()
    assert refused(path, declared, Limits(10, 1 << 40, 1e30)) == "oversized_header"


@pytest.mark.parametrize(
    "record", [b"99 path=x\n", b"0 path=x\n", b"path=x\n", b"9 path=xx", b"9" * 60000, b"12 size=1e9\n\n"]
)
def test_an_extended_header_that_lies_about_itself_is_malformed(path: Path, record: bytes) -> None:
    data = tar([(info("h", len(record), type=tarfile.XHDTYPE), record), (info("x", 1), b"x")])
    assert refused(path, data) == "malformed_archive"


def test_a_global_header_may_comment_but_not_name(path: Path) -> None:
    assert read(path, tar(FILES, pax_headers={"comment": "made by git archive"}))
    assert refused(path, tar(FILES, pax_headers={"path": "all"})) == "malformed_archive"


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(path: Path) -> None:
    data = bytearray(tar(FILES))
    data[1024 + 150] ^= 1  # the second header's checksum
    assert refused(path, bytes(data)) == "malformed_archive"


def test_a_wrong_crc_condemns_the_archive_although_every_member_was_readable(path: Path) -> None:
    data = bytearray(gzip.compress(tar(FILES)))
    data[-6] ^= 1
    assert refused(path, bytes(data)) == "malformed_archive"


def test_data_after_the_end_is_refused_and_padding_is_not(path: Path) -> None:
    assert refused(path, tar(FILES) + tar({"hidden": b"x"})) == "malformed_archive"
    assert len(read(path, tar(FILES) + bytes(5000))) == len(FILES)


def test_truncation_anywhere_yields_nothing(path: Path) -> None:
    whole = gzip.compress(tar({"a/README": b"text" * 50, "a/x.wav": bytes(range(256)) * 8}))
    assert len(read(path, whole)) == 2
    for cut in range(len(whole)):
        assert refused(path, whole[:cut]) in {"truncated_archive", "not_an_archive"}, cut


def test_truncation_of_a_plain_tar_anywhere_before_its_end_mark_yields_nothing(path: Path) -> None:
    whole = tar({"a": b"x" * 700, "b": b"y"})
    for cut in range(0, 4 * 512 + 1024, 64):
        assert refused(path, whole[:cut]) in {"truncated_archive", "not_an_archive"}, cut


relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\:/"), min_size=1, max_size=120
)


@relaxed
@given(files=st.dictionaries(names.filter(lambda n: n.strip(".")), st.binary(max_size=1500), min_size=1, max_size=5))
def test_whatever_tarfile_packs_is_read_back(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar(files))
    assert {name: file.read() for name, _, file in members(path, LIMITS)} == files


@relaxed
@given(st.data())
def test_a_damaged_archive_is_read_or_quarantined_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(tar(FILES | {"p" * 200: b"long"}))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=8)):
        raw[at] = data.draw(st.integers(0, 255))
    try:
        found = read(tmp_path / "x.tar", bytes(raw))
    except Quarantined:
        return
    assert all(m.name and ".." not in m.name.split("/") and not m.name.startswith("/") for m in found)


def test_which_names_are_archives() -> None:
    assert all(map(is_archive, ("a.tgz", "A.TGZ", "a.tar.gz", "a.tar", "a.tar.bz2")))
    assert not any(map(is_archive, ("a.wav", "tgz", "a.tgz.part", "a.gz")))


@pytest.mark.skipif(not BAD.exists(), reason="no shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("derived_truncated_voxforge.tgz", "truncated_archive"),
        ("nodetar_bad-cksum.tar", "malformed_archive"),
        ("nodetar_links-invalid.tar", "link_member"),
        ("nodetar_path-missing.tar", "unsafe_path"),
        ("tarrs_empty_filename.tar", "truncated_archive"),
        ("lfs_pointer.mp3", "not_an_archive"),
        ("mm_corrupt.mkv", "not_an_archive"),
        ("nodetar_null-byte.tar", None),
        ("nodetar_sync-gzip-fail.tgz", None),
        ("tarrs_biguid_gnu.tar", None),
        ("tarrs_simple_missing_last_header.tar", None),  # one block of zeros ends it; tar reads it, too
    ],
)
def test_fixtures_of_other_readers(name: str, word: str | None) -> None:
    if word is None:
        assert inspect(BAD / name, LIMITS)
        return
    with pytest.raises(Quarantined) as caught:
        inspect(BAD / name, LIMITS)
    assert caught.value.error_class == word
