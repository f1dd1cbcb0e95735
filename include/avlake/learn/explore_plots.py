"""An exploration in pictures, each with sentences that say what it shows; every figure of them is the exploration's."""

from __future__ import annotations

from typing import Any

import numpy as np

from avlake.learn.exploration import NEAR, Exploration, Swept, Tree
from avlake.learn.explore import KS, NEIGHBOURS
from avlake.learn.plots import COLOURS, FAINT, INK, new_figure, to_png

Array = np.ndarray[Any, Any]

SHARES = (0.8, 0.9, 0.95)
STRENGTHS = ((0.7, "strong"), (0.5, "reasonable"), (0.25, "weak"))  # Kaufman & Rousseeuw 1990, table 4
DOMINANT = 0.9  # a cluster with so large a share leaves nothing to tell apart
MANY_COLOURS = (*COLOURS, "#d18f00", "#5aa9e6", "#86b049", "#c58ad8")  # ten clusters at most
LABEL_COLOURS = {"dialogue": COLOURS[1], "music": COLOURS[0], "both": COLOURS[3]}


def shown(found: Exploration) -> list[tuple[str, str, bytes, list[str]]]:
    """(title, name, PNG, sentences) in the order of a page."""
    return [
        ("How many things are measured", "variance", variance(found), variance_in_words(found)),
        ("How many clusters", "silhouette", silhouette(found), silhouette_in_words(found)),
        ("Dense places", "dbscan", dbscan(found), dbscan_in_words(found)),
        ("Trees", "trees", trees(found), trees_in_words(found)),
        ("The map", "map", tsne(found), map_in_words(found)),
    ]


def variance(found: Exploration) -> bytes:
    """Share of variance that the first components explain together."""
    figure, (ax,) = new_figure(2.8)
    share = np.asarray(found.explained)
    ax.plot(np.arange(1, len(share) + 1), share, color=COLOURS[1], lw=1.8)
    for asked in SHARES:
        n = components(found, asked)
        ax.plot([n, n, 0], [0, asked, asked], color=FAINT, lw=0.8, ls=":")
        ax.annotate(f"{n}", (n, asked), xytext=(4, -10), textcoords="offset points", fontsize=8, color=INK)
    ax.set(xlabel="principal components", ylabel="share of variance", ylim=(0, 1.02), xlim=(0, len(share) + 0.5))
    return to_png(figure)


def components(found: Exploration, share: float) -> int:
    """How many components it takes to explain that share."""
    return int(np.searchsorted(np.asarray(found.explained), share - 1e-12)) + 1


def variance_in_words(found: Exploration) -> list[str]:
    d = len(found.explained)
    n80, n90, n95 = (components(found, share) for share in SHARES)
    repeats = (
        "much of what is measured says the same" if n90 <= d / 3 else "most measurements say something of their own"
    )
    said = [
        f"{n90} of {d} components explain 90 % of the variance ({n80} explain 80 %, {n95} explain 95 %): {repeats}."
    ]
    if found.constant:
        said.append(f"The same everywhere, and so left out: {', '.join(found.constant)}.")
    return said


def silhouette(found: Exploration) -> bytes:
    figure, (ax,) = new_figure(2.6)
    ks, values = zip(*found.silhouettes, strict=True)
    ax.plot(ks, values, "o-", color=COLOURS[1], lw=1.5)
    ax.plot(found.k, dict(found.silhouettes)[found.k], "o", color=COLOURS[0], ms=9)
    ax.set(xlabel="clusters (k)", ylabel="mean silhouette", xticks=list(KS))
    ax.set_ylim(min(0.0, *values) - 0.02, max(values) * 1.15)
    ax.grid(axis="y", color="#eaeef2")
    return to_png(figure)


def silhouette_in_words(found: Exploration) -> list[str]:
    value = dict(found.silhouettes)[found.k]
    strength = next((word for least, word in STRENGTHS if value > least), "hardly any")
    sizes = np.bincount(found.cluster)[1:].tolist()
    said = [
        f"The silhouette is highest at k = {found.k} ({value:.2f}): {strength} structure. "
        f"The clusters hold {_listed(sizes)} segments."
    ]
    if max(sizes) > DOMINANT * sum(sizes):
        said.append("One of them holds nearly all: the others are the odd ones out, not kinds of content.")
    said += [_labels_in_words(found), _episodes_in_words(found)]
    return said


def _labels_in_words(found: Exploration) -> str:
    parts = []
    for by_people, who in ((True, "people's labels"), (False, "labels by the tags")):
        if (agreed := found.agreement(by_people=by_people)) is not None:
            parts.append(f"{agreed[0]:.2f} with {who} ({agreed[1]} segments)")
    if not parts:
        return "There are no two kinds of labels yet to compare the clusters with."
    return f"Adjusted Rand index (0 is chance, 1 the same): {' and '.join(parts)}."


def _episodes_in_words(found: Exploration) -> str:
    value = found.agreement_with_episodes()
    follows = "they follow the recording, not what is heard in it" if value > 0.3 else "they are not episodes"
    return f"With the episodes the clusters agree at {value:.2f}: {follows}."


