"""AVA's annotations: which boxes a video has, however they were written, and what is wrong with them, counted."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.datasets import ava
from avlake.datasets.ava import LABELS, Summary, annotated_boxes, is_label_file, is_media, labels, parse
from avlake.datasets.base import BronzeFile

FILE, VIDEO = "ava_activespeaker_train_v1.0.csv", "videos/-a_B.mp4"
HEADER = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id"
PLAIN = (
    "-a_B,900.00,0.1,0.2,0.3,0.4,NOT_SPEAKING,-a_B_0900:1\n"
    "-a_B,900.04,0.1,0.2,0.3,0.4,SPEAKING_AUDIBLE,-a_B_0900:1\n"
    "-a_B,900.00,0.5,0.2,0.75,0.4,SPEAKING_NOT_AUDIBLE,-a_B_0900:0\n"
)
TEXT = (
    "900.00,0.5,0.2,0.75,0.4,SPEAKING_NOT_AUDIBLE,-a_B_0900:0\n"
    "900.00,0.1,0.2,0.3,0.4,NOT_SPEAKING,-a_B_0900:1\n"
    "900.04,0.1,0.2,0.3,0.4,SPEAKING_AUDIBLE,-a_B_0900:1\n"
)
Csvs = Mapping[str, str | bytes] | str | bytes


def delivered(csvs: Csvs, videos: Iterable[str]) -> tuple[list[BronzeFile], dict[str, bytes]]:
    given = csvs if isinstance(csvs, Mapping) else {FILE: csvs}
    texts = {path: text.encode() if isinstance(text, str) else text for path, text in given.items()}
    return [BronzeFile(path, path, "", path) for path in [*texts, *videos]], texts


def boxes(csvs: Csvs, *videos: str) -> dict[str, str]:
    """By path of a video what an extractor is told."""
    files, texts = delivered(csvs, videos)
    return {one.file_id: one.text for one in annotated_boxes(iter(files), texts.__getitem__)}


def counts(csvs: Csvs, *videos: str) -> dict[str, tuple[int | None, ...]]:
    """By path the values of its labels, in the order of OF_CSV or OF_VIDEO."""
    files, texts = delivered(csvs, videos)
    found: dict[str, dict[str, int | None]] = {}
    for label in labels(iter(files), texts.__getitem__):
        assert found.setdefault(label.file_id, {}).get(label.name) is None
        found[label.file_id][label.name] = None if label.value is None else int(label.value)
    names = {path: ava.OF_CSV if path in texts else ava.OF_VIDEO for path in found}
    return {path: tuple(values[name] for name in names[path]) for path, values in found.items()}


def said(csvs: Csvs, *videos: str) -> str:
    files, texts = delivered(csvs, videos)
    summary = Summary()
    for label in labels(iter(files), texts.__getitem__):
        summary.add(label)
    return summary.words()


def test_csvs_and_videos_are_known_by_their_endings() -> None:
    assert all(map(is_label_file, (FILE, "a/b-activespeaker.CSV", "x.tar.bz2/d/b-activespeaker.csv")))
    assert all(map(is_media, ("a.mp4", "videos/b.mkv", "c.webm", "d/e.AVI")))
    assert not any(map(is_label_file, ("a/._b-activespeaker.csv", "a.csv.gz", "x.tar.bz2", "a.mp4")))
    assert not any(map(is_media, ("a.wav", FILE, "._a.mp4", "a.jpg")))


QUOTED = "".join(",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in PLAIN.splitlines())
MIXED = "label,entity_id,video_id,x1,x2,y1,y2,note,Timestamp\n" + "".join(
    f"{label},{who},{video},{x1},{x2},{y1},{y2},,{at}\n"
    for video, at, x1, y1, x2, y2, label, who in (line.split(",") for line in PLAIN.splitlines())
)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        "\ufeff" + PLAIN,
        "\ufeff" + QUOTED,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        HEADER + "\n" + PLAIN,
        HEADER + "\n" + PLAIN + "\ufeff" + HEADER + "\n" + PLAIN,
        QUOTED,
        QUOTED.replace(",", ", "),
        MIXED,
        "time,frame_timestamp\n" + PLAIN,
        PLAIN + PLAIN,
        PLAIN.replace(",", ", ") + "\n\n,,,\n  \n",
        PLAIN.replace("\n", ",0,-a_B_0900:1:0\n"),
        PLAIN.replace("SPEAKING_AUDIBLE", "Speaking Audible").replace("NOT_SPEAKING", "not-speaking"),
    ],
    ids=[
        *("plain", "cut", "bom", "quoted-bom", "windows", "mac", "header", "concatenated", "quoted", "spaced-quotes"),
        *("mixed", "other-header", "twice", "spaces", "further-columns", "other-labels"),
    ],
)
def test_boxes_are_told_however_they_were_written(text: str) -> None:
    assert boxes(text, VIDEO) == {VIDEO: TEXT}
    assert counts(text, VIDEO)[VIDEO] == (3, 0, 0, 0)
    assert counts(text, VIDEO)[FILE][1:] == (0, 0, 0, 0)


def test_one_csv_or_one_for_each_video_is_the_same_and_a_row_in_two_is_one() -> None:
    other = PLAIN.replace("-a_B", "c.d")
    whole = boxes(PLAIN + other, VIDEO, "x/c.d.mkv")
    assert boxes({"c.d-activespeaker.csv": other, "t/any name.csv": PLAIN}, VIDEO, "x/c.d.mkv") == whole
    assert boxes({"1.csv": other + PLAIN, "2.csv": PLAIN}, "x/c.d.mkv", VIDEO) == whole
    assert whole["x/c.d.mkv"] == TEXT.replace("-a_B", "c.d")
    assert counts({"1.csv": PLAIN, "2.csv": PLAIN}, VIDEO) == {
        VIDEO: (3, 0, 0, 0), "1.csv": (3, 0, 0, 0, 0), "2.csv": (3, 0, 0, 0, 0)
    }  # fmt: skip


def test_numbers_that_are_written_otherwise_are_the_same_row() -> None:
    again = PLAIN.replace("900.00", "900.0").replace("0.1,", "1e-1,")
    assert boxes(PLAIN + again, VIDEO) == boxes(again + PLAIN, VIDEO)
    assert counts(PLAIN + again, VIDEO)[VIDEO] == (3, 0, 0, 0)


def test_videos_of_one_name_have_the_same_boxes() -> None:
    assert boxes(PLAIN, "a/-a_B.mp4", "b/-a_B.webm") == {"a/-a_B.mp4": TEXT, "b/-a_B.webm": TEXT}


def test_what_is_missing_on_either_side_is_counted() -> None:
    csvs = {"1.csv": PLAIN + PLAIN.replace("-a_B", "gone"), "2.csv": PLAIN.replace("-a_B", "gone") + "lost" + PLAIN[4:]}
    videos = (VIDEO, "videos/new.mp4")
    assert boxes(csvs, *videos) == {VIDEO: TEXT}
    found = counts(csvs, *videos)
    assert (found[VIDEO], found["videos/new.mp4"]) == ((3, 0, 0, 0), (0, 0, 0, 0))
    # `gone` is counted where it is named first; of `lost` the first row alone is named so.
    assert (found["1.csv"], found["2.csv"]) == ((6, 0, 0, 1, 3), (6, 0, 0, 1, 1))
    assert said(csvs, *videos) == (
        "annotations: 3 boxes of 1 video; 1 video without annotations; 4 boxes of 2 videos that are not there"
    )


def test_it_is_said_in_one_sentence() -> None:
    assert said(PLAIN, VIDEO) == "annotations: 3 boxes of 1 video"
    assert said({}, "a.mp4", "b.mp4") == "annotations: none; 2 videos without annotations"
    assert said(PLAIN) == "annotations: none; 3 boxes of 1 video that is not there"
    rows = "-a_B,1,0,0,1,1,LAUGHING,x\n-a_B,2,0,0,1,1,NOT_SPEAKING,x\n-a_B,2,0,0,1,1,SPEAKING_AUDIBLE,x\n-a_B,oops\n"
    assert said(rows, VIDEO) == (
        "annotations: 2 boxes of 1 video; 1 unknown label; 1 box that rows contradict each other about; 1 malformed row"
    )


@pytest.mark.parametrize("label", ["", "SPEAKING", "2", "speaking_audible_", "é"])
def test_an_unknown_label_is_empty_and_counted(label: str) -> None:
    row = f"-a_B,1,0,0,1,1,{label},x\n"
    assert boxes(row, VIDEO) == {VIDEO: "1,0,0,1,1,,x\n"}
    assert counts(row, VIDEO)[VIDEO] == (1, 1, 0, 0)
    known = "-a_B,1,0,0,1,1,NOT_SPEAKING,x\n"  # which another row tells
    assert boxes(row + known, VIDEO) == {VIDEO: "1,0,0,1,1,NOT_SPEAKING,x\n"}
    assert counts(row + known, VIDEO)[VIDEO] == (1, 0, 0, 0)


def test_boxes_of_actions_are_of_persons_and_not_taken() -> None:
    """As ava_train_v2.2.csv has them: video_id, middle_frame_timestamp, edges, action_id, person_id."""
    actions = "-a_B,0902,0.077,0.151,0.283,0.811,80,1\n-a_B,0902,0.077,0.151,0.283,0.811,9,1\n"
    csvs = {"ava_train_v2.2.csv": actions, FILE: PLAIN}
    assert boxes(csvs, VIDEO) == {VIDEO: TEXT} and boxes(actions, VIDEO) == {}
    assert counts(csvs, VIDEO)["ava_train_v2.2.csv"] == (2, 0, 2, 0, 0)
    assert said(csvs, VIDEO) == "annotations: 3 boxes of 1 video; 2 rows of actions, not of faces"


def test_nobody_is_known_by_a_video() -> None:
    files, texts = delivered(PLAIN, [VIDEO])
    assert {label.subject_id for label in labels(iter(files), texts.__getitem__)} == {None}


def test_predictions_of_boxes_have_no_label() -> None:
    rows = "video_id,frame_timestamp,entity_id,x1,y1,x2,y2,score\n-a_B,1.5,x,0,0,1,1,0.9\n"
    assert boxes(rows, VIDEO) == {VIDEO: "1.5,0,0,1,1,,x\n"}


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (("1,0,0,1,1,NOT_SPEAKING,x", "1,0,0,1,1,SPEAKING_AUDIBLE,x"), "1,0,0,1,1,,x\n"),
        (("1,0,0,1,1,NOT_SPEAKING,x", "1,0,0,1,0.5,NOT_SPEAKING,x"), "1,0,0,1,0.5,,x\n"),
        (("1.0,0,0,1,0.5,NOT_SPEAKING,x", "1,0,0,1,1,,x"), "1,0,0,1,1,,x\n"),
    ],
)
def test_rows_that_contradict_each_other_say_no_label(rows: tuple[str, str], text: str) -> None:
    lines = [f"-a_B,{row}\n" for row in rows]
    assert boxes("".join(lines), VIDEO) == boxes("".join(reversed(lines)), VIDEO) == {VIDEO: text}
    assert boxes({"2.csv": lines[0], "1.csv": lines[1]}, VIDEO) == {VIDEO: text}
    assert counts("".join(lines), VIDEO)[VIDEO] == (1, 0, 1, 0)


@pytest.mark.parametrize(
    "row",
    [
        *("-a_B", "-a_B,1,0,0,1,1,NOT_SPEAKING", "-a_B,1,0,0,1,1,NOT_SPEAKING,", "-a_B,1,0,0,1,NOT_SPEAKING,x"),
        *(f"-a_B,{at},0,0,1,1,NOT_SPEAKING,x" for at in ("nan", "inf", "1e999", "1_0", "", "0x1", "١", "9" * 50)),
        *("-a_B,1,0,0,NaN,1,NOT_SPEAKING,x", "-a_B,1,0;0,0,1,1,NOT_SPEAKING,x", "-a_B,1,0 0,0,1,1,NOT_SPEAKING,x"),
        *('-a_B,1,0,0,1,1,NOT_SPEAKING,"x', '-a_B,1,0,0,1,1,NOT_SPEAKING,"x"y', "-a_B,1,0,0,1,1,NOT_SPEAKING,x\0y"),
        *(
            f"-a_B,1,0,0,1,1,NOT_SPEAKING,{'x' * 201}",
            "-a_B,1,0,0,1,1,NOT_SPEAKING,x\u2028y",
            '-a_B,1,0,0,1,1,"",x' + "," * 20_000,
        ),
        b"-a_B,1,0,0,1,1,NOT_SPEAKING,x\xff",
    ],
    ids=lambda row: repr(row)[:45],
)
def test_a_row_that_cannot_be_read_is_counted_and_costs_no_other(row: str | bytes) -> None:
    lines = PLAIN.encode().splitlines(keepends=True)
    text = lines[0] + (row if isinstance(row, bytes) else row.encode()) + b"\n" + lines[1] + lines[2]
    assert boxes(text, VIDEO) == {VIDEO: TEXT}
    assert counts(text, VIDEO) == {VIDEO: (3, 0, 0, 1), FILE: (4, 1, 0, 0, 0)}


def test_a_row_of_no_video_is_counted_with_its_csv() -> None:
    assert counts(",1,0,0,1,1,NOT_SPEAKING,x\n" + PLAIN, VIDEO) == {VIDEO: (3, 0, 0, 0), FILE: (4, 1, 0, 0, 0)}
    assert boxes("-a_B,oops\n", VIDEO) == {}  # nothing is known of its faces


def test_a_csv_that_is_too_large_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    csvs = {"large.csv": PLAIN.replace("-a_B", "b") * 2, "small.csv": PLAIN}
    monkeypatch.setattr(ava, "CSV_MAX_BYTES", len(PLAIN))
    assert boxes(csvs, VIDEO, "b.mp4") == {VIDEO: TEXT}
    assert counts(csvs, VIDEO, "b.mp4") == {
        "large.csv": (None,) * 5, "small.csv": (3, 0, 0, 0, 0), VIDEO: (3, 0, 0, 0), "b.mp4": (None,) * 4
    }  # fmt: skip
    assert "1 CSV too large to be read" in said(csvs, VIDEO, "b.mp4")


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8).map(
    lambda name: name.strip("\ufeff") or "x"
)
numbers = st.decimals(-5, 5000, places=3).map(str) | st.floats(-1e6, 1e6).map(repr)
rows = st.tuples(names, numbers, numbers, numbers, numbers, numbers, st.sampled_from([*LABELS, "?", ""]), names)


@given(st.lists(rows, max_size=20), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_is_read_in_any_order(given_rows: list[tuple[str, ...]], end: str, header: bool) -> None:
    """As Python's own CSV writer writes it; of every face and moment one row comes back, the numbers as they were."""
    found = []
    for ordered in (given_rows, given_rows[::-1]):
        file = io.StringIO()
        writer = csv.writer(file, lineterminator=end)
        writer.writerows(([HEADER.split(",")] if header else []) + [list(row) for row in ordered])
        videos = [f"{name}.mp4" for name in {row[0] for row in given_rows} if "/" not in name]
        found.append(boxes(file.getvalue(), *videos))
    assert found[0] == found[1]
    for path, text in found[0].items():
        own = [row[1:] for row in given_rows if f"{row[0]}.mp4" == path]
        told = list(csv.reader(io.StringIO(text)))
        assert [(who, float(at)) for at, *_, who in told] == sorted({(row[6], float(row[0])) for row in own})
        for *box, label, who in told:
            same = [row for row in own if (row[6], float(row[0])) == (who, float(box[0]))]
            assert any(list(row[:5]) == box for row in same)
            known = {row[5] for row in same if row[5] in LABELS}
            agree = len(known) == 1 and len({tuple(map(float, row[1:5])) for row in same}) == 1
            assert label == (known.pop() if agree else "")


@given(rows, st.booleans())
def test_quotes_and_further_columns_change_nothing(row: tuple[str, ...], further: bool) -> None:
    plain, quoted = io.StringIO(), io.StringIO()
    csv.writer(plain).writerow([*row, "1"] if further else row)
    csv.writer(quoted, quoting=csv.QUOTE_ALL).writerow(row)
    assert list(parse(plain.getvalue().encode())) == list(parse(quoted.getvalue().encode()))


@given(st.binary(max_size=200) | st.text(max_size=300, alphabet='ab1.-,"\n\r \0é\ufeff').map(str.encode))
def test_any_bytes_are_read(data: bytes) -> None:
    lines = data.count(b"\n") + data.count(b"\r") + 1
    found = list(parse(data))
    assert len(found) <= lines
    for video_id, line in found:
        if line is not None:
            assert video_id
            at, *box, label, who = next(csv.reader([line]))
            assert math.isfinite(float(at)) and len(box) == 4 and label in ("", *LABELS) and who
