"""What a gold table of segments looks like to who knows no labels: components, clusters, trees, a map.

Everything is computed on standardised features of what a segment sounds like; tags stay out, so that what they say can
be compared with what is found. A table that is too large is looked at in part: whole episodes in the order of their
ids, which are hashes and so as good as random, as many as fit into `MOST_SEGMENTS`. Seeds are fixed and one thread
computes: the same table gives the same exploration.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.cluster.hierarchy import cophenet, dendrogram, fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from avlake.learn.exploration import Clusters, Exploration, Swept, Tree

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, Any]

VERSION = 1
MOST_SEGMENTS = 2_000  # their map takes 10 s, and all their distances 32 MB
LEAST_SEGMENTS = 24  # fewer say nothing
KS = range(2, 11)
NEIGHBOURS = 5  # a dense place of DBSCAN has so many segments, itself among them, within eps
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # of the distance to that neighbour: each is an eps to try
LINKAGES = ("ward", "median")
LEAVES = 30  # of a drawn tree
PERPLEXITY, STEPS = 30.0, 500  # of t-SNE
NO_FEATURES = ("tag_", "start_s", "end_s")  # columns of numbers with a fraction that do not say what is heard


def sound_features(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The columns of a table of segments that say what is heard in one, tags excepted."""
    described = con.execute(f"DESCRIBE {table}").fetchall()
    return [name for name, kind, *_ in described if kind == "FLOAT" and not name.startswith(NO_FEATURES)]


def explore(con: duckdb.DuckDBPyConnection, table: str, *, without: Collection[str] = ()) -> Exploration | None:
    """Explore the kept segments of a gold table; None where there are too few to say anything.

    Args:
        con: where the table is, with file_id, segment_index, kept, label, label_source and the features.
        without: file_ids that are not to be looked at.
    """
    features = sound_features(con, table)
    chosen = ", ".join(f'"{name}"' for name in features)
    left = f"SELECT * FROM {table} WHERE kept AND NOT list_contains(?::VARCHAR[], file_id)"
    out = sorted(without)
    counted = con.execute(f"SELECT count(*), count(DISTINCT file_id) FROM ({left})", [out]).fetchall()[0]
    if not features or counted[0] < LEAST_SEGMENTS:
        return None
    found = con.execute(
        f"""WITH kept_segments AS ({left}),
            episodes AS (SELECT file_id, count(*) AS n FROM kept_segments GROUP BY file_id HAVING n <= {MOST_SEGMENTS}),
            seen AS (SELECT file_id FROM episodes QUALIFY sum(n) OVER (ORDER BY file_id) <= {MOST_SEGMENTS})
        SELECT dense_rank() OVER (ORDER BY file_id) - 1 AS episode, label, label_source, {chosen}
        FROM kept_segments SEMI JOIN seen USING (file_id) ORDER BY file_id, segment_index""",
        [out],
    ).fetchnumpy()
    X = np.column_stack([np.ma.filled(found[name].astype(np.float64), np.nan) for name in features])
    complete = np.isfinite(X).all(axis=1)
    X = X[complete]
    varies = X.std(axis=0) > 1e-9 * (1 + np.abs(X.mean(axis=0))) if len(X) else np.zeros(len(features), bool)
    if len(X) < LEAST_SEGMENTS or _different(X) <= KS[0]:
        return None
    sources = np.ma.filled(np.ma.asarray(found["label_source"]), None)[complete]
    with threadpool_limits(1):
        return _explore(
            X[:, varies],
            tuple(name for name, does in zip(features, varies, strict=True) if does),
            segments=counted[0],
            episodes=counted[1],
            episodes_seen=len(np.unique(found["episode"])),
            incomplete=int((~complete).sum()),
            constant=tuple(name for name, does in zip(features, varies, strict=True) if not does),
            episode=tuple(found["episode"][complete].tolist()),
            label=tuple(np.ma.filled(np.ma.asarray(found["label"]), None)[complete].tolist()),
            by_people=tuple(source is not None and source != "machine" for source in sources),
        )


