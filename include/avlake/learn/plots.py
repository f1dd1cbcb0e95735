"""The report's pictures, as PNG bytes. Built without pyplot: no state, no display, safe in threads."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from avlake.learn.metrics import LEVELS, Score, Scored, at_level, confusion

Array = np.ndarray[Any, Any]

INK, FAINT = "#24292f", "#8c959f"
COLOURS = ("#b35900", "#0b63a5", "#3d7a2a", "#7d3c98", "#57606a", "#a3213c")  # readable for the colour-blind, on white
WIDTH = 9.0  # inches, all pictures


def new_figure(height: float, columns: int = 1, rows: int = 1, **options: Any) -> tuple[Figure, Array]:
    """A figure of `height` inches and its axes, (rows * columns,), in the style of all pictures."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, **options)).ravel()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK, labelsize=8)
    return figure, axes


def to_png(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def confusions(held_out: Scored, classes: Sequence[str]) -> bytes:
    """Truth by prediction per window, file and speaker: counts, and shades of the share of each true class."""
    figure, axes = new_figure(3.0, columns=len(LEVELS))
    for ax, level in zip(axes, LEVELS, strict=True):
        counts = confusion(at_level(held_out, level))
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (i, j), n in np.ndenumerate(counts):
            colour = "white" if share[i, j] > 0.5 else INK
            ax.text(j, i, f"{n}\n{share[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=10)
        ax.set_xticks(range(len(classes)), [f"said {name}" for name in classes])
        ax.set_yticks(range(len(classes)), [f"is {name}" for name in classes])
        ax.set_title(f"per {level}", fontsize=10)
        ax.spines[:].set_visible(False)
    return to_png(figure)


def roc(by_model: Mapping[str, Scored], chosen: str) -> bytes:
    """ROC per window and per file, one line per candidate."""
    figure, axes = new_figure(3.8, columns=2)
    for ax, level in zip(axes, LEVELS[:2], strict=True):
        for (name, held_out), colour in zip(by_model.items(), COLOURS, strict=False):
            scored = at_level(held_out, level)
            false, true, _ = roc_curve(scored.y, scored.p)
            ax.plot(false, true, color=colour, lw=2.2 if name == chosen else 1.2, label=name.replace("_", " "))
        ax.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
        ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.set_title(f"per {level}", fontsize=10)
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    return to_png(figure)


def comparison(rows: Sequence[tuple[str, Mapping[str, Score]]]) -> bytes:
    """Balanced accuracy with its interval per window, file and speaker; a row is (what, its scores by metric)."""
    figure, axes = new_figure(0.9 + 0.38 * len(rows), columns=len(LEVELS), sharey=True)
    for ax, level in zip(axes, LEVELS, strict=True):
        for i, (_, by_metric) in enumerate(rows):
            score = by_metric[f"{level}_balanced_accuracy"]
            if score.ci_low is not None and score.ci_high is not None:
                ax.plot([score.ci_low, score.ci_high], [i, i], color=COLOURS[1], lw=2)
            ax.plot(score.value, i, "o", color=COLOURS[1])
        ax.set_title(f"balanced accuracy per {level}", fontsize=9)
        ax.set_xlim(0.45, 1.02)
        ax.grid(axis="x", color="#eaeef2")
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(rows)), [what for what, _ in rows])
    axes[0].invert_yaxis()
    return to_png(figure)


def importance(clusters: Sequence[Mapping[str, Any]], shown: int = 12) -> bytes:
    """How far the ROC-AUC of held-out windows falls when a cluster of features is shuffled."""
    top = list(clusters[:shown])
    figure, axes = new_figure(0.8 + 0.3 * len(top))
    ax = axes[0]
    ax.barh(
        range(len(top)),
        [c["importance"] for c in top],
        xerr=[c["importance_sd"] for c in top],
        color=COLOURS[1],
        ecolor=FAINT,
    )
    names = [c["features"][0] + (f" and {len(c['features']) - 1} alike" if len(c["features"]) > 1 else "") for c in top]
    ax.set_yticks(range(len(top)), names)
    ax.invert_yaxis()
    ax.axvline(0, color=FAINT, lw=0.8)
    ax.set_xlabel("fall of the ROC-AUC per held-out window when shuffled (mean and deviation over folds)", fontsize=8)
    return to_png(figure)


