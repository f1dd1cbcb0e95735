"""The report's questions, answered in sentences whose every figure is computed from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avlake.learn.card import interval
from avlake.learn.compare import loss_by_group
from avlake.learn.drift import Drift
from avlake.learn.frame import Frame
from avlake.learn.metrics import Score, Scored, at_level, predicted

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Findings:
    """All that the answers are computed from."""

    description: Mapping[str, Any]  # features.json
    scores: Mapping[tuple[str, str], Mapping[str, Score]]  # (model, split) -> metric -> score
    explanation: Mapping[str, Any]
    frame: Frame  # labelled windows of gold
    seconds: Array  # (n_windows,) their length
    held_out: Mapping[str, Scored]  # by candidate
    drift: Sequence[Drift]
    quarantined: int
    unknown: int  # windows without a label

    @property
    def chosen(self) -> str:
        return str(self.description["model"])

    @property
    def scheme(self) -> str:
        return str(self.description["scheme"])

    def score(self, model: str, metric: str, split: str | None = None) -> Score:
        return self.scores[model, split or self.scheme][metric]

    def column(self, feature: str) -> Array:
        return self.frame.columns([feature])[:, 0]


def answer_all(f: Findings) -> list[tuple[str, list[str]]]:
    """(question, sentences), in the order of the report."""
    return [
        ("How were the features extracted?", _extraction(f)),
        ("Which features matter?", _matter(f)),
        ("Which features say the same?", _overlap(f)),
        ("What was unexpected?", _unexpected(f)),
        ("What is wrong with the features?", _wrong(f)),
        ("Which model wins, and by how much?", _winner(f)),
        ("When is a simpler model the better choice?", _simpler(f)),
        ("What is the model good for?", _good_for(f)),
    ]


def _extraction(f: Findings) -> list[str]:
    (measured,) = f.description["measured"].values()
    params = measured["params"]
    said = ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in params.items()
    )
    windows_of = np.unique(f.frame.item, return_counts=True)[1]
    low, middle, high = np.quantile(f.seconds, (0.05, 0.5, 0.95))
    return [
        f"{measured['extractor']} measured {len(f.frame.features)} features in each of {len(f.frame)} labelled windows "
        f"of {len(windows_of)} files ({said or 'no parameters'}; identity {measured['params_hash']}).",
        f"A window is {middle:.1f} s long at the median, {low:.1f} to {high:.1f} s for nine in ten; "
        f"{(windows_of == 1).mean():.0%} of the files are a single window.",
        f"Not learned from: {f.quarantined} files or archives that could not be read or measured, and {f.unknown} "
        "windows without a label.",
    ]


def _matter(f: Findings) -> list[str]:
    clusters, features = f.explanation["clusters"], f.explanation["features"]
    lead = [f"{_name(c)} ({c['importance']:.3f} ± {c['importance_sd']:.3f})" for c in clusters[:3]]
    stable = sum(r["kept_in_folds"] == 1 for r in features)
    widest = max(features, key=lambda r: abs(r["cohens_d"]))
    none = sum(c["importance"] <= 0.001 for c in clusters)
    offers = (
        ""
        if f.description["settings"]["features"] == "all"
        else (
            f" The best settings offer only the set '{f.description['settings']['features']}', "
            f"{sum(r['rank'] > 0 for r in features)} of {len(features)} features: the rest made unseen speakers harder."
        )
    )
    return [
        f"Shuffling a group of like features costs the most ROC-AUC on held-out windows for {', then '.join(lead)}.",
        f"{none} of {len(clusters)} groups cost less than 0.001: the others stand in for them.",
        f"Elimination kept {len(f.description['features'])} features, {stable} of them in every fold.{offers}",
        f"Taken alone, {widest['feature']} separates the classes most: their means are {abs(widest['cohens_d']):.1f} "
        f"deviations apart ({widest['mean_by_class'][0]:.3g} for {f.description['classes'][0]}, "
        f"{widest['mean_by_class'][1]:.3g} for {f.description['classes'][1]}).",
    ]


def _overlap(f: Findings) -> list[str]:
    clusters = f.explanation["clusters"]
    groups = sorted((c for c in clusters if len(c["features"]) > 1), key=lambda c: -len(c["features"]))
    said = [
        f"{len(f.frame.features)} features say {len(clusters)} different things: "
        f"{sum(len(c['features']) for c in groups)} fall into {len(groups)} groups whose mean "
        f"|Spearman rho| is at least {f.explanation['threshold']}."
    ]
    return said + [
        f"{len(c['features'])} alike: {', '.join(c['features'][:8])}{' and others' if len(c['features']) > 8 else ''}."
        for c in groups[:5]
    ]


def _unexpected(f: Findings) -> list[str]:
    honest, leaky = (f.score(f.chosen, "file_balanced_accuracy", split) for split in (None, "leaky_random"))
    features = f.explanation["features"]
    telling = [r for r in features if abs(r["cohens_d"]) >= 0.8 and r["importance"] <= 0.001]
    quiet = [r for r in features if abs(r["cohens_d"]) < 0.2 and r["importance"] > 0.001]
    hard = hardest(f)
    said = [
        f"Splitting windows at random would have claimed {leaky.value:.3f} balanced accuracy per file; on speakers "
        f"never heard it is {interval(honest)}: {leaky.value - honest.value:.3f} of that is knowing the speaker.",
        f"{len(telling)} features separate the classes widely (|d| ≥ 0.8) and yet cost nothing when shuffled alone"
        + (f", such as {', '.join(r['feature'] for r in telling[:3])}" if telling else "")
        + f"; {len(quiet)} hardly separate them (|d| < 0.2) and yet help"
        + (f", such as {', '.join(r['feature'] for r in quiet[:3])}." if quiet else "."),
    ]
    if hard:
        said.append("Wrong as a whole: " + "; ".join(hard) + ".")
    else:
        said.append("No held-out speaker is wrong as a whole.")
    return said


def hardest(f: Findings, shown: int = 5) -> list[str]:
    """Held-out speakers whose pooled label is wrong, with the widest-apart feature's value beside what is usual."""
    lead = max(f.explanation["features"], key=lambda r: abs(r["cohens_d"]))
    values, speakers = f.column(lead["feature"]), at_level(f.held_out[f.chosen], "speaker")
    said = []
    for i in np.flatnonzero(predicted(speakers.p) != speakers.y)[:shown]:
        name, truth = speakers.group[i], f.description["classes"][speakers.y[i]]
        own = float(np.median(values[f.frame.group == name]))
        usual = float(np.median(values[f.frame.y == speakers.y[i]]))
        said.append(f"{name} ({truth}; {lead['feature']} {own:.3g}, usual for {truth} {usual:.3g})")
    return said