def _explore(X: Array, features: tuple[str, ...], **known: Any) -> Exploration:
    mean, scale = X.mean(axis=0), X.std(axis=0)
    Z = (X - mean) / scale
    pca = PCA(random_state=0, svd_solver="full").fit(Z)
    apart = pdist(Z)
    distances = squareform(apart)
    silhouettes, fits = _k_means(Z, distances)
    best, most = (
        _clusters(fits[k], features, mean, scale) for k in (max(fits, key=silhouettes.__getitem__), max(fits))
    )
    cluster, _ = best.assign(X)
    return Exploration(
        explained=_floats(np.minimum(np.cumsum(pca.explained_variance_ratio_), 1.0)),
        silhouettes=tuple(silhouettes.items()),
        clusters=best,
        regions=most,
        swept=tuple(_sweep(distances)),
        trees=tuple(_tree(Z, apart, method, len(best.centres), cluster) for method in LINKAGES),
        map=tuple(_map(Z, pca)),
        cluster=tuple(cluster.tolist()),
        **known,
    )


def _different(rows: Array) -> int:
    return len(np.unique(rows, axis=0))


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _k_means(Z: Array, distances: Array) -> tuple[dict[int, float], dict[int, KMeans]]:
    """By k, the mean silhouette (Rousseeuw 1987) and the fit; for as many as there are different segments."""
    fits = {k: KMeans(k, n_init=10, random_state=0).fit(Z) for k in KS if k < _different(Z)}
    return {k: float(silhouette_score(distances, fit.labels_, metric="precomputed")) for k, fit in fits.items()}, fits


def _clusters(fit: KMeans, features: tuple[str, ...], mean: Array, scale: Array) -> Clusters:
    order = np.argsort(-np.bincount(fit.labels_), kind="stable")
    return Clusters(features, _floats(mean), _floats(scale), tuple(_floats(c) for c in fit.cluster_centers_[order]))


def _sweep(distances: Array) -> list[Swept]:
    near = np.sort(distances, axis=1)[:, NEIGHBOURS - 1]
    found = []
    for eps in dict.fromkeys(round(float(q), 6) for q in np.quantile(near, QUANTILES)):
        if eps > 0:
            labels = DBSCAN(eps=eps, min_samples=NEIGHBOURS, metric="precomputed").fit(distances).labels_
            sizes = np.bincount(labels[labels >= 0], minlength=1)
            clusters = int(labels.max()) + 1
            found.append(Swept(eps, clusters, float((labels < 0).mean()), float(sizes.max() / len(labels))))
    return found


def _tree(Z: Array, apart: Array, method: str, k: int, cluster: Array) -> Tree:
    joins = linkage(Z, method)
    cut = fcluster(joins, k, criterion="maxclust")
    drawn = dendrogram(joins, p=LEAVES, truncate_mode="lastp", no_plot=True)
    return Tree(
        method,
        tuple(sorted(np.bincount(cut)[1:].tolist(), reverse=True)),
        float(np.corrcoef(cophenet(joins), apart)[0, 1]),
        float(adjusted_rand_score(cut, cluster)),
        tuple(_floats(stroke) for stroke in drawn["icoord"]),
        tuple(_floats(stroke) for stroke in drawn["dcoord"]),
    )


def _map(Z: Array, pca: PCA) -> list[tuple[float, float]]:
    """t-SNE (van der Maaten & Hinton 2008) of the components that explain 90 %."""
    enough = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), 0.9)) + 1
    components = pca.transform(Z)[:, : max(enough, 2)]
    if components.shape[1] < 2:
        components = np.column_stack([components, np.zeros(len(Z))])
    perplexity = min(PERPLEXITY, (len(Z) - 1) / 3)
    placed = TSNE(perplexity=perplexity, max_iter=STEPS, init="pca", random_state=0, n_jobs=1)
    return [(float(x), float(y)) for x, y in placed.fit_transform(components)]


def assign(con: duckdb.DuckDBPyConnection, table: str, clusters: Clusters) -> pa.Table:
    """The cluster of every kept segment: file_id, segment_index, cluster (NULL where a feature is missing), distance.

    Raises:
        KeyError: if the table lacks a feature.
    """
    chosen = ", ".join(f'"{name}"' for name in clusters.features)
    reader = con.execute(
        f"SELECT file_id, segment_index, {chosen} FROM {table} WHERE kept ORDER BY file_id, segment_index"
    ).to_arrow_reader(100_000)
    parts = []
    for batch in reader:
        X = np.column_stack([batch[name].to_numpy(zero_copy_only=False) for name in clusters.features])
        cluster, distance = clusters.assign(X)
        parts.append(
            pa.table(
                {
                    "file_id": batch["file_id"],
                    "segment_index": batch["segment_index"],
                    "cluster": pa.array(cluster, pa.int64(), mask=cluster == 0),
                    "distance": pa.array(distance, pa.float64(), mask=cluster == 0),
                }
            )
        )
    return pa.concat_tables(parts) if parts else pa.table({name: [] for name in ("file_id", "segment_index")})
