"""VoxForge: read speech submitted by volunteers, for free speech recognition.

Origin    http://www.voxforge.org (K. MacLean, since 2006). English at 16 kHz: some 6,200 archives of about ten prompts.
Licence   GPL 3 or later, as the LICENSE in each archive says.
Layout    `<user>-<yyyymmdd>-<xyz>.tgz`, one submission each, holding
              <top>/etc/README             who speaks, with what
              <top>/etc/PROMPTS            `<top>/mfc/<file> WORDS OF THE PROMPT`
              <top>/etc/prompts-original   `<file> Words of the prompt.`
              <top>/wav/<file>.wav  or  <top>/flac/<file>.flac
Drops     the date in the archives' names (HTTP index), or the dated folder that they lie in (landing).

Quirks
- <top> need not be the archive's name, etc/README may be missing, and archives come truncated.
- README is written by a form, by scripts and by hand: `Gender:[female];`, `gender: male.`, `User Name:Aaron`; in the
  speaker's language (`Weiblich`, `Masculino`); UTF-8 or Latin-1. A form left alone says `Please Select`.
- One speaker sends several archives. Anonymous ones share the user name `anonymous`, and may be anyone.
- The sampling rate in README is often that of the recording before it was converted: it is no label.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from avlake.datasets.base import BronzeFile, Dataset, Label, Source
from avlake.datasets.sources import FolderSource, HttpIndexSource
from avlake.media.archives import is_archive
from avlake.settings import Settings

INDEX_URL = "http://www.repository.voxforge1.org/downloads/SpeechCorpus/Trunk/Audio/Main/16kHz_16bit/"
ARCHIVE_NAME = re.compile(r"(?P<user>.+)-(?P<date>\d{8})-[^-]+\.tgz")
LABEL_FILE = re.compile(r"(?P<above>(?:.*/)?)etc/(?P<kind>readme|prompts|prompts-original)(?:\.txt)?", re.IGNORECASE)
NO_TRANSCRIPT = "(NO TRANSCRIPT)"
TEXT_MAX_BYTES = 1 << 20
VALUE_MAX_CHARS = 1000  # a label is repeated for every recording
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")

# The words of the corpus' languages, without accents. Anything else is unknown: a gender is never guessed.
WORDS = {
    "male": "male man m männlich mann masculin homme masculino hombre varón maschio maschile uomo homem masculí home "
    "mannelijk mężczyzna мужской мужчина муж чоловіча чоловік мъж άνδρας άρρεν erkek bay muško muški mashkull זכר مرد",
    "female": "female woman f weiblich frau féminin femme femenino mujer femmina femminile donna feminino mulher "
    "femení dona vrouwelijk vrouw kobieta женский женщина жен жіноча жінка жена γυναίκα θήλυ kadın bayan žensko ženski "
    "femër נקבה زن",
}
KEYS = {
    "user": ("user name", "username", "benutzername", "nom d utilisateur", "nombre de usuario", "nome utente"),
    "gender": ("gender", "sex", "geschlecht", "sexe", "genre", "genero", "sexo", "sesso", "genere", "geslacht", "пол"),
    "age_range": ("age range", "age", "altersgruppe", "tranche d age", "rango de edad", "fascia d eta", "faixa etaria"),
    "language": ("language", "sprache", "langue", "idioma", "lingua", "taal", "язык"),
    "dialect": ("pronunciation dialect", "pronunication dialect", "dialect", "dialekt", "dialecte", "dialecto"),
    "microphone": ("microphone type", "microphone", "mikrofontyp", "mikrofon", "type de microphone"),
}
UNKNOWN = {"", "n a", "na", "none", "unknown", "unspecified", "not specified", "unbekannt", "inconnu", "desconocido"}
UNCHOSEN = ("please select", "please choose", "bitte", "veuillez", "por favor", "favor selec", "selezion", "selecc")
ANONYMOUS = {"anonymous", "anonym", "anonyme", "anonimo", "anoniem", "аноним"}


def open_source(uri: str, settings: Settings) -> Source:
    """The HTTP index where `uri` is http or https, else a landing folder or object-store prefix."""
    if uri.startswith(("http://", "https://")):
        return HttpIndexSource(uri, settings, name=ARCHIVE_NAME)
    return FolderSource(uri, "voxforge", settings)


def is_media(path: str) -> bool:
    """Is this a recording? (macOS lays a `._` file of its own beside each.)"""
    name = path.rpartition("/")[2].lower()
    return name.endswith((".wav", ".flac")) and not name.startswith("._")


def is_label_file(path: str) -> bool:
    return LABEL_FILE.fullmatch(path) is not None


def labels(files: Iterable[BronzeFile], read: Callable[[str], bytes]) -> Iterator[Label]:
    """Six rows for each recording: gender, age_range, language, dialect, microphone, prompt; unknown is None.

    What counts is the nearest README, and the nearest prompts, above the recording and inside the same archive.
    """
    texts: dict[str, dict[str, BronzeFile]] = defaultdict(dict)  # kind → the folder above etc/ → the file
    media = []
    for file in sorted(files, key=lambda file: file.path):
        if match := LABEL_FILE.fullmatch(file.path):
            texts[match["kind"].lower()].setdefault(match["above"], file)
        elif is_media(file.path):
            media.append(file)

    @cache
    def said(readme: BronzeFile) -> dict[str, str]:
        return parse_readme(read(readme.sha256))

    @cache
    def spoken(prompts: BronzeFile) -> dict[str, str]:
        return parse_prompts(read(prompts.sha256))

    for file in media:
        readme = _nearest(texts["readme"], file.path)
        fields = said(readme) if readme else {}
        subject = subject_of(fields.get("user"), _archive_of(file.path))
        source = readme.path if readme else file.path
        for name in ("gender", "age_range", "language", "dialect", "microphone"):
            yield Label(file.file_id, subject, name, fields.get(name), source)
        stem = file.path.rpartition("/")[2].rpartition(".")[0].casefold()
        found = [p for kind in ("prompts-original", "prompts") if (p := _nearest(texts[kind], file.path))]
        own = next((p for p in found if stem in spoken(p)), None)
        yield Label(file.file_id, subject, "prompt", spoken(own)[stem] if own else None, own.path if own else source)


def parse_readme(data: bytes) -> dict[str, str]:
    """What a README says of user, gender (`male` or `female`), age_range, language, dialect, microphone.

    Only what is known: two genders in one README are none.
    """
    fields: dict[str, str] = {}
    genders = set()
    for line in _decode(data).splitlines():
        key, colon, text = line.partition(":")
        name = _KEY_NAMES.get(_plain(key))
        value = text.strip(" \t[];.,")[:VALUE_MAX_CHARS]
        if not colon or name is None or _is_unknown(value):
            continue
        if name == "gender":
            genders.add(_GENDERS.get(_plain(value)))
        else:
            fields.setdefault(name, value)
    gender = genders.pop() if len(genders) == 1 else None
    return fields | ({"gender": gender} if gender else {})


def parse_prompts(data: bytes) -> dict[str, str]:
    """Prompts by file name, in lower case and without folder and ending; what has no transcript is left out."""
    prompts: dict[str, str] = {}
    for line in _decode(data).splitlines():
        name, _, text = line.strip().partition(" ")
        stem = name.rpartition("/")[2].removesuffix(".wav").removesuffix(".flac").casefold()
        prompt = text.strip()[:VALUE_MAX_CHARS]
        if stem and prompt and prompt != NO_TRANSCRIPT:
            prompts.setdefault(stem, prompt)
    return prompts


def subject_of(user: str | None, archive: str) -> str:
    """The speaker: README's user name in lower case, else the archive's prefix; who is anonymous is alone."""
    match = ARCHIVE_NAME.fullmatch(f"{archive}.tgz")
    name = (user or (match["user"] if match else archive)).lower()
    return f"anonymous:{archive}" if _plain(name) in ANONYMOUS else name


def _decode(data: bytes) -> str:
    """UTF-8 with or without its mark, UTF-16 with it, else Latin-1; without control characters."""
    data = data[:TEXT_MAX_BYTES]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return CONTROL.sub("", data.decode("utf-16", errors="replace"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return CONTROL.sub("", text)


def _plain(text: str) -> str:
    """Words to compare by: lower case, no accents, no punctuation, single spaces."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[\W_]+", " ", bare).split())


def _is_unknown(value: str) -> bool:
    return (plain := _plain(value)) in UNKNOWN or plain.startswith(UNCHOSEN)


def _archive_of(path: str) -> str:
    """The submission's name: the archive a recording lies in, without its ending, or its outermost folder."""
    parts = path.split("/")
    archive = next((part for part in parts if is_archive(part)), parts[0])
    return re.sub(r"\.(tgz|tar|tar\.gz|tbz2|tar\.bz2)$", "", archive, flags=re.IGNORECASE)


def _nearest(files: Mapping[str, BronzeFile], path: str) -> BronzeFile | None:
    """The file in the innermost of the folders above `path`, not looking beyond its archive."""
    parts = path.split("/")[:-1]
    while parts:
        if found := files.get("/".join([*parts, ""])):
            return found
        if is_archive(parts.pop()):
            return None
    return files.get("")


_GENDERS = {_plain(word): gender for gender, words in WORDS.items() for word in words.split()}
_KEY_NAMES = {_plain(key): name for name, keys in KEYS.items() for key in keys}

VOXFORGE = Dataset(
    name="voxforge",
    licence="GPL-3.0-or-later",
    open_source=open_source,
    labels=labels,
    label_files=is_label_file,
    is_media=is_media,
)
