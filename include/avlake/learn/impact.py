"""Does learning from the clips that were kept beat learning from all of them? The statistics, whatever the features.

Several trials, one per seed. Each holds out a share of every speaker's source videos, the same for all arms, and each
arm learns from the clips of the other videos:

- `all`: every clip;
- `kept`: the kept ones;
- `random`: of every speaker as many clips as were kept, drawn from all of them. What is left of a difference is due to
  which clips were kept, not to how many, nor to how many of whom. Each of the draws goes through all trials, as the
  kept clips do, so that a draw may be as lucky over the seeds as they may be.

All held-out clips are tested on, good or bad: that is what a model meets, and testing on kept ones would favour the arm
that learned from their like. Only speakers that every arm can learn are in the task, for all arms alike.

An interval resamples source videos, since clips of one are not independent, with the same draw for all arms and trials
(paired; Efron & Tibshirani 1993, ch. 8), and is widened for few videos (the expanded percentile interval of Hesterberg
2015, The American Statistician 69:371). A difference to `kept` also depends on which clips happened to be kept: how
much, the draws show. Their variance beyond what the tested videos explain (method of moments, as for random effects in
DerSimonian & Laird 1986) is part of the interval: without it a random 5 % of the clips of many videos had an "effect"
in 28 % of made-up worlds, with it in 5 to 7 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, Any]
Classify = Callable[[Array, Array, Array], Array]  # (learned X, learned y, unseen X) -> said y

ARMS = ("all", "kept", "random")
METRICS = ("accuracy", "weighted_f1")
COMPARISONS = (("kept", "all"), ("kept", "random"))
HELPS, HURTS, NOTHING = "helps", "hurts", "no effect shown"
LEVEL = 0.95


@dataclass(frozen=True)
class Design:
    """How much is tried; `seed` decides every random choice."""

    seeds: int = 10
    draws: int = 20  # of the random arm, at least two
    test_share: float = 1 / 3  # of each speaker's source videos
    replicates: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Clips:
    """The clips of the task."""

    X: Array  # (n, n_features)
    y: Array  # (n,) speaker, 0 to n_speakers - 1
    video: Array  # (n,) source video, 0 to n_videos - 1; near duplicates of one another are of one
    kept: Array  # (n,) bool


@dataclass(frozen=True)
class Trial:
    """One seed: what was held out, and what each arm said of it."""

    test: Array  # (n_test,) rows of the clips
    learned: dict[str, int]  # clips learned from, by arm
    said: Array  # (2 + draws, n_test) speakers: by `all`, by `kept`, by each draw


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """A difference in words."""
        return HELPS if self.low > 0 else HURTS if self.high < 0 else NOTHING


def comparable(y: Array, video: Array, kept: Array, *, min_videos: int, min_clips: int) -> Array:
    """(n_speakers,) bool: who has so many source videos and clips among the kept ones, so that every arm can learn."""
    speakers = int(y.max()) + 1 if len(y) else 0
    pairs = np.unique(np.column_stack([y[kept], video[kept]]), axis=0)
    videos = np.bincount(pairs[:, 0].astype(np.intp), minlength=speakers)
    enough: Array = (videos >= min_videos) & (np.bincount(y[kept], minlength=speakers) >= min_clips)
    return enough


def hold_out(clips: Clips, share: float, rng: np.random.Generator) -> Array:
    """(n_videos,) bool: the videos to test on, about `share` of each speaker's and at least one where that can be.

    Every speaker keeps a video to learn from, one with kept clips.
    """
    n_videos, n_speakers = int(clips.video.max()) + 1, int(clips.y.max()) + 1
    there, kept = (np.zeros((n_videos, n_speakers), dtype=int) for _ in range(2))
    there[clips.video, clips.y] = 1
    kept[clips.video[clips.kept], clips.y[clips.kept]] = 1
    videos, left = there.sum(axis=0), kept.sum(axis=0)
    wanted = np.clip(np.round(share * videos).astype(int), 1, np.maximum(videos - 1, 0))
    chosen = np.zeros(n_videos, dtype=bool)
    for i in rng.permutation(n_videos):
        who = there[i] == 1
        if (wanted[who] > 0).all() and (left[who] - kept[i, who] > 0).all():
            chosen[i] = True
            wanted, left = wanted - there[i], left - kept[i]
    return chosen


def try_all(
    clips: Clips, classify: Classify, design: Design, progress: Callable[[int], None] = lambda done: None
) -> list[Trial]:
    """Every seed with every arm: `seeds` x (2 + `draws`) fits; `progress` is told how many seeds are done."""
    order = np.random.default_rng([design.seed, 0]).random((design.draws, len(clips.y)))
    trials = []
    for seed in range(design.seeds):
        tested = hold_out(clips, design.test_share, np.random.default_rng([design.seed, 1, seed]))[clips.video]
        test, learn = np.flatnonzero(tested), np.flatnonzero(~tested)
        kept = learn[clips.kept[learn]]
        arms = [learn, kept, *(_drawn(clips.y, learn, kept, keys) for keys in order)]
        said = [classify(clips.X[rows], clips.y[rows], clips.X[test]) for rows in arms]
        trials.append(Trial(test, dict(zip(ARMS, map(len, arms), strict=False)), np.stack(said)))
        progress(seed + 1)
    return trials


def _drawn(y: Array, learn: Array, kept: Array, keys: Array) -> Array:
    """Of `learn` as many clips of every speaker as `kept` has: those with the smallest keys."""
    wanted = np.bincount(y[kept], minlength=int(y.max()) + 1)
    ordered = learn[np.lexsort((keys[learn], y[learn]))]
    speakers = y[ordered]
    place = np.arange(len(ordered)) - np.searchsorted(speakers, speakers)
    return np.sort(ordered[place < wanted[speakers]])


def figures(clips: Clips, trials: Sequence[Trial], scored: Array, design: Design) -> dict[str, Interval]:
    """Each metric of each arm and each difference, such as `accuracy_kept_minus_all`, over all trials together.

    Args:
        scored: (n,) bool, which of the tested clips count.
    """
    rows = np.concatenate([t.test for t in trials])
    counted = scored[rows]
    rows, said = rows[counted], np.concatenate([t.said for t in trials], axis=1)[:, counted]
    videos, video = np.unique(clips.video[rows], return_inverse=True)
    rng = np.random.default_rng([design.seed, 2])
    drawn = rng.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), size=design.replicates)
    weights = np.vstack([np.ones(len(videos)), drawn])  # the first row is the sample itself
    found = np.stack([_metrics(video, clips.y[rows], arm, weights) for arm in said])
    draws = found[2:]
    by_arm = dict(zip(ARMS, (found[0], found[1], draws.mean(axis=0)), strict=True))
    gaps = {"all": found[1] - found[0], "random": (found[1] - draws).mean(axis=0)}  # exactly 0 where all arms agree
    lucky = _luck(draws)
    n = len(videos)
    result = {}
    for i, metric in enumerate(METRICS):
        for arm, values in by_arm.items():
            result[f"{metric}_{arm}"] = _interval(values[i], n)
        for one, other in COMPARISONS:
            # A mean over draws is itself only as sure as there are draws.
            spread = lucky[i] * np.sqrt(1 + (1 / design.draws if other == "random" else 0))
            values = gaps[other][i]
            values[1:] += spread * rng.standard_t(design.draws - 1, size=design.replicates)
            result[f"{metric}_{one}_minus_{other}"] = _interval(values, n)
    return result


def _luck(draws: Array) -> Array:
    """(n_metrics,) deviation between draws that would be left with endlessly many tested videos.

    Args:
        draws: (draws, n_metrics, 1 + replicates).
    """
    n = len(draws)
    apart = draws - draws.mean(axis=0)
    seen = apart[:, :, 0].var(axis=0, ddof=1)
    by_test = apart[:, :, 1:].var(axis=2).mean(axis=0) * n / (n - 1)
    left: Array = np.sqrt(np.maximum(seen - by_test, 0))
    return left


def _metrics(video: Array, y: Array, said: Array, weights: Array) -> Array:
    """(n_metrics, n_weights) accuracy and support-weighted F1, each video counted as often as its weight says."""
    n_videos, n_speakers = weights.shape[1], int(max(y.max(), said.max())) + 1

    def by_speaker(speakers: Array, which: Array) -> Array:
        counts = np.bincount(video[which] * n_speakers + speakers[which], minlength=n_videos * n_speakers)
        weighted: Array = weights @ counts.reshape(n_videos, n_speakers).astype(np.float64)
        return weighted

    everything = np.ones(len(y), dtype=bool)
    hits, support, named = by_speaker(y, y == said), by_speaker(y, everything), by_speaker(said, everything)
    f1 = 2 * hits / np.maximum(support + named, 1)
    return np.stack([hits.sum(axis=1), (support * f1).sum(axis=1)]) / support.sum(axis=1)


def _interval(values: Array, n: int) -> Interval:
    """The expanded percentile interval of replicates (the first value is the sample's own) over `n` videos."""
    tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - LEVEL) / 2, n - 1)) if n > 1 else 0.0
    low, high = np.quantile(values[1:], (tail, 1 - tail)).tolist()
    return Interval(float(values[0]), low, high)


def per_trial(clips: Clips, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The figures of each seed, for who wants to see how much they differ: counts, and metrics by arm."""
    rows = []
    for seed, trial in enumerate(trials):
        one = np.ones((1, 1))
        alone = np.zeros(len(trial.test), dtype=int)
        found = np.stack([_metrics(alone, clips.y[trial.test], said, one)[:, 0] for said in trial.said])
        by_arm = dict(zip(ARMS, (found[0], found[1], found[2:].mean(axis=0)), strict=True))
        rows.append(
            {
                "seed": seed,
                "tested_clips": len(trial.test),
                "tested_videos": len(np.unique(clips.video[trial.test])),
                "learned_clips": trial.learned,
                **{metric: {arm: float(by_arm[arm][i]) for arm in ARMS} for i, metric in enumerate(METRICS)},
            }
        )
    return rows
