"""A clip's sound in English: from the dataset's label, else from what the tagger hears. Rules only, and no model.

VGGSound's labels are of a few shapes, `dog barking`, `playing acoustic guitar`, `vehicle horn, car horn, honking`; tags
of AudioSet have the last one, too. The first of several names is enough; before what can be counted comes an article.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_WORDS, MAX_CHARS = 10, 80  # of one name
MIN_SCORE = 0.3  # below it a tag is too weak to be told as a fact
SAID_TAGS = 2
NOTHING = "Sound"
GENERIC = frozenset({"sound effect", "sound effects", "sound", "sounds", "noise", "unknown", "other", "none", "null"})
# Tags that name a place, a family or no sound: true, and no description.
VAGUE = frozenset(
    """silence|inside, small room|inside, large room or hall|inside, public space|outside, urban or manmade
    |outside, rural or natural|animal|domestic animals, pets|livestock, farm animals, working animals|wild animals
    |canidae, dogs, wolves|vehicle|motor vehicle (road)|field recording|white noise|pink noise|noise|echo|reverberation
    |mains hum|distortion|sidetone|cacophony|hum|environmental noise|static|sound effect|tools""".replace(
        "\n    ", ""
    ).split("|")
)
PLURALS = frozenset({"people", "children", "cattle", "sheep", "men", "women", "mice", "geese"})
UNCOUNTED = frozenset(
    """wind|rain|water|thunder|hail|fire|ice|snow|music|speech|noise|lightning|applause|laughter|traffic|timber|food
    |popcorn|paper|hair|sand|steam|electricity|static|grass|wood|chatter|rock|pop|jazz|percussion""".replace(
        "\n    ", ""
    ).split("|")
)
# What is done, and not who does it: before it an article would be wrong.
ACTIVITIES = frozenset({"lawn", "rope", "golf", "tap", "arc", "scuba", "disc", "beat", "auto", "underwater", "lip"})
# VGGSound's labels that no rule makes English of.
ODD = {
    "sharpen knife": "sharpening a knife",
    "strike lighter": "striking a lighter",
    "shot football": "shooting a football",
    "cattle, bovinae cowbell": "a cowbell",
    "people hiccup": "people hiccuping",
    "people battle cry": "people giving a battle cry",
}
THINGS = frozenset({"singing bowl", "sliding door", "wedding music", "building"})  # that begin like an activity
AN = re.compile(r"(?!eu|uni|use|usu|uk|one\b|once\b)[aeiou]|hour|honest")
GERUND = re.compile(r"\w{2,}ing$")
NO_GERUND = frozenset(
    {"ring", "string", "king", "spring", "wing", "swing", "thing", "ceiling", "lightning", "building"}
)


def describe(label: str | None, tags: Sequence[str] = (), scores: Sequence[float] = ()) -> str:
    """One line about a clip, never empty: `Sound of a dog barking`, `Sounds of rain and thunder`.

    The label counts, where there is one that says something; else the two highest tags of which one may be sure; else
    it is just `Sound`.

    Args:
        label: the dataset's own; any text.
        tags: names of tags, the highest first.
        scores: theirs, in [0, 1].
    """
    name = _clean(label or "")
    if name and name not in GENERIC:
        return f"Sound of {_phrase(name)}"
    heard: list[str] = []
    for tag, score in zip(tags, scores, strict=True):
        phrase = _phrase(_clean(tag)) if score >= MIN_SCORE and tag.lower() not in VAGUE else ""
        said = set(" ".join(heard).split()) - {"a", "an"}
        if phrase and said.isdisjoint(phrase.split()):  # `a bird and a bird vocalization` says one thing twice
            heard.append(phrase)
    if not heard:
        return "Sound effect" if name.startswith("sound effect") else NOTHING
    return f"Sound{'s' if len(heard) > 1 else ''} of {' and '.join(heard[:SAID_TAGS])}"


def _clean(text: str) -> str:
    """Printable, in small letters, without brackets and quotes, of bounded length; empty where no letter is left."""
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 10 * MAX_CHARS])
    shown = re.sub(r"\([^()]*\)|[^\w\s,'&/.-]", " ", shown).replace("_", " ")
    words = shown.lower().replace("/", ", ").split()[:MAX_WORDS]
    cut = " ".join(words)[:MAX_CHARS].strip(" ,.'&-")
    return re.sub(r"\s+,", ",", cut) if any(c.isalpha() for c in cut) else ""


def _phrase(name: str) -> str:
    """What comes after `Sound of`."""
    if name in ODD:
        return ODD[name]
    names = [part for part in (part.strip(" .'&-") for part in name.split(",")) if part and part != "etc"]
    if not names:
        return ""
    first, last = names[0].split(), names[-1].split()
    if len(first) == 1 and len(last) > 1 and _is_gerund(last[-1]):
        first.append(last[-1])  # `donkey, ass braying`
    said = " ".join(first)
    if _is_gerund(first[0]) and said not in THINGS:
        return f"someone {said}" if first[0] == "playing" and len(first) > 1 else said
    at = next((i for i, word in enumerate(first) if i and _is_gerund(word)), len(first))
    noun = first[at - 1]
    if said not in THINGS and at < len(first) and first[0] in ACTIVITIES and at == 1:
        return said
    if (
        _is_many(noun)
        or {noun, first[-1]} & UNCOUNTED
        or _is_many(first[0])
        or first[0] in ("a", "an", "the", "someone")
    ):
        return said
    return f"{'an' if AN.match(said) else 'a'} {said}"


def _is_gerund(word: str) -> bool:
    return bool(GERUND.search(word)) and word not in NO_GERUND


def _is_many(noun: str) -> bool:
    return noun in PLURALS or (noun.endswith("s") and not noun.endswith(("ss", "us", "is")))
