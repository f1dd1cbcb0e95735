"""The model card: what the model is, how good it is on speakers it has not heard, what it is good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avlake.learn.metrics import LEVELS, Score


def model_card(description: Mapping[str, Any], table: Sequence[Score]) -> str:
    """Markdown, every figure from `description` (features.json) and `table` (metrics.json)."""
    model, scheme, classes = description["model"], description["scheme"], description["classes"]
    (measured,) = description["measured"].values()
    held_out = "grouped 5-fold cross-validation" if scheme == "cv" else "the test split"
    groups = ", ".join(f"{n} {name}" for name, n in description["groups"].items())
    lines = [
        f"# Model card: {description['label']} by {model}",
        "",
        f"- Says whether a recording's speaker is labelled {classes[0]} or {classes[1]}.",
        f"- Learned from {description['windows']} of {description['labelled_windows']} labelled windows, "
        f"{description['files']} files; speakers: {groups}.",
        f"- Drops: {', '.join(description['drops'])}.",
        f"- Measured by `{measured['extractor']}` (identity {measured['params_hash']}); "
        f"{len(description['features'])} features kept.",
        f"- Settings: {', '.join(f'{k} = {v}' for k, v in description['settings'].items())}.",
        f"- Figures below are on speakers held out of training ({held_out}), with 95 % intervals that resample",
        "  speakers. The saved model was then fitted on every labelled speaker.",
        "",
        "| per | balanced accuracy | macro F1 | ROC AUC | n |",
        "|---|---|---|---|---|",
    ]
    by_metric = {s.metric: s for s in table if s.model == model and s.split == scheme}
    for level in LEVELS:
        cells = [interval(by_metric[f"{level}_{metric}"]) for metric in ("balanced_accuracy", "macro_f1", "roc_auc")]
        lines.append(f"| {level} | {' | '.join(cells)} | {by_metric[f'{level}_accuracy'].n} |")
    lines += [
        "",
        "## Use it for",
        "Sorting collections of adult read or acted speech by the sound of the voice, and checking the labels of a",
        "collection.",
        "",
        "## Do not use it for",
        "Deciding anything about a person. It hears pitch and timbre, not gender: children, high male and low female",
        "voices, singing, several people at once and noisy or telephone sound are outside what it was trained on.",
        "The probability is of the label among these two only; there is no answer for neither.",
        "",
    ]
    return "\n".join(lines)


def interval(score: Score) -> str:
    """`0.947 [0.912, 0.981]`."""
    if score.ci_low is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.ci_low:.3f}, {score.ci_high:.3f}]"
