"""Pictures of how well it is told who speaks, and of scenes with the score of each face, as PNG bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from avlake.learn.episode_plots import drawable
from avlake.learn.metrics import Score
from avlake.learn.plots import COLOURS, INK, Array, new_figure, to_png

GAP_S = 0.5  # between two faces of a track: a line does not go on over more
MOST_POINTS = 1000  # of a curve that is drawn
LABEL_COLOURS = {"SPEAKING_AUDIBLE": (COLOURS[0], 0.3), "SPEAKING_NOT_AUDIBLE": (COLOURS[4], 0.3)}
STILL_PT = 38.0  # points, the side of a still


@dataclass(frozen=True)
class TrackDrawn:
    """One track of a scene; n faces in the order of their times."""

    name: str
    times_s: Array  # (n,)
    score: Array  # (n,) of a network that has not seen the video, NaN where there is none
    label: Sequence[str | None]  # (n,)
    stills: Sequence[tuple[float, Array]]  # time in s, (h, w) uint8


@dataclass(frozen=True)
class Curve:
    """Scores of one model and what is true of each face, (n,) both; `ap` is the figure that the training measured."""

    score: Array
    y: Array
    ap: float | None


@dataclass(frozen=True)
class Learned:
    """A training over n epochs; (n,) each, NaN where there is none."""

    epoch: Array
    loss: Array
    validation_loss: Array
    validation_ap: Array  # average precision


def compared(by_split: Mapping[str, Mapping[str, Score]], *, zero: bool = False) -> bytes:
    """A figure of each model with its 95 % interval, a panel per split.

    Args:
        by_split: scores by what the split is called, then by what the model is called.
        zero: are these differences, so that 0 is drawn?
    """
    names = list(dict.fromkeys(name for scores in by_split.values() for name in scores))
    figure, axes = new_figure(0.9 + 0.34 * len(names), columns=len(by_split), sharex=True, sharey=True)
    for ax, (split, scores) in zip(axes, by_split.items(), strict=True):
        for i, name in enumerate(names):
            if (score := scores.get(name)) is None:
                continue
            if score.ci_low is not None and score.ci_high is not None:
                ax.plot([score.ci_low, score.ci_high], [i, i], color=COLOURS[1], lw=2)
            ax.plot(score.value, i, "o", color=COLOURS[1])
        if zero:
            ax.axvline(0, color=INK, lw=0.8)
        ax.set_title(split, fontsize=9)
        ax.grid(axis="x", color="#eaeef2")
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    return to_png(figure)


def points(curve: Curve) -> tuple[Array, Array]:
    """(recall, precision) at every distinct score, the highest first: faces of one score come all at once."""
    order = np.argsort(-curve.score, kind="stable")
    score, hits = curve.score[order], np.cumsum(curve.y[order] == 1)
    last = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    return hits[last] / max(1, int(hits[-1])), hits[last] / (last + 1)


def precision_recall(by_split: Mapping[str, Mapping[str, Curve]]) -> bytes:
    """Precision over recall as the least score moves, a panel per split and a line per model.

    A model that says the same of every face has no choice: it is a dotted line at the share of faces that speak.
    """
    figure, axes = new_figure(4.8, columns=len(by_split), sharey=True)
    names = list(dict.fromkeys(name for curves in by_split.values() for name in curves))
    colours = dict(zip(names, COLOURS * len(names), strict=False))
    for ax, (split, curves) in zip(axes, by_split.items(), strict=True):
        for name, curve in curves.items():
            recall, precision = points(curve)
            style = dict[str, object](color=colours[name], label=name, lw=2.2 if name == names[0] else 1.2)
            if curve.ap is not None:
                style["label"] = f"{name} {curve.ap:.3f}"
            if len(recall) == 1:
                ax.plot([0, 1], [precision[0]] * 2, ls=":", **style)
                continue
            some = np.unique(np.linspace(0, len(recall) - 1, MOST_POINTS).astype(int))
            ax.plot(np.r_[0, recall[some]], np.r_[precision[0], precision[some]], **style)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.set_xlabel("recall: share of the speaking faces found", fontsize=8)
        ax.set_title(split, fontsize=9)
        ax.grid(color="#eaeef2")
        ax.set_axisbelow(True)
        ax.legend(
            **{"frameon": False, "fontsize": 8, "ncols": 2, "title": "average precision", "title_fontsize": 8},
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
        )
    axes[0].set_ylabel("precision: share of what is found that speaks", fontsize=8)
    return to_png(figure)


def learning(runs: Mapping[str, Learned]) -> bytes:
    """Loss, and average precision on the validation videos, over epochs: a line per training, a dot at its best epoch.

    Trainings whose names differ but for a number at the end, as those of folds, have one colour.
    """
    figure, axes = new_figure(3.6, columns=2)
    colours: dict[str, str] = {}
    for name, run in runs.items():
        kind = re.sub(r"\W+\d+$", "", name)
        label = None if kind in colours else kind
        colour = colours.setdefault(kind, COLOURS[len(colours) % len(COLOURS)])
        axes[0].plot(run.epoch, run.loss, color=colour, lw=1.0, alpha=0.6, label=label)
        axes[0].plot(run.epoch, run.validation_loss, color=colour, lw=1.0, alpha=0.6, ls="--")
        axes[1].plot(run.epoch, run.validation_ap, color=colour, lw=1.0, alpha=0.6)
        if np.isfinite(run.validation_loss).any():
            best = int(np.nanargmin(run.validation_loss))
            axes[0].plot(run.epoch[best], run.validation_loss[best], "o", color=colour, ms=4)
            axes[1].plot(run.epoch[best], run.validation_ap[best], "o", color=colour, ms=4)
    axes[0].set_title("loss: in training, and dashed on the validation videos", fontsize=9)
    axes[1].set_title("average precision on the validation videos", fontsize=9)
    axes[1].set_ylim(0, 1.02)
    for ax in axes:
        ax.set_xlabel("epoch", fontsize=8)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(axis="y", color="#eaeef2")
    lines = axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return to_png(figure)


def scene(tracks: Sequence[TrackDrawn], span_s: tuple[float, float]) -> bytes:
    """The tracks of a scene one below the other on one clock: stills, and the score over what people labelled.

    Args:
        span_s: the time that is drawn, from and to.
    """
    figure, axes = new_figure(
        0.3 + 1.95 * len(tracks),
        rows=2 * len(tracks),
        sharex=True,
        gridspec_kw={"height_ratios": [0.62, 1.0] * len(tracks)},
    )
    margin_s = max(0.05, 0.02 * (span_s[1] - span_s[0]))
    for track, above, ax in zip(tracks, axes[::2], axes[1::2], strict=True):
        above.axis("off")
        above.set_title(drawable(track.name), fontsize=8, loc="left", pad=5, parse_math=False)
        for time_s, picture in track.stills:
            image = OffsetImage(picture, zoom=STILL_PT / len(picture), cmap="gray", norm=Normalize(0, 255))
            above.add_artist(
                AnnotationBbox(image, (time_s, 0.5), xycoords=("data", "axes fraction"), frameon=False, pad=0)
            )
        step_s = float(np.median(np.diff(track.times_s))) if len(track.times_s) > 1 else GAP_S
        for label, (colour, alpha) in LABEL_COLOURS.items():
            for start_s, end_s in spans(track.times_s, [one == label for one in track.label], step_s):
                ax.axvspan(start_s, end_s, color=colour, alpha=alpha, lw=0)
        gaps = np.flatnonzero(np.diff(track.times_s) > GAP_S) + 1
        for times, score in zip(np.split(track.times_s, gaps), np.split(track.score, gaps), strict=True):
            ax.plot(times, score, color=COLOURS[1], lw=1.6)
        ax.set(xlim=(span_s[0] - margin_s, span_s[1] + margin_s), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        ax.grid(axis="y", color="#eaeef2")
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=7, labelbottom=True)
    axes[-1].set_xlabel("s", fontsize=8)
    return to_png(figure)


def spans(times_s: Array, chosen: Sequence[bool], step_s: float) -> list[tuple[float, float]]:
    """From where to where the faces chosen are, those next to each other as one; each counts for `step_s`.

    Args:
        times_s: (n,) increasing.
    """
    found: list[tuple[float, float]] = []
    for time_s in times_s[np.asarray(chosen, bool)].tolist():
        if found and time_s - found[-1][1] < step_s:
            found[-1] = (found[-1][0], time_s + step_s / 2)
        else:
            found.append((time_s - step_s / 2, time_s + step_s / 2))
    return found
