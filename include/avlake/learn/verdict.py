"""What a comparison of kept clips with all found, in sentences whose every figure is computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avlake.learn.diagnosis import count
from avlake.learn.impact import COMPARISONS, HELPS, HURTS, METRICS, NOTHING, Interval

CALLED = {"accuracy": "accuracy", "weighted_f1": "weighted F1"}
AGAINST = {"all": "all clips", "random": "as many clips drawn at random"}
READING = {
    ("all", HELPS): "learning from what was kept beats learning from all clips",
    ("all", HURTS): "learning from all clips beats learning from what was kept",
    ("all", NOTHING): "no effect shown of learning from what was kept rather than from all clips",
    ("random", HELPS): "it matters which clips were kept: as many drawn at random do worse",
    ("random", HURTS): "as many clips drawn at random do better than those that were kept",
    ("random", NOTHING): "no effect shown of which clips were kept, against as many drawn at random",
}


def differences(found: Mapping[str, Interval], split: str) -> list[dict[str, Any]]:
    """Each comparison in each metric, with its interval, its verdict and a sentence."""
    rows = []
    for one, other in COMPARISONS:
        for metric in METRICS:
            gap = found[f"{metric}_{one}_minus_{other}"]
            had, against = found[f"{metric}_{one}"].value, found[f"{metric}_{other}"].value
            said = (
                f"{one} against {AGAINST[other]}, {CALLED[metric]}: {had:.3f} against {against:.3f}, "
                f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]: {gap.verdict}"
            )
            rows.append(
                {
                    "split": split,
                    "comparison": f"{one}_minus_{other}",
                    "metric": metric,
                    "value": gap.value,
                    "ci_low": gap.low,
                    "ci_high": gap.high,
                    "verdict": gap.verdict,
                    "words": said,
                }
            )
    return rows


def words(found: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences, the most important one first; from the rest of verdict.json."""
    counts = found["counts"]
    kept = f"Of {count(counts['clips'], 'clip')} {counts['kept']} are kept"
    if found["reason"]:
        return [
            f"{kept}, and {found['reason']}.",
            "So whether curation helps cannot be said at these thresholds; lower ones keep more.",
        ]
    said = [_reading(model) for model in found["models"]]
    said += [_figures(model, f"{one}_minus_{other}") for model in found["models"] for one, other in COMPARISONS]
    said.append(
        f"{kept}. Compared are {counts['compared_kept']} kept ones with all {counts['compared_clips']} of "
        f"{count(counts['compared_speakers'], 'speaker')} in {counts['compared_videos']} source videos. Of "
        f"{count(counts['lacking_speakers'], 'speaker')} too little was kept to be compared."
    )
    if left_out := counts["heard_speakers"] - counts["lacking_speakers"] - counts["compared_speakers"]:
        said.append(f"{count(left_out, 'speaker')}, chosen at random, are left out to bound the time.")
    if counts["compared_kept"] == counts["compared_clips"]:
        said.append("Nothing of these speakers was rejected, so there is nothing to tell apart.")
    return [*said, _usual(found["models"])]


def _reading(model: Mapping[str, Any]) -> str:
    verdicts = {v["comparison"]: v["verdict"] for v in _primary(model) if v["metric"] == METRICS[0]}
    read = "; ".join(READING[other, verdicts[f"{one}_minus_{other}"]] for one, other in COMPARISONS)
    return f"{model['model']}, by accuracy: {read}."


def _figures(model: Mapping[str, Any], comparison: str) -> str:
    one, _, other = comparison.partition("_minus_")
    each = "; ".join(
        f"{CALLED[v['metric']]} {v['value']:+.3f} [{v['ci_low']:+.3f}, {v['ci_high']:+.3f}], {v['verdict']}"
        for v in _primary(model)
        if v["comparison"] == comparison
    )
    return f"{model['model']}, {one} against {AGAINST[other]}: {each}."


def _usual(models: Sequence[Mapping[str, Any]]) -> str:
    each = []
    for model in models:
        everything, kept = (model["naive"][arm]["accuracy"] for arm in ("all", "kept"))
        each.append(f"{kept:.3f} against {everything:.3f} ({kept - everything:+.3f}) by {model['model']}")
    return (
        "Not comparable, though often published: where each set is split at random by clip, accuracy on what was kept "
        f"against that on all clips is {', '.join(each)}. Each is tested on other clips of other speakers, and clips "
        "of one video are on both sides."
    )


def _primary(model: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [v for v in model["verdicts"] if v["split"] == "test"]


def card(found: Mapping[str, Any]) -> str:
    """Markdown, every figure from verdict.json."""
    lines = ["# Does it help to learn from what was kept?", "", *(f"- {sentence}" for sentence in words(found)), ""]
    for model in found["models"]:
        lines += [
            f"## {model['model']}, {model['features']} features",
            "",
            *(f"- {v['words']}." for v in _primary(model)),
            "",
        ]
    if found["models"]:
        design = found["settings"]["design"]
        lines += [
            f"{design['seeds']} seeds; each holds out {design['test_share']:.0%} of every speaker's source videos, the "
            "same for all arms, and tests on all",
            f"their clips. Drawn at random: {design['draws']} times as many clips of each speaker as were kept. "
            "Intervals are of 95 %, one by one;",
            "they resample source videos and hold the luck of the clips that were kept.",
            "",
        ]
    return "\n".join(lines)
