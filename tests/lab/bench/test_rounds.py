"""The arithmetic of rounds: pairs, medians, spread, and the verdict on noise."""

import itertools
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala_lab.bench.rounds import (
    MIN_ROUNDS,
    NOISY_ABOVE,
    median_interval,
    paired,
    spread,
    summarize,
)

rates = st.floats(1e-3, 1e9)
RATIO = {"ratio": ("a", "b")}


def test_the_interval_holds_the_median_in_three_of_four_cases_by_counting_them() -> None:
    # Each of n values is below or above the true median; all 2 ** n patterns are equally likely.
    for count in range(1, 13):
        interval = median_interval([float(i) for i in range(count)])
        lowest = 0 if interval is None else int(interval[0]) + 1
        held = [
            sum(
                k <= sum(pattern) <= count - k
                for pattern in itertools.product((0, 1), repeat=count)
            )
            for k in (lowest, lowest + 1)
        ]
        if interval is not None:
            assert interval[1] == count - lowest
            assert held[0] >= 0.75 * 2**count
        assert held[1] < 0.75 * 2**count, "the narrowest that does"


def test_ratios_need_as_many_rounds_as_the_interval() -> None:
    assert median_interval([1.0] * (MIN_ROUNDS - 1)) is None
    assert median_interval([1.0] * MIN_ROUNDS) == (1.0, 1.0)
    assert median_interval([]) is None


@settings(deadline=None)
@given(st.lists(rates, min_size=3, max_size=40))
def test_the_interval_holds_the_median_of_the_values(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert min(values) <= interval[0] <= statistics.median(values) <= interval[1] <= max(values)


@settings(deadline=None)
@given(st.lists(rates, min_size=3, max_size=9), st.floats(0.01, 100))
def test_spread_has_no_unit(values: list[float], scale: float) -> None:
    own, scaled = spread(values), spread([scale * x for x in values])
    assert own is not None
    assert scaled is not None
    assert math.isclose(own, scaled, rel_tol=1e-9, abs_tol=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(rates, st.floats(0.1, 10)), min_size=3, max_size=9), rates)
def test_a_machine_that_is_slow_in_a_round_changes_no_ratio(
    drifts: list[tuple[float, float]], rate: float
) -> None:
    rounds = [{"a": rate * drift, "b": 2 * rate * drift} for drift, _ in drifts]
    summary = summarize(rounds, RATIO)
    assert summary["ratio"] == pytest.approx(0.5)
    assert not summary["noisy"]


def test_medians_are_those_of_the_rounds_and_ratios_are_paired() -> None:
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 4.0, "b": 8.1}, {"a": 9.0, "b": 17.9}]
    summary = summarize(rounds, RATIO)
    assert (summary["a"], summary["b"], summary["ratio"]) == (4.0, 8.1, 0.5)
    assert summary["spread"]["a"] == 2.0
    assert summary["spread"]["ratio"] == pytest.approx((9 / 17.9 - 4 / 8.1) / 0.5)
    assert (summary["noisy"], summary["too_noisy"], summary["needs_rounds"]) == (False, [], [])


@pytest.mark.parametrize(("factor", "noisy"), [(0.99, False), (1.01, True)])
def test_a_ratio_whose_spread_is_too_large_is_marked(factor: float, noisy: bool) -> None:
    half = factor * NOISY_ABOVE / 2
    rounds = [{"a": a, "b": 1.0} for a in (1.0, 1.0 - half, 1.0 + half)]
    summary = summarize(rounds, RATIO)
    assert summary["noisy"] is noisy
    assert summary["too_noisy"] == (["ratio"] if noisy else [])


def test_one_stray_round_spoils_three_rounds_but_not_six() -> None:
    stray, usual = {"a": 9.0, "b": 1.0}, {"a": 1.0, "b": 1.0}
    assert summarize([stray, usual, usual], RATIO)["noisy"]
    assert not summarize([stray, *[usual] * 5], RATIO)["noisy"]


@pytest.mark.parametrize("count", [1, 2])
def test_few_rounds_show_rates_but_no_ratio(count: int) -> None:
    summary = summarize([{"a": 1.0, "b": 2.0}] * count, RATIO)
    assert (summary["a"], summary["ratio"], summary["spread"]["ratio"]) == (1.0, None, None)
    assert (summary["needs_rounds"], summary["noisy"]) == (["ratio"], False)


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_not_measured_has_no_median_and_makes_no_ratio(count: int) -> None:
    summary = summarize([{"a": 1.0, "b": None}] * count, RATIO)
    assert (summary["a"], summary["b"], summary["ratio"]) == (1.0, None, None)
    assert summary["needs_rounds"] == []


def test_a_number_that_one_round_lacks_has_no_median() -> None:
    summary = summarize([{"a": 1.0}, {"a": None}, {"a": 3.0}], {})
    assert (summary["a"], summary["spread"]["a"]) == (None, None)


def test_nothing_is_divided_by_zero() -> None:
    assert paired([{"a": 1.0, "b": 0.0}], ("a", "b")) == [None]
    assert spread([0.0, 0.0, 0.0]) is None
