"""Does a drop still look like what the model was trained on? Population stability per feature, judged against chance.

PSI = sum((p - q) ln(p / q)) over ten bins with equal shares in training; above 0.25 is a shift by convention (Siddiqi
2006). A drop is a few speakers, and a few speakers always differ from many: so the share of shifted features is
compared with what the training set's own speakers show when as many are drawn from it at random.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BINS = 10
PSI_SHIFTED = 0.25
DRAWS = 200
MAX_GROUPS = 200  # kept in a reference: enough for the null distribution, whatever the training set's size
UNKNOWN_RATE = 0.20  # above this share of unlabelled files, labels are the first thing to mend
BALANCE_SHIFT = 0.25


@dataclass(frozen=True)
class Reference:
    """The training distribution of the model's features: counts per speaker and bin, and who trained it."""

    features: tuple[str, ...]
    edges: Array  # (n_features, BINS - 1) inner bin edges: training quantiles
    counts: Array  # (n_groups, n_features, BINS) windows, of up to MAX_GROUPS groups
    groups: Array  # (n_all_groups,) names of all groups trained on
    class_share: float  # of class 1, per group

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            features=np.array(self.features),
            edges=self.edges,
            counts=self.counts,
            groups=self.groups,
            class_share=self.class_share,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Reference:
        with np.load(io.BytesIO(data), allow_pickle=False) as z:
            features = tuple(str(name) for name in z["features"])
            return cls(features, z["edges"], z["counts"], z["groups"], float(z["class_share"]))


@dataclass(frozen=True)
class Drift:
    """One drop against the training distribution."""

    drop: str
    windows: int
    groups: int
    new_groups: int
    shifted_share: float  # of features with PSI > 0.25
    chance_share: float  # 95th percentile of that share among as many training speakers drawn at random
    most_shifted: tuple[tuple[str, float], ...]  # feature, PSI
    class_share: float | None  # of class 1 among labelled groups
    unknown_rate: float  # share of windows without a label
    verdict: str  # steady | watch | retrain
    why: str


def make_reference(X: Array, features: Sequence[str], y: Array, group: Array) -> Reference:
    """Describe training windows X (n, n_features) with classes y and groups."""
    edges = np.quantile(X, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T
    names, first = np.unique(group, return_index=True)
    kept = np.linspace(0, len(names) - 1, min(len(names), MAX_GROUPS)).round().astype(int)
    counts = np.stack([histogram(X[group == names[i]], edges) for i in kept])
    return Reference(tuple(features), edges.astype(np.float32), counts.astype(np.int32), names, float(y[first].mean()))


def histogram(X: Array, edges: Array) -> Array:
    """(n_features, BINS) counts of the windows of X (n, n_features) between `edges`."""
    counts = np.zeros((len(edges), BINS))
    for j, cut in enumerate(edges):
        counts[j] = np.bincount(np.searchsorted(cut, X[:, j], side="right"), minlength=BINS)
    return counts


def psi(observed: Array, expected: Array) -> Array:
    """Population stability index per row of two (..., n_features, BINS) counts; half a count is added to empty bins."""
    p, q = ((c + 0.5) / (c + 0.5).sum(axis=-1, keepdims=True) for c in (observed, expected))
    index: Array = ((p - q) * np.log(p / q)).sum(axis=-1)
    return index


def measure_drift(
    reference: Reference, drop: str, X: Array, group: Array, y: Array, *, trained_on: bool = False, seed: int = 0
) -> Drift:
    """Compare one drop's windows with the reference.

    Args:
        X: (n, n_features) in the reference's order.
        y: (n,) class, or -1 where the label is unknown.
        trained_on: whether the drop is part of the training set, which then speaks only for its label rates.
    """
    expected = reference.counts.sum(axis=0)
    index = psi(histogram(X, reference.edges), expected)
    names, first = np.unique(group, return_index=True)
    new = int((~np.isin(names, reference.groups)).sum())
    share, chance = float((index > PSI_SHIFTED).mean()), _chance(reference, len(names), seed)
    known = y[first][y[first] >= 0]
    class_share = float(known.mean()) if len(known) else None
    unknown = float((y < 0).mean())
    worst = np.argsort(-index, kind="stable")[:5]
    verdict, why = _judge(share, chance, class_share, reference.class_share, unknown, new, trained_on)
    most = tuple((reference.features[j], float(index[j])) for j in worst)
    return Drift(drop, len(X), len(names), new, share, chance, most, class_share, unknown, verdict, why)


def _chance(reference: Reference, n_groups: int, seed: int) -> float:
    """The share of shifted features that 95 % of random draws of `n_groups` training groups stay below."""
    rng = np.random.default_rng(seed)
    whole, available = reference.counts.sum(axis=0), len(reference.counts)
    size = max(1, min(n_groups, available // 2))
    shares = []
    for _ in range(DRAWS):
        drawn = reference.counts[rng.choice(available, size, replace=False)].sum(axis=0)
        shares.append(
            (psi(drawn, whole - drawn) > PSI_SHIFTED).mean()
        )  # against the others: a new speaker is in neither
    return float(np.quantile(shares, 0.95))


def _judge(
    share: float, chance: float, class_share: float | None, usual: float, unknown: float, new: int, trained_on: bool
) -> tuple[str, str]:
    said = (
        f"{share:.0%} of the features have PSI > {PSI_SHIFTED}; "
        f"as many training speakers drawn at random stay below {chance:.0%}"
    )
    if share > chance and not trained_on:
        return "retrain", f"{said}: this drop does not sound like the training set. Label it, add it and train again."
    if unknown > UNKNOWN_RATE:
        return "watch", f"{unknown:.0%} of the windows have no label: mend the labels before training on this drop."
    if class_share is not None and abs(class_share - usual) > BALANCE_SHIFT:
        return (
            "watch",
            f"{class_share:.0%} of its speakers are of the second class against {usual:.0%} in training. {said}.",
        )
    if trained_on:
        return "steady", f"{said}. The model was trained on this drop."
    return "steady", f"{said}. {new} new speakers: training again adds evidence but is not urgent."
