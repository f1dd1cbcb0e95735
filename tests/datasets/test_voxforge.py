"""VoxForge's READMEs, prompts and layout: many hands wrote them, none is guessed at."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.datasets.base import BronzeFile, Label
from avlake.datasets.voxforge import VOXFORGE, labels, parse_prompts, parse_readme, subject_of
from avlake.errors import Quarantined
from avlake.media.archives import members
from avlake.media.limits import Limits
from avlake.settings import load_settings

SHARED = Path(__file__).parents[2].parent / "shared/data"
NAMES = ("gender", "age_range", "language", "dialect", "microphone", "prompt")
README = (
    b"User Name:Aaron\n\nGender: Male\nAge Range: Adult\nLanguage: EN\nPronunciation dialect: New Zealand English\n"
)


def labelled(files: dict[str, bytes]) -> dict[str, dict[str, Label]]:
    """Labels by path and name."""
    blobs = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
    bronze = [BronzeFile(path, path, "", hashlib.sha256(data).hexdigest()) for path, data in files.items()]
    found: dict[str, dict[str, Label]] = {}
    for label in labels(bronze, blobs.__getitem__):
        assert label.name not in found.setdefault(label.file_id, {})
        found[label.file_id][label.name] = label
    return found


@pytest.mark.parametrize(
    ("line", "gender"),
    [
        ("Gender: Male", "male"),
        ("Gender:[female];", "female"),
        ("gender: male.", "male"),
        ("Gender:   FEMALE", "female"),
        ("Sex : m", "male"),
        ("Gender: Weiblich", "female"),
        ("Geschlecht: Männlich", "male"),
        ("Gender: Masculino", "male"),
        ("Género: Femenino", "female"),
        ("Genre: Féminin", "female"),
        ("Sesso: Maschio", "male"),
        ("Gender: Femmina", "female"),
        ("Gênero: Feminino", "female"),
        ("Пол: Мужской", "male"),
        ("Gender: женский", "female"),
        ("Geslacht: vrouw", "female"),
        ("Gender: Kadın", "female"),
        ("Gender: Please Select", None),
        ("Gender:", None),
        ("Gender: n/a", None),
        ("Gender: Make", None),
        ("Gender: male or female", None),
        ("Gender: Male/Female", None),
        ("Gender: mal", None),
        ("Gender: 1", None),
        ("Engender: male", None),
        ("Gender male", None),
        ("Gender: Male\nGender: Female", None),
        ("Gender: Please Select\nGender: Female", "female"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_genders_as_people_write_them(line: str, gender: str | None, newline: str) -> None:
    text = f"User Name:x\n\nSpeaker Characteristics:\n\n{line}\nAge Range: Adult\n".replace("\n", newline)
    assert parse_readme(text.encode()).get("gender") == gender


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_encodings(encoding: str) -> None:
    said = parse_readme("User Name:Jürgen\nGender: Männlich\nPronunciation dialect: Düsseldorf\n".encode(encoding))
    assert said == {"user": "Jürgen", "gender": "male", "dialect": "Düsseldorf"}


def test_what_else_a_readme_says_is_kept_as_written() -> None:
    said = parse_readme(
        b"User Name:Aaron\nAge Range:[Adult];\nLanguage: EN\nPronunciation dialect: Other: Scots\n"
        b"Microphone make: n/a\nMicrophone type: Headset mic\nSampling Rate: 48000\n"
    )
    assert said == {
        "user": "Aaron",
        "age_range": "Adult",
        "language": "EN",
        "dialect": "Other: Scots",
        "microphone": "Headset mic",
    }


@given(st.binary(max_size=400))
def test_any_bytes_are_a_readme_of_known_words_or_nothing(data: bytes) -> None:
    said = parse_readme(b"Gender: " + data)
    assert said.get("gender") in {"male", "female", None}
    for value in [*said.values(), *parse_prompts(data).values()]:
        value.encode()
        assert value.strip() == value != ""


spaces = st.sampled_from(["", " ", "\t", "   "])


@given(
    word=st.sampled_from([("male", "male"), ("Weiblich", "female"), ("MÄNNLICH", "male"), ("Please Select", None)]),
    key=st.sampled_from(["Gender", "gender", "GENDER", "Geschlecht"]),
    around=st.sampled_from([("", ""), ("[", "];"), ("", "."), ("", ";"), ("[", "]")]),
    before=spaces,
    after=spaces,
    others=st.lists(
        st.sampled_from(["", "User Name:Bob", "O/S:", "Male", "Age Range: Adult", "File Info:"]), max_size=5
    ),
)
def test_punctuation_space_case_and_other_lines_change_nothing(
    word: tuple[str, str | None], key: str, around: tuple[str, str], before: str, after: str, others: list[str]
) -> None:
    line = f"{before}{key}{after}:{before}{around[0]}{word[0]}{around[1]}{after}"
    assert parse_readme("\n".join([*others, line, *others]).encode()).get("gender") == word[1]


def test_prompts_by_file_in_both_forms() -> None:
    assert parse_prompts(
        b"Aaron-20080318-kdl/mfc/b0019 HIS SLIM HANDS\n*/B0020.wav He said\r\n\nb0021\nb0022 (NO TRANSCRIPT)\n"
    ) == {
        "b0019": "HIS SLIM HANDS",
        "b0020": "He said",
    }


@pytest.mark.parametrize(
    ("user", "archive", "subject"),
    [
        ("Aaron", "Aaron-20080318-kdl", "aaron"),
        ("Aaron", "other-20080318-kdl", "aaron"),
        (None, "Some-One-20080318-kdl", "some-one"),
        (None, "oddname", "oddname"),
        ("Anonymous", "anonymous-20080318-kdl", "anonymous:anonymous-20080318-kdl"),
        (None, "anonymous-20080318-xyz", "anonymous:anonymous-20080318-xyz"),
        ("anónimo", "a-20080318-xyz", "anonymous:a-20080318-xyz"),
    ],
)
def test_who_speaks(user: str | None, archive: str, subject: str) -> None:
    assert subject_of(user, archive) == subject


def test_every_recording_gets_every_label_and_its_own_prompt() -> None:
    top = "Aaron-20080318-kdl.tgz/odd"
    found = labelled(
        {
            f"{top}/etc/README": README,
            f"{top}/etc/PROMPTS": b"x/mfc/a1 HIS SLIM HANDS\nx/mfc/a2 SHOUTED ONLY\n",
            f"{top}/etc/prompts-original": b"a1 His slim hands. \n",
            f"{top}/wav/a1.wav": b"1",
            f"{top}/flac/a2.flac": b"2",
            f"{top}/wav/a3.WAV": b"3",
            f"{top}/wav/._a1.wav": b"apple",
            f"{top}/LICENSE": b"GPL",
        }
    )
    assert set(found) == {f"{top}/wav/a1.wav", f"{top}/flac/a2.flac", f"{top}/wav/a3.WAV"}
    assert all(set(by_name) == set(NAMES) for by_name in found.values())
    one = found[f"{top}/wav/a1.wav"]
    assert {n: one[n].value for n in NAMES} == {
        "gender": "male",
        "age_range": "Adult",
        "language": "EN",
        "dialect": "New Zealand English",
        "microphone": None,
        "prompt": "His slim hands.",
    }
    assert one["gender"].source == f"{top}/etc/README" and one["prompt"].source == f"{top}/etc/prompts-original"
    assert found[f"{top}/flac/a2.flac"]["prompt"].value == "SHOUTED ONLY"
    assert found[f"{top}/wav/a3.WAV"]["prompt"].value is None
    assert {label.subject_id for by_name in found.values() for label in by_name.values()} == {"aaron"}


def test_without_a_readme_the_speaker_is_the_archives_prefix_and_the_rest_unknown() -> None:
    path = "Bob-20080318-kdl.tgz/Bob-20080318-kdl/wav/a.wav"
    found = labelled({path: b"1", "etc/README": README, "Carol-20080318-kdl.tgz/x/etc/README": README})
    assert {label.subject_id for label in found[path].values()} == {"bob"}
    assert {label.value for label in found[path].values()} == {None}


def test_the_nearest_readme_counts() -> None:
    found = labelled(
        {
            "a.tgz/etc/README": b"User Name:outer\n",
            "a.tgz/one/etc/readme.txt": b"User Name:Inner\n",
            "a.tgz/one/wav/x.wav": b"1",
            "a.tgz/two/wav/x.wav": b"2",
            "loose-20080318-abc/etc/README": b"Gender: Female\n",
            "loose-20080318-abc/wav/x.wav": b"3",
        }
    )
    assert {path: by_name["gender"].subject_id for path, by_name in found.items()} == {
        "a.tgz/one/wav/x.wav": "inner",
        "a.tgz/two/wav/x.wav": "outer",
        "loose-20080318-abc/wav/x.wav": "loose",
    }
    assert found["loose-20080318-abc/wav/x.wav"]["gender"].value == "female"


def test_a_label_cannot_be_made_huge() -> None:
    assert len(parse_readme(b"Language: " + b"x" * 100_000)["language"]) <= 1000
    assert len(parse_prompts(b"a " + b"x" * 100_000)["a"]) <= 1000


@pytest.mark.skipif(not SHARED.exists(), reason="no shared/data beside the checkout")
def test_every_label_of_the_real_drops() -> None:
    settings = load_settings()
    with (SHARED / "truth/voxforge.csv").open() as file:
        truth = {row["archive"]: row for row in csv.DictReader(file)}
    source = VOXFORGE.open_source(str(SHARED / "landing"), settings)
    said: dict[str, tuple[set[str | None], set[str | None]]] = {}
    for drop in source.drops():
        for entry in source.entries(drop):
            files = {}
            try:
                for name, _, file in members(Path(entry.uri), Limits.of(settings)):
                    files[f"{entry.path}/{name}"] = file.read()
            except Quarantined:
                continue
            found = [by_name["gender"] for by_name in labelled(files).values()]
            said[entry.path.removesuffix(".tgz")] = {f.value for f in found}, {f.subject_id for f in found}
    assert said.keys() - truth.keys() == {"oddwavs-20260905-odd"}
    assert truth.keys() <= said.keys()
    for archive, row in truth.items():
        speaker = row["speaker"].replace("_", "").removeprefix("voxforge").lower()
        assert said[archive] == ({row["gender"] or None}, {speaker}), archive
