"""VGGSound's index: what it says of each clip, what it lacks, and what it has too much; as bytes that others wrote."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.datasets.base import BronzeFile, Label
from avlake.datasets.vggsound import clip_of, is_label_file, is_media, labels, parse_index, parse_rows

INDEX = "vggsound.csv"
DOG, CAT = "shard.tar.gz/a/b/---g-f_I2yQ_000030.mp4", "_0x_y-z0123_000100.wav"


def labelled(index: str | bytes, paths: Iterable[str], **rows: str) -> dict[str, dict[str, str | None]]:
    """By path, what is said of it, by name; `rows` are those of `<name>.parquet`."""
    texts = {INDEX: index.encode() if isinstance(index, str) else index}
    texts |= {f"{name}.parquet/rows.csv": text.encode() for name, text in rows.items()}
    files = [BronzeFile(path, path, "", path) for path in [*texts, *paths]]
    found: dict[str, dict[str, str | None]] = {}
    for label in labels(iter(files), texts.__getitem__):
        assert found.setdefault(label.file_id, {}).get(label.name) is None
        found[label.file_id][label.name] = label.value
    return found


def clip(sound: str | None, split: str | None) -> dict[str, str | None]:
    return {"sound": sound, "index_split": split}


def counts(without: int, malformed: int) -> dict[str, str | None]:
    return {"rows_without_clip": str(without), "malformed_rows": str(malformed)}


@pytest.mark.parametrize(
    ("path", "clip", "media"),
    [
        (DOG, ("---g-f_I2yQ", 30), True),
        (CAT, ("_0x_y-z0123", 100), True),
        ("a_000001_000002.webm", ("a_000001", 2), True),
        ("a_30.mp4", None, True),  # a recording that is named otherwise is one all the same
        ("my clip_000030.flac", None, True),
        ("a_000030.jpg", ("a", 30), False),
        ("d/._a_000030.mp4", None, False),
        (INDEX, None, False),
        ("x.parquet", None, False),
        ("x.parquet/rows.csv", None, False),
    ],
)
def test_a_name_says_which_clip_it_is(path: str, clip: tuple[str, int] | None, media: bool) -> None:
    assert (clip_of(path), is_media(path)) == (clip, media)


def test_an_index_is_one_wherever_it_lies() -> None:
    assert all(map(is_label_file, (INDEX, "a/VGGSound.csv", "s.tar/vggsound.csv", "x.Parquet/rows.csv")))
    assert not any(map(is_label_file, ("old_vggsound.csv", "rows.csv", "vggsound.csv.bak")))


PLAIN = '---g-f_I2yQ,30,"dog barking, loudly",train\n_0x_y-z0123,100,cat  purring,TEST\n'


@pytest.mark.parametrize(
    "index",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "youtube_id,start_seconds,label,split\n" + PLAIN,
        PLAIN + PLAIN,
        PLAIN.replace(",30,", ", 030.0 ,") + "\n\n,,,\n",
    ],
    ids=["plain", "cut", "bom", "windows", "header", "twice", "spaces"],
)
def test_a_clip_is_labelled_however_the_index_was_written(index: str) -> None:
    assert labelled(index, [DOG, CAT]) == {
        DOG: clip("dog barking, loudly", "train"),
        CAT: clip("cat purring", "test"),
        INDEX: counts(0, 0),
    }


def test_what_is_missing_is_unknown_and_what_is_too_much_is_counted() -> None:
    found = labelled("a,1,dog,train\nb,2,cat,\nc,3,,test\nd,4,cow,train\n", ["b_000002.mp4", "c_000003.mp4", "e.mp4"])
    assert found == {
        "b_000002.mp4": clip("cat", None),
        "c_000003.mp4": clip(None, "test"),
        "e.mp4": clip(None, None),
        INDEX: counts(2, 0),
    }


@pytest.mark.parametrize(
    "row",
    [
        *("a,1", "a", "a,,,", ",1,dog,train", "a b,1,dog,train", "../a,1,dog,train"),
        *("a,one,dog,train", "a,-1,dog,train", "a,1.5,dog,train", "a,1234567,dog,train"),
        *("a,1,dog, barking,train", 'a,1,"dog,train', 'a,1,"dog"s,train'),
    ],
)
def test_a_row_that_cannot_be_read_is_counted_and_costs_no_other(row: str) -> None:
    found = labelled(f"b,2,cat,train\n{row}\nc,3,cow,test\n", ["a_000001.mp4", "b_000002.mp4", "c_000003.mp4"])
    assert found["a_000001.mp4"] == clip(None, None)
    assert (found["b_000002.mp4"], found["c_000003.mp4"]) == (clip("cat", "train"), clip("cow", "test"))
    assert found[INDEX] == counts(0, 1)


def test_rows_that_contradict_each_other_say_nothing() -> None:
    found = labelled("a,1,dog,train\na,1,cat,train\na,1,dog,test\n", ["a_000001.mp4"])
    assert found == {"a_000001.mp4": clip(None, None), INDEX: counts(0, 0)}


def test_an_index_that_is_not_utf8_is_latin1() -> None:
    assert labelled("a,1,Kätzchen,train\n".encode("latin-1"), ["a_000001.mp4"])["a_000001.mp4"]["sound"] == "Kätzchen"


def subjects(paths: Iterable[str]) -> list[str | None]:
    found: list[Label] = list(labels((BronzeFile(path, path, "", path) for path in paths), lambda sha256: b""))
    return [label.subject_id for label in found if label.name == "sound"]


def test_a_clips_subject_is_its_video_and_else_itself() -> None:
    assert subjects([DOG, "folder/my clip.mp4"]) == ["---g-f_I2yQ", "my clip"]


def test_rows_of_a_parquet_file_label_its_members() -> None:
    rows = (
        "member,path,Label,video_id,start\n"
        "a.wav,a.wav,dog,yt1,30\n"  # named by its columns
        "yt2_000040.wav,yt2_000040.wav,cat,,\n"  # named by its path
        "b.wav,b.wav,,yt3,50\n"  # says nothing: the index does, of its name
        ",c.wav,cow,yt4,60\n"  # no bytes here, but the clip lies elsewhere
        ",yt5_000070.wav,pig,,\n"  # nor anywhere
        ",d.wav,hen,,\n"  # about what?
    )
    paths = ["x.parquet/a.wav", "x.parquet/yt2_000040.wav", "x.parquet/b.wav", "yt4_000060.mp4"]
    assert labelled("b,1,sheep,test\n", paths, x=rows) == {
        "x.parquet/a.wav": clip("dog", None) | {"clip": "yt1_000030"},
        "x.parquet/yt2_000040.wav": clip("cat", None),
        "x.parquet/b.wav": clip(None, None) | {"clip": "yt3_000050"},
        "yt4_000060.mp4": clip("cow", None),
        "x.parquet/rows.csv": counts(1, 1),
        INDEX: counts(1, 0),
    }


@pytest.mark.parametrize("header", ["label,class,youtube_id", "CLASS,label,ytid", "class,note,YouTube_ID"])
def test_columns_of_a_parquet_file_have_several_names(header: str) -> None:
    (said,) = parse_rows(f"member,path,{header},start_seconds\nm.wav,,dog,dog,yt1,30.0\n".encode(), "x.parquet")
    assert said is not None and said.key == "x.parquet/m.wav" and said.sound == "dog"


@pytest.mark.parametrize(
    ("video_id", "start", "clip"),
    [
        ("yt_000030", "", ("yt_000030", "yt")),
        ("yt_000030", "30", ("yt_000030", "yt")),
        ("abcd_123456", "30", ("abcd_123456_000030", "abcd_123456")),
        ("abcd_123456", "", ("abcd_123456", "abcd")),
        ("yt", "", (None, None)),
    ],
)
def test_an_id_may_have_its_start_in_it(video_id: str, start: str, clip: tuple[str | None, str | None]) -> None:
    (said,) = parse_rows(f"member,path,video_id,start\n0.wav,,{video_id},{start}\n".encode(), "x.parquet")
    assert said is not None and (said.clip, said.youtube_id) == clip


@given(st.binary(max_size=200) | st.text(max_size=200, alphabet='a1,"\n\r_-\0 é').map(str.encode))
def test_any_bytes_are_read(data: bytes) -> None:
    lines = data.decode("latin-1").count("\n") + data.decode("latin-1").count("\r") + 1
    assert len(list(parse_index(data))) <= lines
    for said in (*parse_index(data), *parse_rows(b"member,path,label\n" + data, "x.parquet")):
        assert said is None or said.key