def _wrong(f: Findings) -> list[str]:
    X = f.frame.X
    flat = [name for name, spread in zip(f.frame.features, X.std(axis=0), strict=True) if spread == 0]
    zero = [
        (name, share) for name, share in zip(f.frame.features, (X == 0).mean(axis=0), strict=True) if 0.02 <= share < 1
    ]
    spread = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    extreme = (np.abs(X - X.mean(axis=0)) / spread > 6).mean(axis=0)
    wild = [f.frame.features[i] for i in np.argsort(-extreme)[:4] if extreme[i] > 0]
    within = _speaker_share(f)
    said = [f"Constant: {len(flat)}" + (f" ({', '.join(flat[:4])})" if flat else "") + "."]
    if zero:
        worst = sorted(zero, key=lambda z: -z[1])[:4]
        said.append(
            f"Exactly 0 in 2 % of the windows or more: {len(zero)}, {', '.join(f'{n} ({s:.0%})' for n, s in worst)}."
        )
    if wild:
        said.append(f"With values beyond six deviations: {int((extreme > 0).sum())}, most often {', '.join(wild)}.")
    said.append(
        f"They know the speaker: within one class, {np.median(within):.0%} of a feature's variance (median) lies "
        f"between speakers, so {len(f.frame)} windows are nearer to {len(np.unique(f.frame.group))} pieces of "
        f"evidence; most so {', '.join(f.frame.features[i] for i in np.argsort(-within)[:3])}."
    )
    return said


