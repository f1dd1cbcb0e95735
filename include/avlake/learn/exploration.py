"""What an exploration found (see `avlake.learn.explore`), as it is kept and drawn."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score

Array = np.ndarray[Any, Any]

NEAR = 10  # neighbours on the map that are asked for their cluster, episode and label


@dataclass(frozen=True)
class Clusters:
    """k-means, as it can be applied to segments that it has not seen; clusters are numbered from 1, the largest first.

    `mean` and `scale` (d,) standardise, `centres` are (k, d) of what is standardised.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]

    def assign(self, X: Array) -> tuple[Array, Array]:
        """(n, d) features -> (n,) cluster and (n,) distance to its centre; 0 and NaN where a feature is missing."""
        Z = (X.astype(np.float64) - self.mean) / self.scale
        complete = np.isfinite(Z).all(axis=1)
        centres = np.asarray(self.centres)
        squared = (Z[complete] ** 2).sum(axis=1)[:, None] - 2 * Z[complete] @ centres.T + (centres**2).sum(axis=1)
        cluster, distance = np.zeros(len(X), np.int64), np.full(len(X), np.nan)
        cluster[complete] = squared.argmin(axis=1) + 1
        distance[complete] = np.sqrt(np.maximum(squared.min(axis=1), 0.0))
        return cluster, distance


@dataclass(frozen=True)
class Swept:
    """One eps of DBSCAN."""

    eps: float
    clusters: int
    noise: float  # share of segments in none
    largest: float  # share of segments in the largest


@dataclass(frozen=True)
class Tree:
    """Hierarchical clustering by one linkage, cut into as many clusters as k-means has.

    `across` and `up` are the strokes of the drawn tree, four points each, its last `LEAVES` joins.
    """

    linkage: str
    sizes: tuple[int, ...]  # falling
    cophenetic: float  # correlation of the heights at which two segments join with their distance
    agreement: float  # with k-means, adjusted Rand index
    across: tuple[tuple[float, ...], ...]
    up: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Exploration:
    """What was found; `n` below is `len(cluster)`, the segments looked at."""

    segments: int  # kept segments in the table
    episodes: int
    episodes_seen: int
    incomplete: int  # of those seen, segments left out because a feature is missing
    constant: tuple[str, ...]  # features left out because they are the same everywhere
    explained: tuple[float, ...]  # share of variance by the first components, rising to 1
    silhouettes: tuple[tuple[int, float], ...]  # by k
    clusters: Clusters
    regions: Clusters  # of the most clusters tried: what a batch to label is to cover
    swept: tuple[Swept, ...]
    trees: tuple[Tree, ...]
    map: tuple[tuple[float, float], ...]  # (n, 2) t-SNE
    cluster: tuple[int, ...]  # (n,) of k-means
    episode: tuple[int, ...]  # (n,) an episode's number
    label: tuple[str | None, ...]  # (n,)
    by_people: tuple[bool, ...]  # (n,) is that label a person's?

    @property
    def k(self) -> int:
        return len(self.clusters.centres)

    def agreement(self, *, by_people: bool) -> tuple[float, int] | None:
        """Adjusted Rand index of clusters and labels, people's or machines', and of how many; None under two classes.

        0 is chance, 1 the same partition (Hubert & Arabie 1985).
        """
        told = np.array([label is not None for label in self.label]) & (np.array(self.by_people) == by_people)
        labels = np.array(self.label, dtype=object)[told].astype(str)
        if len(np.unique(labels)) < 2:
            return None
        return float(adjusted_rand_score(labels, np.array(self.cluster)[told])), int(told.sum())

    def agreement_with_episodes(self) -> float:
        """Adjusted Rand index of clusters and episodes: high where clusters are of a recording, not of a content."""
        return float(adjusted_rand_score(self.episode, self.cluster))

    def alike_nearby(self, of: Array) -> float:
        """Share of the nearest neighbours on the map that are equal in `of` (n,)."""
        distances = squareform(pdist(np.asarray(self.map)))
        np.fill_diagonal(distances, np.inf)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEAR]
        return float((of[nearest] == of[:, None]).mean())

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Exploration:
        """What `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: if these bytes are nothing of the kind.
        """
        values = {name: _frozen(value) for name, value in json.loads(data).items()}
        values |= {name: Clusters(**values[name]) for name in ("clusters", "regions")}
        values["swept"] = tuple(Swept(**one) for one in values["swept"])
        values["trees"] = tuple(Tree(**one) for one in values["trees"])
        return cls(**values)


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(one) for one in value)
    return {name: _frozen(one) for name, one in value.items()} if isinstance(value, dict) else value