def dbscan(found: Exploration) -> bytes:
    """Clusters and noise over eps."""
    figure, (left, right) = new_figure(2.6, columns=2)
    eps = [one.eps for one in found.swept]
    left.plot(eps, [one.clusters for one in found.swept], "o-", color=COLOURS[1])
    left.set(xlabel="eps", ylabel="clusters")
    left.yaxis.get_major_locator().set_params(integer=True)
    right.plot(eps, [one.noise for one in found.swept], "o-", color=COLOURS[0], label="noise")
    right.plot(eps, [one.largest for one in found.swept], "o-", color=COLOURS[1], label="largest cluster")
    right.set(xlabel="eps", ylabel="share of segments", ylim=(-0.03, 1.03))
    right.legend(frameon=False, fontsize=8)
    return to_png(figure)


def dbscan_in_words(found: Exploration) -> list[str]:
    if not found.swept:
        return ["Segments are equal to one another: there is no distance to sweep."]
    first, last = found.swept[0], found.swept[-1]
    said = (
        f"From eps {first.eps:.2f} to {last.eps:.2f} (a dense place has {NEIGHBOURS} segments within eps) the noise "
        f"falls from {first.noise:.0%} to {last.noise:.0%}, and the largest cluster grows from {first.largest:.0%} to "
        f"{last.largest:.0%} of the segments."
    )
    useful = [one for one in found.swept if one.clusters > 1 and one.noise < 0.5 and one.largest < DOMINANT]
    if not useful:
        return [
            said,
            "At no eps are there two clusters or more that hold half of the segments: nothing dense is apart.",
        ]
    best: Swept = min(useful, key=lambda one: one.noise)
    return [
        said,
        f"Several dense places are left at eps {best.eps:.2f}: {best.clusters} clusters, {best.noise:.0%} noise, the "
        f"largest with {best.largest:.0%}.",
    ]


def trees(found: Exploration) -> bytes:
    """The last joins of each tree."""
    figure, axes = new_figure(3.0, columns=len(found.trees))
    for ax, tree in zip(axes, found.trees, strict=True):
        for across, up in zip(tree.across, tree.up, strict=True):
            ax.plot(across, up, color=COLOURS[1], lw=1.0)
        ax.set_title(f"{tree.linkage} linkage", fontsize=10)
        ax.set_xticks([])
        ax.set_ylabel("distance at which clusters join", fontsize=8)
        ax.set_ylim(bottom=0)
    return to_png(figure)


def trees_in_words(found: Exploration) -> list[str]:
    return [
        "Each tree shows its last joins; a leaf is a cluster of segments.",
        *(_tree_in_words(tree, found.k) for tree in found.trees),
    ]


def _tree_in_words(tree: Tree, k: int) -> str:
    largest = tree.sizes[0] / sum(tree.sizes)
    shape = "it splits single segments off one large cluster" if largest > DOMINANT else "its branches are of like size"
    if 0.7 < largest <= DOMINANT:
        shape = "one branch holds most"
    return (
        f"{tree.linkage.capitalize()}, cut into {k}: {_listed(list(tree.sizes))} segments ({shape}); it agrees with "
        f"k-means at {tree.agreement:.2f} (adjusted Rand index) and keeps distances at a correlation of "
        f"{tree.cophenetic:.2f} (cophenetic)."
    )


def tsne(found: Exploration) -> bytes:
    """The map twice: by cluster, and by label; labels of people are filled, those of machines hollow."""
    figure, (by_cluster, by_label) = new_figure(4.4, columns=2)
    place, cluster = np.asarray(found.map), np.asarray(found.cluster)
    size = 14 if len(place) < 800 else 6
    for k in range(1, found.k + 1):
        rows = cluster == k
        by_cluster.scatter(*place[rows].T, s=size, color=MANY_COLOURS[k - 1], label=f"cluster {k}", linewidths=0)
    by_cluster.set_title("by cluster of k-means", fontsize=10)
    labels, people = np.array(found.label, dtype=object), np.asarray(found.by_people)
    unknown = np.array([label is None for label in found.label])
    by_label.scatter(*place[unknown].T, s=size, color="#d0d7de", label="no label", linewidths=0)
    for name, colour in LABEL_COLOURS.items():
        rows = labels == name
        by_label.scatter(*place[rows & people].T, s=size, color=colour, label=f"{name}, by people", linewidths=0)
        machine = rows & ~people
        by_label.scatter(
            *place[machine].T, s=size, facecolors="none", edgecolors=colour, linewidths=0.7, label=f"{name}, by tags"
        )
    by_label.set_title("by label", fontsize=10)
    for ax in (by_cluster, by_label):
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        handles, names = ax.get_legend_handles_labels()
        some = [(h, n) for h, n in zip(handles, names, strict=True) if len(h.get_offsets())]
        ax.legend(
            *zip(*some, strict=True), frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4
        )
    return to_png(figure)


def map_in_words(found: Exploration) -> list[str]:
    episodes, clusters = np.asarray(found.episode), np.asarray(found.cluster)
    said = (
        f"Of a segment's {NEAR} nearest on the map, {_near(found, clusters)} are of its cluster, "
        f"{_near(found, episodes)} of its own episode"
    )
    labels = np.array([label or "" for label in found.label])
    if len(set(labels) - {""}) > 1:
        said += f", {_near(found, labels)} have its label (none counted as one)"
    return [f"{said}. Places near each other sound alike; distances between far places mean nothing."]


def _near(found: Exploration, of: Array) -> str:
    by_chance = ((np.unique(of, return_counts=True)[1] / len(of)) ** 2).sum()
    return f"{found.alike_nearby(of):.0%} (by chance {by_chance:.0%})"


def _listed(sizes: list[int]) -> str:
    return " and ".join(filter(None, (", ".join(map(str, sizes[:-1])), str(sizes[-1]))))
