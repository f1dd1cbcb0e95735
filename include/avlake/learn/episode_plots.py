"""Pictures of what is heard in episodes and of what a model says of it, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.font_manager import findfont, get_font

from avlake.learn.metrics import Score
from avlake.learn.plots import COLOURS, FAINT, INK, new_figure, to_png

Array = np.ndarray[Any, Any]

LONGEST_TITLE = 70  # characters
MUSIC, SPEECH, LABELLED = COLOURS[0], COLOURS[1], COLOURS[2]


@dataclass(frozen=True)
class Timeline:
    """One episode; times in seconds, None where there is none."""

    title: str
    duration_s: float
    tag_s: Array  # (n,) starts of windows of tags
    music: Array  # (n,) score of the tags of music, 0 to 1
    speech: Array  # (n,) score of the tags of voices
    segment_s: Array  # (m, 2) start and end of segments
    p_music: Array  # (m,) probability that music is heard in a segment
    outro_start_s: float | None
    intro_end_s: float | None
    label_outro_start_s: float | None


def timelines(episodes: Sequence[Timeline]) -> bytes:
    """Each episode as a strip over its own time: the model's segments as a band, the tags as lines, the times found."""
    columns = 2 if len(episodes) > 1 else 1
    rows = -(-len(episodes) // columns)
    figure, axes = new_figure(0.5 + 0.95 * rows, columns=columns, rows=rows)
    for ax, one in zip(axes, episodes, strict=False):
        for (start_s, end_s), p in zip(one.segment_s, one.p_music, strict=True):
            ax.axvspan(start_s, end_s, color=MUSIC, alpha=0.35 * float(p), lw=0)
        ax.plot(one.tag_s, one.speech, color=SPEECH, lw=0.7)
        ax.plot(one.tag_s, one.music, color=MUSIC, lw=0.9)
        if one.intro_end_s is not None:
            ax.axvline(one.intro_end_s, color=INK, lw=1.2, ls=":")
        if one.outro_start_s is not None:
            ax.axvline(one.outro_start_s, color=INK, lw=1.8)
        if one.label_outro_start_s is not None:
            ax.axvline(one.label_outro_start_s, color=LABELLED, lw=1.8, ls="--")
        ax.set(xlim=(0, one.duration_s), ylim=(-0.03, 1.03), yticks=[])
        ax.tick_params(labelsize=6)
        ax.set_title(drawable(one.title), fontsize=7, loc="left", pad=2, parse_math=False)
    for ax in axes[len(episodes) :]:
        ax.set_visible(False)
    return to_png(figure)


def drawable(text: str) -> str:
    """Without characters that the font has no glyph for, and short enough: names of files have anything in them."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    plain = "".join(c if ord(c) in known else "?" for c in text)
    return plain if len(plain) <= LONGEST_TITLE else f"{plain[: LONGEST_TITLE // 2]}...{plain[-LONGEST_TITLE // 2 :]}"


def confusion(truth: Sequence[str], said: Sequence[str], classes: Sequence[str]) -> tuple[Array, str, Sequence[str]]:
    """(n, n) counts, truth by what is said, with a title that says how many are right."""
    place = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, ([place[name] for name in truth], [place[name] for name in said]), 1)
    right = f"{np.trace(counts)} of {counts.sum()} right"
    return counts, right, classes


def confusions(found: Sequence[tuple[Array, str, Sequence[str]]]) -> bytes:
    """Confusion matrices side by side: counts, and shades of the share of each true class."""
    figure, axes = new_figure(3.2, columns=len(found))
    for ax, (counts, title, classes) in zip(axes, found, strict=True):
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (i, j), n in np.ndenumerate(counts):
            colour = "white" if share[i, j] > 0.5 else INK
            ax.text(j, i, f"{n}\n{share[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=9)
        ax.set_xticks(range(len(classes)), [f"said {name}" for name in classes])
        ax.set_yticks(range(len(classes)), [f"is {name}" for name in classes])
        ax.set_title(title, fontsize=10)
        ax.spines[:].set_visible(False)
    return to_png(figure)


def compared(scores: Mapping[str, Score], differences: Mapping[str, Score]) -> bytes:
    """Macro-F1 of each model with its interval, and beside it the differences of the vote and its parts."""
    columns = [(scores, "segment macro-F1"), (differences, "difference in macro-F1 (right of 0: the vote is better)")]
    columns = [(found, title) for found, title in columns if found]
    rows = max(len(found) for found, _ in columns)
    figure, axes = new_figure(0.9 + 0.38 * rows, columns=len(columns))
    for ax, (found, title) in zip(axes, columns, strict=True):
        for i, score in enumerate(found.values()):
            if score.ci_low is not None and score.ci_high is not None:
                ax.plot([score.ci_low, score.ci_high], [i, i], color=COLOURS[1], lw=2)
            ax.plot(score.value, i, "o", color=COLOURS[1])
        ax.set_yticks(range(len(found)), list(found))
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_title(title, fontsize=9)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x", color="#eaeef2")
        ax.set_axisbelow(True)
        if found is differences:
            ax.axvline(0, color=FAINT, lw=1.0)
    return to_png(figure)
