"""Which features matter, which say the same, and how the classes differ in each: numbers for the report."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from avlake.learn.compare import Comparison
from avlake.learn.frame import Frame
from avlake.learn.preparation import Prepared

Array = np.ndarray[Any, Any]
SAME = 0.8  # features whose |Spearman rho| is at least this say the same
REPEATS = 5


def explain(frame: Frame, comparison: Comparison, model: str, final: Prepared, *, seed: int = 0) -> dict[str, Any]:
    """Per feature: cluster, elimination rank, folds that kept it, permutation importance, difference of the classes.

    Returns:
        `features`: a list of records, most important first; `clusters`: likewise, with the names of their features, the
        most telling first; `threshold`: the |rho| from which features count as saying the same.
    """
    rho = spearman(frame.X)
    cluster = cluster_features(rho)
    single = _importance(frame, comparison, model, [np.array([i]) for i in range(len(frame.features))], seed)
    members = [np.flatnonzero(cluster == c) for c in range(cluster.max() + 1)]
    joint = _importance(frame, comparison, model, members, seed)
    kept = np.mean([fold.prepared[model].ranking == 1 for fold in comparison.folds], axis=0)
    effect = cohens_d(frame.X, frame.y)
    records = [
        {
            "feature": name,
            "cluster": int(cluster[i]),
            "rank": int(final.ranking[i]),
            "kept_in_folds": float(kept[i]),
            "importance": float(single[i].mean()),
            "importance_sd": float(single[i].std()),
            "cohens_d": float(effect[i]),
            "mean_by_class": [float(frame.X[frame.y == c, i].mean()) for c in (0, 1)],
        }
        for i, name in enumerate(frame.features)
    ]
    clusters = [
        {
            "cluster": c,
            "importance": float(joint[c].mean()),
            "importance_sd": float(joint[c].std()),
            "features": [frame.features[i] for i in sorted(rows, key=lambda i: -abs(effect[i]))],
        }
        for c, rows in enumerate(members)
    ]
    return {
        "features": sorted(records, key=lambda r: (-r["importance"], r["feature"])),
        "clusters": sorted(clusters, key=lambda c: (-c["importance"], c["cluster"])),
        "threshold": SAME,
    }


def spearman(X: Array) -> Array:
    """|Spearman rho| between columns of X (n, d), as (d, d); a constant column correlates with nothing."""
    ranks = rankdata(X, axis=0)
    ranks -= ranks.mean(axis=0)
    norm = np.sqrt((ranks**2).sum(axis=0))
    ranks /= np.where(norm > 0, norm, 1.0)
    rho: Array = np.clip(np.abs(ranks.T @ ranks), 0, 1)
    np.fill_diagonal(rho, 1.0)
    return rho


def cluster_features(rho: Array) -> Array:
    """Cluster number (from 0) of each feature: average linkage on 1 - |rho|, cut where mean |rho| falls below SAME."""
    if len(rho) < 2:
        return np.zeros(len(rho), dtype=int)
    tree = linkage(squareform(1 - rho, checks=False), method="average")
    numbers: Array = fcluster(tree, t=1 - SAME, criterion="distance") - 1
    return numbers


def cohens_d(X: Array, y: Array) -> Array:
    """Standardised difference of the classes' means per column, class 1 minus class 0 (Cohen 1988)."""
    a, b = X[y == 0].astype(np.float64), X[y == 1].astype(np.float64)
    pooled = np.sqrt(
        ((len(a) - 1) * a.var(axis=0, ddof=1) + (len(b) - 1) * b.var(axis=0, ddof=1)) / (len(a) + len(b) - 2)
    )
    d: Array = (b.mean(axis=0) - a.mean(axis=0)) / np.where(pooled > 0, pooled, np.inf)
    return d


def _importance(frame: Frame, comparison: Comparison, model: str, together: list[Array], seed: int) -> list[Array]:
    """Fall of the ROC-AUC per held-out window when columns are shuffled together (Breiman 2001), per fold, repeat."""
    rng = np.random.default_rng(seed)
    drops: list[list[float]] = [[] for _ in together]
    for fold in comparison.folds:
        ready, y = fold.prepared[model], frame.y[fold.held_out]
        X = ready.transform(frame.X[fold.held_out])
        if len(np.unique(y)) < 2:
            continue
        classifier, place = fold.fitted[model], {feature: i for i, feature in enumerate(ready.kept)}
        whole = roc_auc_score(y, classifier.predict_proba(X)[:, 1])
        for columns, drop in zip(together, drops, strict=True):
            used = [place[i] for i in columns if i in place]
            if not used:  # a feature that the fold did not keep cannot matter to it
                drop.append(0.0)
                continue
            shuffled = np.concatenate([X] * REPEATS)  # all repeats in one call: forests are slow to start
            for r in range(REPEATS):
                block = slice(r * len(X), (r + 1) * len(X))
                shuffled[block, used] = X[rng.permutation(len(X))][:, used]
            p = classifier.predict_proba(shuffled)[:, 1].reshape(REPEATS, len(X))
            drop.extend(whole - roc_auc_score(y, p[r]) for r in range(REPEATS))
    return [np.array(drop or [0.0]) for drop in drops]
