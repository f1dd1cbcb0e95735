"""What a training of `active_speaker` came to, in words: the verdict and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avlake.learn.card import interval
from avlake.learn.metrics import Score

AP = "average_precision"
NETWORK = "network"
UNSEEN, CV, TEST = "cv_unseen_talkers", "cv", "test"
SPLITS = {
    UNSEEN: "scenes none of whose talkers it had seen",
    TEST: "test videos",
    CV: "videos it had not seen, whose talkers it may have",
}
BASELINES = ("always_speaking", "loudness", "motion_x_energy")
COMPARED = {
    "network_without_augmentation": "Augmentation (faces mirrored and shifted, sounds exchanged between scenes)",
    "network_with_pretraining": "Pre-training",
    "network_without_pretraining": "Pre-training",
}
FEW_HEADS = "Pre-training was asked for and not done: the lake has {n} scenes of talking heads to learn from, and it \
takes {least}; measure some with `avlake run talking_heads --set face_tracks.measure=true`."


def words(table: Sequence[Score], description: Mapping[str, Any]) -> list[str]:
    """What to conclude, the most important first."""
    at = {(score.split, score.model): score for score in table if score.metric == AP}
    found = []
    for split, where in SPLITS.items():
        if (score := at.get((split, NETWORK))) is not None:
            found.append(f"On {where}, average precision is {interval(score)} ({score.n} faces).")
            found += _beside(at, split)
    if (CV, NETWORK) in at and (UNSEEN, NETWORK) not in at:
        found.append(
            "Nobody has said who the tracks show, so videos on both sides of a fold may share their talkers, which "
            "flatters: label them with `avlake labels import`, a `talker` for each entity_id."
        )
    if (CV, NETWORK) in at and (UNSEEN, NETWORK) in at:
        counts = description["counts"]
        found.append(
            "The figure on talkers not seen before is the one to expect of other people in recordings like these: "
            f"{counts['talkers']} talkers in {counts['scenes']} scenes. Intervals take each scene for itself, so that "
            "where few people, or few recordings, are in many scenes they are too narrow."
        )
    heads = description["pretraining"]
    if description["options"].get("pretrain") and not heads["used"]:
        found.append(FEW_HEADS.format(n=heads["scenes"], least=heads["least"]))
    elif heads["used"] and (UNSEEN, NETWORK) in at:
        found.append(
            "Nobody has said who the talking heads are, so that no network judged on talkers not seen before was "
            "pre-trained."
        )
    return found


def _beside(at: Mapping[tuple[str, str], Score], split: str) -> list[str]:
    """The network against the best baseline and against what it was compared with."""
    found = []
    if known := [at[split, name] for name in BASELINES if (split, name) in at]:
        best = max(known, key=lambda score: score.value)
        minus = at.get((split, f"{NETWORK}_minus_{best.model}"))
        if minus is not None:
            more = "more" if minus.value >= 0 else "less"
            sure = "" if _excludes_0(minus) else ", which may be chance"
            found.append(f"That is {_size(minus)} {more} than {best.model} ({best.value:.3f}){sure}.")
    for model, what in COMPARED.items():
        minus = at.get((split, f"{NETWORK}_minus_{model}"))
        if minus is None:
            continue
        gain = -minus.value if model == "network_with_pretraining" else minus.value
        verb = "adds" if gain >= 0 else "takes"
        sure = "" if _excludes_0(minus) else ": no difference that is beyond chance"
        found.append(f"{what} {verb} {_size(minus)} there{sure}.")
    return found


def _size(minus: Score) -> str:
    if minus.ci_low is None or minus.ci_high is None:
        return f"{abs(minus.value):.3f}"
    low, high = sorted((abs(minus.ci_low), abs(minus.ci_high)))
    if not _excludes_0(minus):
        return f"{abs(minus.value):.3f} [{minus.ci_low:.3f}, {minus.ci_high:.3f}]"
    return f"{abs(minus.value):.3f} [{low:.3f}, {high:.3f}]"


def _excludes_0(minus: Score) -> bool:
    return minus.ci_low is not None and minus.ci_high is not None and minus.ci_low * minus.ci_high > 0


def speaker_card(description: Mapping[str, Any], table: Sequence[Score], said: Sequence[str]) -> str:
    """Markdown, every figure from `description` (features.json) and `table` (metrics.json)."""
    counts, recipe = description["counts"], description["recipe"]
    at = {(score.split, score.model): score for score in table if score.metric == AP}
    splits = [split for split in SPLITS if any(split == one for one, _ in at)]
    lines = [
        "# Model card: which face on screen is the voice that is heard",
        "",
        *(f"- {sentence}" for sentence in said),
        f"- Learned from {counts['audible_faces']} faces that speak and are heard and {counts['other_faces']} that "
        f"are not, in {counts['scenes']} scenes of {counts['videos']} videos; "
        f"talkers named: {counts['talkers'] or 'none'}.",
        f"- Drops: {', '.join(description['drops'])}.",
        f"- {description['parameters']} parameters; {recipe['epochs']} epochs, seed {recipe['seed']}, "
        f"{'with' if recipe['augment'] else 'without'} augmentation, "
        f"{'pre-trained' if description['pretraining']['used'] else 'not pre-trained'}.",
        "- Measured by "
        + ", ".join(f"`{name}` (identity {one['params_hash']})" for name, one in description["measured"].items())
        + ".",
        "",
        f"| average precision | {' | '.join(SPLITS[split] for split in splits)} |",
        f"|---|{'---|' * len(splits)}",
    ]
    for model in dict.fromkeys(model for _, model in at):
        cells = [interval(at[split, model]) if (split, model) in at else "" for split in splits]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += [
        "",
        "Average precision of SPEAKING_AUDIBLE as the AVA challenge counts it; 95 % intervals resample scenes.",
        "",
        "## Use it for",
        "Finding who speaks in videos like those it learned from; looking at the scores before trusting them.",
        "",
        "## Do not use it for",
        "Deciding what a person said, or whether a video is genuine. It hears when there is speech and sees whose",
        "lips go with it: of masked faces, of faces turned away and of dubbed sound it knows nothing, and it has to",
        "see half a second or more.",
        "",
    ]
    return "\n".join(lines)
