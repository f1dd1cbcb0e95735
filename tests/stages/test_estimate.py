"""Estimates: intervals that hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avlake.stages.estimate import Estimate, Line, draw, total_by_size

REPEATS = 200
LEAST_COVERAGE = 0.88  # nominal 0.95; a true 0.95 falls below this in fewer than one of ten thousand such tests


def archives(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of archives that hold a few recordings each, and the CPU seconds that these take."""
    recordings, duration_s = rng.integers(3, 12, n), rng.lognormal(1.2, 0.5, n)
    sizes = 5_000 + recordings * duration_s * 20_000 * rng.uniform(0.8, 1.1, n)
    return sizes, recordings * (0.05 + 0.03 * duration_s) * rng.lognormal(0, 0.1, n)


def alike(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What a file costs has nothing to do with its size."""
    return rng.lognormal(13, 1, n), rng.lognormal(0, 0.3, n)


def some_broken(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """One file in twelve cannot be read, and costs nothing."""
    sizes = rng.lognormal(13, 0.5, n)
    return sizes, sizes / 1e6 * rng.lognormal(0, 0.2, n) * (rng.random(n) > 0.08)


@pytest.mark.parametrize("population", [archives, alike, some_broken])
@pytest.mark.parametrize(("n", "of"), [(6, 57), (12, 57), (24, 57), (24, 1000)])
def test_the_interval_covers_as_often_as_it_says(population, n: int, of: int) -> None:
    rng, inside = np.random.default_rng(1), 0
    for seed in range(REPEATS):
        sizes, costs = population(rng, of)
        drops = {str(k): list(range(of))[k::5] for k in range(5)}
        drawn = draw(drops, n, size=lambda i, sizes=sizes: sizes[i], seed=seed)
        rest = np.delete(sizes, drawn)
        known = costs[drawn].sum()
        told = total_by_size(sizes[drawn], costs[drawn], rest=len(rest), rest_size=rest.sum(), known=known)
        assert told.low is not None and told.high is not None
        inside += told.low <= costs.sum() <= told.high
    assert inside / REPEATS >= LEAST_COVERAGE


def test_extrapolation_covers_what_the_source_is_a_sample_of() -> None:
    rng, inside = np.random.default_rng(2), 0
    many = 20_000
    for seed in range(REPEATS):
        all_sizes, all_costs = archives(rng, many)
        sizes, costs = all_sizes[:200], all_costs[:200]
        drawn = draw({"": list(range(200))}, 24, size=lambda i, sizes=sizes: sizes[i], seed=seed)
        told = total_by_size(
            sizes[drawn],
            costs[drawn],
            rest=many,
            rest_size=many * sizes.mean(),
            rest_size_sd=many * sizes.std(ddof=1) / 200**0.5,
        )
        assert told.low is not None and told.high is not None
        inside += told.low <= all_costs.sum() <= told.high
    assert inside / REPEATS >= LEAST_COVERAGE


def test_fewer_units_make_a_wider_interval() -> None:
    rng = np.random.default_rng(3)

    def typical(n: int) -> float:
        drawn = (archives(rng, n) for _ in range(50))
        return float(np.median([total_by_size(*units, rest=1000, rest_size=2e8).half for units in drawn]))

    widths = [typical(n) for n in (3, 12, 200)]
    assert widths == sorted(widths, reverse=True)


def test_measured_in_full_is_known_for_sure() -> None:
    told = total_by_size([1.0, 2.0], [3.0, 5.0], rest=0, rest_size=0, known=8.0)
    assert (told.low, told.value, told.high) == (8.0, 8.0, 8.0)


def test_one_unit_tells_no_interval() -> None:
    told = total_by_size([2.0], [6.0], rest=1, rest_size=4.0, known=6.0)
    assert told.value == pytest.approx(18.0) and told.low is None and (told + Estimate(1.0, 1.0)).high is None


@given(
    st.lists(st.tuples(st.floats(1, 1e12), st.floats(0, 1e9)), min_size=1, max_size=30),
    st.integers(0, 1_000_000),
)
def test_an_estimate_is_finite_and_inside_its_interval(units: list[tuple[float, float]], rest: int) -> None:
    sizes, costs = zip(*units, strict=True)
    told = total_by_size(sizes, costs, rest=rest, rest_size=rest * max(sizes), known=sum(costs))
    assert np.isfinite(told.value) and told.value >= sum(costs)
    if told.low is not None and told.high is not None:
        assert sum(costs) <= told.low <= told.value <= told.high < np.inf


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 99))
def test_every_stratum_has_its_share(strata: dict[str, int], n: int) -> None:
    units = {name: [(name, k) for k in range(count)] for name, count in strata.items()}
    total = sum(strata.values())
    drawn = draw(units, n, size=lambda unit: unit[1])
    assert len(set(drawn)) == len(drawn) == min(n, total)
    for name, count in strata.items():
        assert abs(sum(unit[0] == name for unit in drawn) - min(n, total) * count / total) < 2
    assert drawn == draw(units, n, size=lambda unit: unit[1])


def test_a_line_tells_the_constant_from_the_slope() -> None:
    rng = np.random.default_rng(4)
    handled = [1, 2, 3, 4, 60]
    line = Line.fit(handled, [0.5 + 0.01 * h + rng.normal(0, 0.01) for h in handled])
    told = line.total(10, Estimate(500.0))
    assert told.low is not None and told.high is not None
    assert told.low <= 10.0 <= told.high and told.value == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("costs", [[3.0, 2.0, 1.0, 0.5], [0.0, 1.0, 2.5, 4.0]])
def test_a_line_is_never_negative(costs: list[float]) -> None:
    line = Line.fit([1, 2, 3, 4], costs)
    assert line.constant >= 0 and line.slope >= 0
