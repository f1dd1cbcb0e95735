"""Pictures of a decision to keep or reject: what it reaches on labelled clips, and what its scores look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.learn.plots import COLOURS, FAINT, INK, Array, new_figure, to_png

BINS = 40
LEAST = 1e-4  # of a score that is drawn on a scale of powers of ten; smaller ones are drawn there
GROUPS = ("nothing but effects", "speech or music, too", "nobody has said")
LEGEND = dict[str, Any](frameon=False, fontsize=8, ncols=len(GROUPS))
GROUP_COLOURS = (COLOURS[1], COLOURS[0], FAINT)


@dataclass(frozen=True)
class Point:
    """What one decision reaches on labelled clips, with intervals (low, high) of 95 %."""

    name: str
    in_charge: bool
    precision: float
    recall: float
    precision_interval: tuple[float, float] | None
    recall_interval: tuple[float, float] | None


def precision_recall(curves: Mapping[str, Sequence[tuple[float, float]]], points: Sequence[Point]) -> bytes:
    """Precision over recall as one threshold moves, a curve per decision, and what each decision reaches as it stands.

    Args:
        curves: by decision, (recall, precision) in the order of the threshold.
    """
    figure, axes = new_figure(4.2)
    ax = axes[0]
    names = list(dict.fromkeys([*curves, *(point.name for point in points)]))
    colours = dict(zip(names, COLOURS[1:] + COLOURS[:1], strict=False))
    for name, curve in curves.items():
        recall, precision = np.array(curve, float).reshape(-1, 2).T
        ax.plot(recall, precision, color=colours[name], lw=1.8, label=f"{name}, as its threshold moves")
    for point in points:
        colour = colours[point.name]
        for low_high, place in ((point.recall_interval, "x"), (point.precision_interval, "y")):
            if low_high:
                across = (low_high, (point.precision,) * 2) if place == "x" else ((point.recall,) * 2, low_high)
                ax.plot(*across, color=colour, lw=1.2, alpha=0.7)
        label = f"{point.name}, as it decides{' now' if point.in_charge else ''}"
        face = colour if point.in_charge else "white"
        ax.plot(point.recall, point.precision, "o", color=colour, markerfacecolor=face, ms=8, label=label)
    lowest = [p for curve in curves.values() for _, p in curve]
    lowest += [point.precision_interval[0] if point.precision_interval else point.precision for point in points]
    ax.set(xlabel="recall: share of the clips with nothing but effects that are kept", xlim=(-0.02, 1.02))
    ax.set(ylabel="precision: share of the kept that are right", ylim=(max(0.0, min(lowest, default=0.0) - 0.05), 1.01))
    ax.grid(color="#eaeef2")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return to_png(figure)


@dataclass(frozen=True)
class Scores:
    """A score of all clips: (n,) values with NaN where not measured, and the most that is kept, if anything is."""

    title: str
    values: Array
    most: float | None


def score_histograms(scores: Sequence[Scores], group: Array) -> bytes:
    """Each score on a scale of powers of ten, by what people heard; the dashed line is the most that is kept.

    Args:
        group: (n,) place in `GROUPS` of each clip.
    """
    figure, axes = new_figure(2.9, columns=len(scores), sharey=True)
    bins = np.logspace(np.log10(LEAST), 0, BINS + 1)
    for ax, score in zip(axes, scores, strict=True):
        measured = np.isfinite(score.values)
        values = np.clip(score.values, LEAST, 1.0)
        there = [place for place in range(len(GROUPS)) if (group == place).any()]
        parts = [values[measured & (group == place)] for place in there]
        colours, labels = [GROUP_COLOURS[place] for place in there], [GROUPS[place] for place in there]
        ax.hist(parts, bins=bins, stacked=True, color=colours, label=labels)
        ax.set_xscale("log")
        if score.most is not None:
            ax.axvline(score.most, color=INK, lw=1.4, ls="--")
            ax.annotate(f" {score.most:g}", (score.most, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
        ax.set_xlabel(score.title, fontsize=9)
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("clips", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", **LEGEND)
    return to_png(figure)


def probabilities(values: Array, group: Array, threshold: float | None) -> bytes:
    """How sure the calibrated decision is that a clip has nothing but effects, by what people heard.

    Args:
        values: (n,) probabilities, NaN where there is none.
        group: (n,) place in `GROUPS`.
        threshold: least probability that is kept.
    """
    figure, axes = new_figure(2.6)
    ax, options = axes[0], dict[str, Any](bins=np.linspace(0, 1, BINS + 1), stacked=True)
    there = [place for place in range(len(GROUPS)) if (group == place).any()]
    parts = [values[np.isfinite(values) & (group == place)] for place in there]
    ax.hist(parts, color=[GROUP_COLOURS[p] for p in there], label=[GROUPS[p] for p in there], **options)
    if threshold is not None:
        ax.axvline(threshold, color=INK, lw=1.4, ls="--")
        ax.annotate(f" {threshold:.2f}", (threshold, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    ax.set_xlabel("probability of nothing but effects", fontsize=9)
    ax.set_ylabel("clips", fontsize=8)
    ax.yaxis.get_major_locator().set_params(integer=True)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", **LEGEND)
    return to_png(figure)
