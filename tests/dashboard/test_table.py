import math
import time

import numpy as np
import pytest

from gala_rl.dashboard.clock import TrainingClock, seconds_of
from gala_rl.dashboard.series import DISTANCES, GAUGES, PROGRESS, Series
from gala_rl.dashboard.table import MOST_BINS, Table, bin_width

START = 1_000_000.0


def series(times: list[float], steps: list[float], budget: int = 1_000, **columns: float) -> Series:
    """Rows of one learner at these seconds after the start, with constant other columns."""
    made = Series((*PROGRESS, *GAUGES), budget)
    made.add(
        [
            {"time": START + t, "agent_steps": s, "agent_steps_per_s": 10.0, **columns}
            for t, s in zip(times, steps, strict=True)
        ]
    )
    return made


def table_of(*learners: Series, clock: TrainingClock | None = None) -> Table:
    table = Table()
    table.update(learners, Series(DISTANCES, 100), clock or TrainingClock(START))
    return table


def test_bins_are_as_narrow_as_their_number_allows() -> None:
    for duration in (0.0, 100.0, 3_600.0, 86_400.0, 7 * 86_400.0, 400 * 86_400.0):
        width = bin_width(duration)
        assert duration / width <= MOST_BINS
        assert width == 2 or duration / width > MOST_BINS / 4


def test_steps_and_memory_are_summed_and_scores_averaged() -> None:
    times = [2.0 * k for k in range(1, 31)]
    steps = [20.0 * k for k in range(1, 31)]
    table = table_of(
        series(times, steps, mean_return=10.0, rss_mb=100.0),
        series(times, steps, mean_return=30.0, rss_mb=50.0),
    )
    columns = table.columns
    assert columns["agent_steps"][-1] == 2 * 600
    assert columns["steps_per_s"][-1] == pytest.approx(20.0)
    assert columns["mean_return"][-1] == 20.0
    assert (columns["mean_return_low"][-1], columns["mean_return_high"][-1]) == (10.0, 30.0)
    assert columns["rss_mb"][-1] == 150.0
    assert math.isnan(columns["q_loss"][-1]), "no row has it"


def test_a_bin_is_the_mean_of_its_rows() -> None:
    made = Series((*PROGRESS, *GAUGES), 10_000)
    rows = [
        {"time": START + k, "agent_steps": k, "agent_steps_per_s": 1.0, "entropy": float(k % 2)}
        for k in range(1, 3_001)
    ]
    made.add(rows)
    table = table_of(made)
    assert table.width == 5.0
    assert table.columns["entropy"][100] == pytest.approx(np.mean([k % 2 for k in range(501, 506)]))


def test_a_learner_that_has_died_no_longer_counts_for_the_score() -> None:
    long, short = [2.0 * k for k in range(1, 201)], [2.0 * k for k in range(1, 51)]
    table = table_of(
        series(long, [10 * t for t in long], mean_return=10.0),
        series(short, [10 * t for t in short], mean_return=50.0),
    )
    assert table.columns["mean_return"][40] == 30.0
    assert table.columns["mean_return"][-1] == 10.0
    assert table.columns["agent_steps"][-1] == 4_000 + 1_000, "its steps still count"


def test_an_update_changes_only_the_end_and_agrees_with_a_new_table() -> None:
    times = [2.0 * k for k in range(1, 401)]
    early = series(times[:200], [10 * t for t in times[:200]], mean_return=1.0)
    table, clock, none = Table(), TrainingClock(START), Series(DISTANCES, 100)
    table.update([early], none, clock)
    marked = table.columns["mean_return"]
    marked[0] = 77.0
    rows = [
        {"time": START + t, "agent_steps": 10 * t, "agent_steps_per_s": 10.0, "mean_return": 2.0}
        for t in times[200:]
    ]
    early.add(rows)
    table.update([early], none, clock)
    anew = table_of(early)
    assert table.columns["mean_return"][0] == 77.0
    assert table.length == anew.length
    np.testing.assert_allclose(table.columns["mean_return"][1:], anew.columns["mean_return"][1:])
    np.testing.assert_allclose(table.columns["steps_per_s"], anew.columns["steps_per_s"])


def test_pauses_until_a_resume_are_left_out() -> None:
    clock = TrainingClock(START, [START + 1_000, START + 1_010])
    times = np.array([START + 10, START + 100, START + 1_020])
    clock.find_pauses([times])
    # The run wrote its last row after 100 s, was resumed in vain, and again 10 s later.
    np.testing.assert_allclose(clock.seconds(times), [10, 100, 110])
    np.testing.assert_allclose(clock.seconds(np.array([START + 500, START - 5])), [100, 0])


def test_a_long_series_is_thinned_and_keeps_its_newest_rows() -> None:
    made = Series(("agent_steps",), 100)
    for k in range(2_000):
        made.add([{"time": float(k), "agent_steps": k}])
    assert 100 <= len(made.times) <= 201
    assert made.column("agent_steps")[-20:].tolist() == list(range(1_980, 2_000))
    assert made.column("agent_steps")[0] == 0


def test_rows_of_repeated_steps_are_dropped() -> None:
    made = Series(("agent_steps",), 100)
    made.add([{"time": float(i), "agent_steps": s} for i, s in enumerate([10, 20, 30, 15, 25, 40])])
    made.drop_repeated("agent_steps")
    assert made.column("agent_steps").tolist() == [10, 15, 25, 40]


def test_what_is_no_number_is_unknown() -> None:
    made = Series(("entropy",), 10)
    made.add([{"time": 0.0, "entropy": value} for value in ("high", None, True, 1e301, 2)])
    assert np.isnan(made.column("entropy")).tolist() == [True, True, True, True, False]


def test_a_time_stamp_keeps_its_zone() -> None:
    now = int(time.time())
    for zone in ("+0000", "+0530", "-0800"):
        offset = (int(zone[:3]) * 60 + int(zone[0] + zone[3:])) * 60
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now + offset)) + zone
        assert seconds_of(stamp) == now
    assert seconds_of("yesterday") is None
    assert seconds_of(None) is None
