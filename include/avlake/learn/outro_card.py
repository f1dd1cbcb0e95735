"""The model card of podcast outros: what the model is, how good it is on episodes it has not heard, what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avlake.learn.card import interval
from avlake.learn.metrics import Score
from avlake.learn.vote import VOTE, WEIGHTS

SHOWN = ("segment_macro_f1", "segment_balanced_accuracy", "segment_roc_auc")


def outro_card(description: Mapping[str, Any], table: Sequence[Score], said: Sequence[str]) -> str:
    """Markdown, every figure from `description` (features.json) and `table` (metrics.json)."""
    counts, at = description["counts"], {(s.model, s.metric): s for s in table}
    learned = f"{counts['human_segments']} segments of {counts['human_episodes']} episodes that people labelled"
    if counts["seeded"]:
        learned += f", and {counts['machine_segments']} segments that the tags labelled"
    lines = [
        "# Model card: music in podcasts, and where the outro starts",
        "",
        *(f"- {sentence}." for sentence in (one.rstrip(".") for one in said)),
        f"- Learned from {learned}. Drops: {', '.join(description['drops']) or 'none'}.",
        f"- {len(description['features'])} features, measured by "
        + ", ".join(f"`{name}` (identity {one['params_hash']})" for name, one in description["measured"].items())
        + ".",
        "",
    ]
    if (VOTE, SHOWN[0]) in at:
        lines += ["| model | macro F1 | balanced accuracy | ROC AUC |", "|---|---|---|---|"]
        for name in (*WEIGHTS, VOTE):
            cells = [interval(at[name, metric]) if (name, metric) in at else "" for metric in SHOWN]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += [
            "",
            "Segments with music, also under speech, against dialogue; each episode judged by models that have not",
            "heard it, with 95 % intervals that resample episodes. A series has one voice and one tune: with episodes",
            "of one series on both sides of a fold, the figures are better than a new series would find them.",
            "",
        ]
    lines += [
        "## Where the outro starts",
        "The tags of every second say how likely music is; the likeliest path through music and no music says where",
        "the last unbroken music begins. No label is used for that, so it is the same for every episode; the vote only",
        "lowers the confidence where it hears otherwise. The confidence is the probability that the start is within",
        "2 s of the truth, or that there is no outro.",
        "",
        "## Do not use it for",
        "Cutting without listening where the confidence is low, or telling which music is played.",
        "",
    ]
    return "\n".join(lines)