def _speaker_share(f: Findings) -> Array:
    """(n_features,) share of the within-class variance that lies between speakers (eta squared)."""
    _, code = np.unique(f.frame.group, return_inverse=True)
    counts = np.bincount(code)
    centred = f.frame.X.astype(np.float64)
    for label in (0, 1):
        centred[f.frame.y == label] -= centred[f.frame.y == label].mean(axis=0)
    means = np.stack([np.bincount(code, weights=column) for column in centred.T], axis=1) / counts[:, None]
    total = (centred**2).sum(axis=0)
    share: Array = (counts[:, None] * means**2).sum(axis=0) / np.where(total > 0, total, np.inf)
    return share


def _winner(f: Findings) -> list[str]:
    metric = "file_balanced_accuracy"
    ranked = sorted(f.held_out, key=lambda name: -f.score(name, metric).value)
    each = "; ".join(f"{name.replace('_', ' ')} {interval(f.score(name, metric))}" for name in ranked)
    gap = f.score(ranked[0], metric).value - f.score(ranked[1], metric).value
    speaker, auc = f.score(f.chosen, "speaker_balanced_accuracy"), f.score(f.chosen, "file_roc_auc")
    return [
        f"Balanced accuracy per file on held-out speakers: {each}. Always the majority: "
        f"{f.score('always_the_majority', metric).value:.3f}.",
        f"{ranked[0].replace('_', ' ')} leads by {gap:.3f}, far less than an interval is wide: with "
        f"{len(np.unique(f.frame.group))} speakers accuracy alone does not tell the models apart.",
        f"Chosen is {f.chosen.replace('_', ' ')}: {interval(speaker)} per speaker, ROC-AUC {interval(auc)} per file.",
    ]


def _simpler(f: Findings) -> list[str]:
    loss = {name: loss_by_group(held_out) for name, held_out in f.held_out.items()}
    best = min(loss, key=lambda name: float(loss[name].mean()))
    said = [
        "When its log loss per file, each speaker counting once, is within one standard error (paired, over speakers) "
        f"of the best, which is {best.replace('_', ' ')} with {loss[best].mean():.3f}."
    ]
    for name in (name for name in loss if name != best):
        worse = loss[name] - loss[best]
        said.append(
            f"{name.replace('_', ' ')}: {worse.mean():+.3f}, standard error "
            f"{worse.std(ddof=1) / np.sqrt(len(worse)):.3f}; balanced accuracy per file "
            f"{f.score(name, 'file_balanced_accuracy').value:.3f}."
        )
    order = list(loss)
    if order.index(f.chosen) == 0:
        return [*said, f"So {f.chosen.replace('_', ' ')}, the simplest of all, is chosen."]
    return [
        *said,
        f"So {f.chosen.replace('_', ' ')} is chosen; {order[0].replace('_', ' ')} is the better choice only where "
        "coefficients that can be read matter more than that.",
    ]


def _good_for(f: Findings) -> list[str]:
    held_out = f.held_out[f.chosen]
    files, speakers = at_level(held_out, "file"), at_level(held_out, "speaker")
    right, sure = predicted(files.p) == files.y, np.maximum(files.p, 1 - files.p) >= 0.9
    length = dict(zip(zip(f.frame.item, f.frame.group, strict=True), f.seconds, strict=True))
    own = np.array([length.get((i, g), np.nan) for i, g in zip(files.item, files.group, strict=True)])
    short = own < 2.0
    said = [
        f"Of {len(files.y)} held-out files {right.mean():.1%} are right, and "
        f"{(predicted(speakers.p) == speakers.y).sum()} of {len(speakers.y)} speakers when all their files are heard.",
        f"{sure.mean():.0%} of the files get a probability of 0.9 or more; {right[sure].mean():.1%} of those are right"
        + (f", against {right[~sure].mean():.1%} of the others." if (~sure).any() else "."),
    ]
    if short.any() and (~short).any():
        said.append(
            f"Files whose first window is shorter than 2 s: {right[short].mean():.1%} right; "
            f"longer ones: {right[~short].mean():.1%}."
        )
    shifted = [d.drop for d in f.drift if d.verdict == "retrain"]
    said.append(
        f"Retrain before using it on {', '.join(shifted)}." if shifted else "No drop here asks for training again."
    )
    return said


def _name(cluster: Mapping[str, Any]) -> str:
    others = len(cluster["features"]) - 1
    return f"{cluster['features'][0]}{f' and {others} alike' if others else ''}"
