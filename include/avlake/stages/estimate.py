"""Estimates with their uncertainty: from a few measured units to the total of all.

Two models, which add up. What a unit costs by itself (a delivered file: its seconds, its CPU time) is a line along its
size, with the prediction interval for a finite population. What a step costs (a drop's commits) is a line along what it
handles. Half-widths of independent parts add in quadrature.

Sources: R. Valliant, A. H. Dorfman, R. M. Royall, Finite Population Sampling and Inference (2000), chapters 2 and 5
(the prediction approach and its robust variance); W. G. Cochran, Sampling Techniques (1977), chapters 6 and 8.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import numpy as np

LEVEL = 0.95
SEED = 20_260_901
MOST_LEVERAGE = 0.99
Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Estimate:
    """A value and the half-width of its 95 % interval; None where nothing can be said of it."""

    value: float
    half: float | None = 0.0
    least: float = 0.0  # what is known for sure: the interval does not go below

    @property
    def low(self) -> float | None:
        return None if self.half is None else max(self.least, self.value - self.half)

    @property
    def high(self) -> float | None:
        return None if self.half is None else self.value + self.half

    def __add__(self, other: Estimate) -> Estimate:
        known = self.half is not None and other.half is not None
        half = math.hypot(self.half or 0.0, other.half or 0.0) if known else None
        return Estimate(self.value + other.value, half, self.least + other.least)

    def times(self, factor: float) -> Estimate:
        """The same in other units."""
        return Estimate(self.value * factor, None if self.half is None else self.half * factor, self.least * factor)


def draw(units: Mapping[str, Sequence[Unit]], n: int, *, size: Callable[[Unit], float], seed: int = SEED) -> list[Unit]:
    """A sample of n units, from every stratum as many as it has a share in all, small and large; the same every time.

    Systematic sampling from a random start (Cochran, 8.1) over strata one after another, their units in order of size,
    up and down in turn, so that large units meet large ones; what is of one size comes in random order.
    """
    rng, line = random.Random(seed), []
    for number, name in enumerate(sorted(units)):
        shuffled = rng.sample(units[name], len(units[name]))
        line += sorted(shuffled, key=size, reverse=bool(number % 2))
    if n >= len(line):
        return line
    step = len(line) / n
    start = rng.uniform(0, step)
    return [line[min(int(start + k * step), len(line) - 1)] for k in range(n)]


def total_by_size(
    sizes: Sequence[float],
    values: Sequence[float],
    *,
    rest: float,
    rest_size: float,
    known: float = 0.0,
    rest_size_sd: float = 0.0,
) -> Estimate:
    """The total of `values` over units of which some are measured and `rest` others, of `rest_size` in all, are not.

    E[value] = constant + slope x size, with a variance in proportion to size; neither is negative, and with fewer than
    four units there is only the slope. The variance of the prediction is that of the line (robust: squared residuals,
    each divided by one less its leverage) and that of the rest's own scatter; nothing is left of it where there is no
    rest, which is the finite-population correction. Student's t, n less the number of coefficients.

    Args:
        sizes: (n,) of the measured units; all positive.
        values: (n,) what they cost.
        known: values, added up, of the measured units that are themselves part of the total.
        rest_size_sd: standard deviation of `rest_size`, where that is itself an estimate.
    """
    if rest <= 0:
        return Estimate(known, 0.0, known)
    x, y = np.asarray(sizes, float), np.asarray(values, float)
    design, target = np.stack([np.ones_like(x), x], axis=1), np.array([rest, rest_size])
    use = [0, 1] if len(x) > 3 and np.ptp(x) > 0 else [1]
    while True:
        inverse = np.linalg.pinv(design[:, use].T @ (design[:, use] / x[:, None]))
        found = inverse @ (design[:, use].T @ (y / x))
        if len(use) == 1 or found.min() >= 0:
            break
        use = [int(np.argmax(found))]
    value = known + float(target[use] @ found)
    df = len(x) - len(use)
    if df < 1:
        return Estimate(value, None, known)
    residuals = y - design[:, use] @ found
    leverage = np.minimum(np.einsum("ij,jk,ik->i", design[:, use], inverse, design[:, use]) / x, MOST_LEVERAGE)
    pull = design[:, use] @ inverse @ target[use] / x  # of each unit on the prediction
    of_line = float(((pull * residuals / (1 - leverage)) ** 2).sum())
    of_rest = float((residuals**2 / (1 - leverage) / x).mean()) * rest_size
    of_size = (float(found[-1]) * rest_size_sd) ** 2 if 1 in use else 0.0
    return Estimate(value, t_quantile(df) * math.sqrt(of_line + of_rest + of_size), known)


@dataclass(frozen=True)
class Line:
    """What a step costs: a constant each time, and a slope along what it handles."""

    constant: float
    slope: float
    variance: float | None  # of the residuals; None with fewer than three observations
    inverse: tuple[tuple[float, float], tuple[float, float]]  # of X'X
    df: int

    @classmethod
    def fit(cls, handled: Sequence[float], costs: Sequence[float]) -> Line:
        """Least squares; neither constant nor slope is negative, and without a spread there is no slope."""
        x, y = np.asarray(handled, float), np.asarray(costs, float)
        if not len(x):
            return cls(0.0, 0.0, 0.0, ((0.0, 0.0), (0.0, 0.0)), 1)
        design = np.stack([np.ones_like(x), x], axis=1)
        if np.ptp(x) <= 0:
            design[:, 1] = 0.0
        found = np.linalg.lstsq(design, y, rcond=None)[0]
        if found[1] < 0:
            design[:, 1] = 0.0
            found = np.array([y.mean(), 0.0])
        elif found[0] < 0:
            design[:, 0] = 0.0
            found = np.array([0.0, float(x @ y) / float(x @ x)])
        df = len(x) - int(np.linalg.matrix_rank(design))
        inverse = np.linalg.pinv(design.T @ design)
        left = y - np.stack([np.ones_like(x), x], axis=1) @ found
        variance = float(left @ left) / df if df > 0 else None
        (a, b), (c, d) = inverse.tolist()
        return cls(float(found[0]), float(found[1]), variance, ((a, b), (c, d)), max(df, 1))

    def total(self, times: float, handled: Estimate) -> Estimate:
        """So many times the step, on so much in all; each time scatters by itself, too."""
        return self._total(times, handled.value) + replace(handled.times(self.slope), value=0.0, least=0.0)

    def _total(self, times: float, handled: float) -> Estimate:
        value = self.constant * times + self.slope * handled
        if self.variance is None:
            return Estimate(value, None)
        a = np.array([times, handled])
        variance = self.variance * (float(a @ np.array(self.inverse) @ a) + times)
        return Estimate(value, t_quantile(self.df) * math.sqrt(max(variance, 0.0)))


@cache
def t_quantile(df: int) -> float:
    """Student's t that leaves 2.5 % above."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, df))