def distributions(X: Array, y: Array, names: Sequence[str], classes: Sequence[str]) -> bytes:
    """Histograms of up to six features (columns of X) by class, tails beyond 1 % cut off the picture."""
    columns = 3
    rows = -(-len(names) // columns)
    figure, axes = new_figure(2.1 * rows, columns=columns, rows=rows)
    for ax, name, values in zip(axes, names, X.T, strict=False):
        low, high = np.quantile(values, (0.005, 0.995))
        bins = np.linspace(low, high, 30)
        for label, colour in zip(range(len(classes)), COLOURS, strict=False):
            ax.hist(values[y == label], bins=bins, color=colour, alpha=0.55, density=True, label=classes[label])
        ax.set_title(name, fontsize=9)
        ax.set_yticks([])
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return to_png(figure)


def correlation(rho: Array, names: Sequence[str]) -> bytes:
    """|Spearman rho| between features given in the order of their clusters."""
    figure, axes = new_figure(7.6)
    ax = axes[0]
    image = ax.imshow(rho, cmap="magma_r", vmin=0, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    ax.set_yticks(range(len(names)), names, fontsize=6)
    figure.colorbar(image, ax=ax, shrink=0.6, label="|Spearman's rho|")
    return to_png(figure)


def drops(counts: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> bytes:
    """Windows by drop and label, the unlabelled apart."""
    figure, axes = new_figure(0.9 + 0.34 * len(counts))
    ax, left = axes[0], np.zeros(len(counts))
    for name, colour in zip((*classes, "unknown"), (*COLOURS[: len(classes)], FAINT), strict=True):
        width = np.array([row[name] for row in counts], dtype=float)
        ax.barh(range(len(counts)), width, left=left, color=colour, label=name)
        left += width
    ax.set_yticks(range(len(counts)), [row["drop"] for row in counts])
    ax.invert_yaxis()
    ax.set_xlabel("windows", fontsize=8)
    ax.legend(frameon=False, fontsize=8, ncols=len(classes) + 1, loc="lower right", bbox_to_anchor=(1, 1))
    return to_png(figure)


def calibration(held_out: Scored) -> bytes:
    """How often files said to be of the second class with probability p are, in five bins; and how sure it was."""
    files = at_level(held_out, "file")
    figure, axes = new_figure(3.2, columns=2)
    _reliability(axes[0], files)
    right = (files.p >= 0.5) == (files.y == 1)
    sure = np.maximum(files.p, 1 - files.p)
    bins = np.linspace(0.5, 1, 21)
    axes[1].hist(
        [sure[right], sure[~right]], bins=bins, stacked=True, color=[COLOURS[1], COLOURS[5]], label=["right", "wrong"]
    )
    axes[1].set(xlabel="probability of the label said", ylabel="files")
    axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    return to_png(figure)


def _reliability(ax: Axes, files: Scored) -> None:
    ax.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
    place = np.minimum((files.p * 5).astype(int), 4)
    for b in np.unique(place):
        inside = place == b
        ax.scatter(files.p[inside].mean(), files.y[inside].mean(), s=20 + 2 * inside.sum(), color=COLOURS[1])
    ax.set(xlabel="probability said", ylabel="share that is", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))


@dataclass(frozen=True)
class Thresholded:
    """A metric that decides: (n,) values with NaN where not measured, (n,) whether kept, and what is asked for."""

    title: str
    values: Array
    kept: Array
    threshold: float
    is_share: bool  # between 0 and 1


def thresholded(metrics: Sequence[Thresholded]) -> bytes:
    """Histograms of up to three metrics, kept clips on top of rejected ones, the threshold drawn; NaN is left out."""
    figure, axes = new_figure(2.8, columns=3)
    for ax, metric in zip(axes, metrics, strict=False):
        measured = np.isfinite(metric.values)
        low, high = _span(metric)
        bins = np.linspace(low, high, 41)
        parts = [np.clip(metric.values[measured & rows], low, high) for rows in (~metric.kept, metric.kept)]
        ax.hist(parts, bins=bins, stacked=True, color=[FAINT, COLOURS[1]], label=["rejected", "kept"])
        _draw_threshold(ax, metric.threshold, metric.is_share)
        ax.set_title(metric.title, fontsize=9)
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("clips", fontsize=8)
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    for ax in axes[len(metrics) :]:
        ax.set_visible(False)
    return to_png(figure)


def keep_curves(metrics: Sequence[Thresholded], counts: Sequence[Callable[[Array], Array]]) -> bytes:
    """How many clips are kept as each threshold moves while the others stay: a curve per metric, today's value drawn.

    Args:
        counts: for each metric, the number kept at each of some thresholds.
    """
    figure, axes = new_figure(2.6, columns=3, sharey=True)
    for ax, metric, count in zip(axes, metrics, counts, strict=False):
        asked = np.linspace(*_span(metric), 401)
        ax.plot(asked, count(asked), color=COLOURS[1], lw=1.8, drawstyle="steps-post")
        _draw_threshold(ax, metric.threshold, metric.is_share)
        ax.plot(metric.threshold, count(np.array([metric.threshold]))[0], "o", color=COLOURS[0], ms=5)
        ax.set_xlabel(f"least {metric.title}", fontsize=8)
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.grid(axis="y", color="#eaeef2")
    axes[0].set_ylabel("clips kept", fontsize=8)
    axes[0].set_ylim(0, 1.08 * max(int(count(np.zeros(1))[0]) for count in counts) + 0.5)  # most are kept at 0
    for ax in axes[len(metrics) :]:
        ax.set_visible(False)
    return to_png(figure)


def _span(metric: Thresholded) -> tuple[float, float]:
    """What to show of a metric: all of a share; else up to where 1 % of the values lie beyond, threshold included."""
    if metric.is_share:
        return 0.0, 1.0
    measured = metric.values[np.isfinite(metric.values)]
    return 0.0, max(float(np.quantile(measured, 0.99)) if measured.size else 0.0, 1.5 * metric.threshold, 1.0)


def _draw_threshold(ax: Axes, threshold: float, is_share: bool) -> None:
    ax.axvline(threshold, color=COLOURS[0], lw=1.4, ls="--")
    left = is_share and threshold > 0.5
    ax.annotate(
        f"{threshold:g}",
        (threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if left else 3, -2),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        fontsize=8,
        color=COLOURS[0],
    )


def spreads(values: Mapping[str, Array]) -> bytes:
    """A small histogram of each metric, (n,) finite values each, of kept and rejected clips alike."""
    columns = 4
    rows = -(-len(values) // columns)
    figure, axes = new_figure(1.5 * rows, columns=columns, rows=rows)
    for ax, (name, found) in zip(axes, values.items(), strict=False):
        ax.hist(found, bins=30, color=COLOURS[1])
        ax.set_title(f"{name.replace('_', ' ')} ({len(found)})", fontsize=8)
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
    for ax in axes[len(values) :]:
        ax.set_visible(False)
    return to_png(figure)


def differences(rows: Sequence[tuple[str, float, float | None, float | None, bool]]) -> bytes:
    """What learning from kept clips changes; a row is (what, difference, low, high, is the comparison fair?)."""
    figure, axes = new_figure(0.9 + 0.32 * len(rows))
    ax = axes[0]
    for i, (_, value, low, high, fair) in enumerate(rows):
        colour = COLOURS[1] if fair else FAINT
        if low is not None and high is not None:
            ax.plot([low, high], [i, i], color=colour, lw=2, ls="-" if fair else ":")
        ax.plot(value, i, "o" if fair else "x", color=colour)
    ax.axvline(0, color=INK, lw=0.8)
    ax.set_yticks(range(len(rows)), [what for what, *_ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="x", color="#eaeef2")
    ax.set_axisbelow(True)
    ax.set_xlabel("difference (right of 0: learning from the kept clips does better)", fontsize=8)
    return to_png(figure)
