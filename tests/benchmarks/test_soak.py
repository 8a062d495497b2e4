"""The soak sees what grows, and takes noise for noise."""

from dataclasses import replace

import numpy as np
import psutil
import pytest

from benchmarks.soak import Sample, own_memory_mib, slope_of, verdict


def samples(process: str, rss_per_minute: float, handles_per_minute: float) -> list[Sample]:
    """Half an hour, with noise of one MiB."""
    noise = np.random.default_rng(1).normal(size=360)
    return [
        Sample(
            minutes=k / 12,
            process=process,
            memory_mib=300 + rss_per_minute * k / 12 + float(noise[k]),
            handles=10 + int(handles_per_minute * k / 12),
            threads=4,
        )
        for k in range(360)
    ]


def test_a_line_is_found_exactly() -> None:
    slope = slope_of({0: 100.0, 1: 102.0, 2: 104.0, 3: 106.0})
    assert slope.mib_per_hour == pytest.approx(120.0)
    assert slope.standard_error == pytest.approx(0.0)
    assert slope.is_growth


def test_noise_is_not_growth_and_a_slow_leak_is() -> None:
    still, leaking = (
        verdict(samples("learner 0", rss_per_minute, 0.0))[0] for rss_per_minute in (0.0, 0.1)
    )
    assert not still["memory_grows"]
    assert leaking["memory_grows"]
    assert leaking["mib_per_hour"] == pytest.approx(6.0, abs=3.0)


def test_what_fills_up_once_and_then_stays_is_no_leak() -> None:
    filling = [
        replace(sample, memory_mib=300 + min(sample.minutes, 12.0))
        for sample in samples("learner 0", 0.0, 0.0)
    ]
    assert not verdict(filling)[0]["memory_grows"]


def test_a_page_now_and_then_is_no_leak() -> None:
    crawling = [
        replace(sample, memory_mib=300 + 0.001 * sample.minutes)
        for sample in samples("learner 0", 0.0, 0.0)
    ]
    row = verdict(crawling)[0]
    assert row["mib_per_hour"] == pytest.approx(0.06, abs=1e-3)
    assert not row["memory_grows"]


def test_the_first_minutes_do_not_count() -> None:
    noisy = samples("learner 0", 0.0, 0.0)
    start = [Sample(s.minutes, s.process, 0.0, 0, 0) for s in noisy if s.minutes < 2]
    assert verdict(start + noisy[24:]) == verdict(noisy)


def test_every_process_has_a_row_of_its_own() -> None:
    rows = verdict(samples("learner 0", 0.0, 1.0) + samples("supervisor", 0.0, 0.0))
    assert [row["process"] for row in rows] == ["learner 0", "supervisor"]
    assert rows[0]["handles"] == [12, 39]
    assert rows[1]["handles"] == [10, 10]


def test_two_minutes_are_no_slope() -> None:
    with pytest.raises(ValueError, match="too few"):
        slope_of({0: 1.0, 1: 1.0})


def test_memory_is_what_the_process_holds_itself() -> None:
    process = psutil.Process()
    before = own_memory_mib(process)
    held = np.ones(100 * 2**17)
    assert own_memory_mib(process) - before == pytest.approx(held.nbytes / 2**20, abs=10)
