"""Real training, measured and slowed down; what scaling and stragglers make of measurements."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import torch

from gala_lab.bench import (
    benchmark_plans,
    component_rates,
    result_tables,
    scaling_benchmark,
    straggler_benchmark,
)
from gala_lab.bench.throttle import Throttle
from gala_lab.bench.training_rate import Measurement, measure_training
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure
from gala_rl.methods.resolving import resolve
from tests.support.run_processes import children

GIVE_UP_S = 60.0
CONFIG = resolve(
    TrainConfig(env="tests.environments:Drifting-v0", learners=2, simulators=2, device="cpu")
)
ONE = {"gala-a2c": CONFIG}


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process that does nothing, until the test ends."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.001)


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def test_a_throttled_process_stops_and_runs_in_turn_and_runs_in_the_end(
    sleeper: psutil.Process,
) -> None:
    throttle = Throttle([sleeper.pid], 4.0)
    throttle.start()
    try:
        for _ in range(3):
            wait_until(lambda: is_stopped(sleeper))
            wait_until(lambda: not is_stopped(sleeper))
    finally:
        throttle.stop()
    throttle.stop()
    assert not is_stopped(sleeper)
    assert 0.0 < throttle.running_share < 1.0


def test_a_throttle_survives_its_process(sleeper: psutil.Process) -> None:
    throttle = Throttle([sleeper.pid], 2.0)
    throttle.start()
    sleeper.kill()
    wait_until(lambda: not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE)
    throttle.stop()


@pytest.mark.parametrize("pids", [[], [1]])
def test_a_throttle_with_nothing_to_do_does_nothing(pids: list[int]) -> None:
    throttle = Throttle(pids, 1.0)
    throttle.start()
    throttle.stop()
    assert throttle.running_share == 1.0


def test_a_throttle_that_was_not_started_can_be_stopped() -> None:
    throttle = Throttle([1], 2.0)
    throttle.stop()
    assert throttle.running_share == 1.0


def test_training_is_measured_with_a_slowed_learner_and_leaves_no_process() -> None:
    values = measure_training(CONFIG, 0.5, slowed=1, factor=2.0).values
    sps, per_learner = values["sps"], values["sps_per_learner"]
    slowest, fastest = values["slowest_learner_sps"], values["fastest_learner_sps"]
    assert sps is not None
    assert per_learner is not None
    assert slowest is not None
    assert fastest is not None
    assert sps == pytest.approx(2 * per_learner)
    assert 0 < slowest <= per_learner <= fastest
    for name in ("gossip_share", "running_share"):
        assert 0 < (values[name] or 0) <= 1
    assert (values["rss_mb_per_learner"] or 0) > 50
    assert values["cpu_cores_used"] is not None
    assert children() == []


def test_a_learner_that_dies_ends_the_measurement() -> None:
    config = resolve(replace(CONFIG, env="tests.environments:Poisoned-v0"))
    with pytest.raises(LearnerFailure, match="FloatingPointError"):
        measure_training(config, 600.0)


def broken_part(config: ResolvedConfig, rank: int, device: torch.device) -> component_rates.Work:
    if rank == 1:
        raise ValueError("this part is broken")
    return component_rates.Work(lambda k: None, 1)


def test_a_part_that_fails_in_one_process_ends_all_of_them_at_once() -> None:
    with pytest.raises(LearnerFailure, match="broken_part failed"):
        component_rates.rate(broken_part, CONFIG, torch.device("cpu"), 0.1, threads=1)


def counting_part(config: ResolvedConfig, rank: int, device: torch.device) -> component_rates.Work:
    return component_rates.Work(lambda k: time.sleep(0.001), 10)


def test_the_rate_of_a_part_is_that_of_all_processes() -> None:
    assert component_rates.rate(counting_part, CONFIG, torch.device("cpu"), 0.1, threads=1) > 0


Call = tuple[int, int, int, float]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Trainings that were asked for, in place of training: a learner makes 100 steps a second."""
    calls: list[Call] = []

    def note(
        config: ResolvedConfig, seconds: float, slowed: int = 0, factor: float = 1.0
    ) -> Measurement:
        learners = config.learners
        calls.append((learners, config.simulators, slowed, factor))
        names = {column.name for column in result_tables._STRAGGLERS} - set(
            straggler_benchmark.RATIOS
        )
        sps = 100.0 * (learners - slowed + slowed / factor)
        return Measurement({**dict.fromkeys(names), "sps": sps}, ["no meter"])

    monkeypatch.setattr(scaling_benchmark, "measure_training", note)
    monkeypatch.setattr(straggler_benchmark, "measure_training", note)
    monkeypatch.setattr(benchmark_plans, "usable_cores", lambda: 2)
    return calls


def test_scaling_compares_with_one_learner_of_its_series(trained: list[Call]) -> None:
    plan = benchmark_plans.scaling(TrainConfig(env=CONFIG.env, simulators=1, device="cpu"))
    result = scaling_benchmark.bench_scaling(plan, seconds=1.0, repeats=3)
    # One learner a core belongs to both series.
    assert trained == [(n, b, 0, 1.0) for n, b in ((1, 2), (2, 1), (1, 1), (4, 1))] * 3
    told = [(c["equal"], c["learners"], c.get("speedup"), c["skipped"]) for c in result["cases"]]
    assert told == [
        ("total", 1, 1.0, None),
        ("total", 2, 2.0, None),
        ("total", 4, None, "2 simulators cannot be shared equally"),
        ("learner", 1, 1.0, None),
        ("learner", 2, 2.0, None),
        ("learner", 4, 4.0, None),
    ]
    assert result["settings"]["learners"] == 4
    assert result["notes"] == ["no meter"]


def test_stragglers_are_compared_with_the_ideal_and_a_barrier(trained: list[Call]) -> None:
    result = straggler_benchmark.bench_stragglers(ONE, [0, 1], seconds=1.0, repeats=3)
    assert trained == [(2, 2, 0, 1.0), (2, 2, 1, 2.0), (2, 2, 1, 4.0)] * 3
    told = [(c["slowed"], c["factor"], c["sps"], c["barrier_sps"]) for c in result["cases"]]
    assert told == [(0, 1.0, 200.0, 200.0), (1, 2.0, 150.0, 100.0), (1, 4.0, 125.0, 50.0)]
    assert [c["of_ideal"] for c in result["cases"]] == [1.0, 1.0, 1.0]
    assert [c["of_undisturbed"] for c in result["cases"]] == [1.0, 0.75, 0.625]


def test_methods_are_slowed_in_turn_and_compared_with_the_first(trained: list[Call]) -> None:
    methods = ["gala-a2c", "a2c-allreduce"]
    configs = {method: resolve(replace(CONFIG, method=method)) for method in methods}
    result = straggler_benchmark.bench_stragglers(configs, [0, 1], 1.0, 3)
    assert len(trained) == 3 * (2 + 4)
    told = [(c["method"], c["slowed"], c["factor"]) for c in result["cases"]]
    cases = [(0, 1.0), (1, 2.0), (1, 4.0)]
    assert told == [(method, k, factor) for k, factor in cases for method in methods]
    assert all(c["of_first_method"] == 1.0 for c in result["cases"])
    assert result["settings"]["method"] == "gala-a2c, a2c-allreduce"
    shown = result_tables.tables(result)
    assert [table.title.partition(" on ")[0] for table in shown] == methods
    assert [len(table.rows) for table in shown] == [3, 3]
    assert all(table.columns[-1] == "of the first method" for table in shown)


def test_the_share_of_slowed_learners() -> None:
    assert (
        straggler_benchmark.ideal_share(4, 0, 1.0)
        == straggler_benchmark.barrier_share(0, 1.0)
        == 1.0
    )
    assert straggler_benchmark.ideal_share(4, 1, 2.0) == 0.875
    assert straggler_benchmark.ideal_share(4, 3, 4.0) == 0.4375
    assert straggler_benchmark.barrier_share(1, 4.0) == 0.25


def test_a_whole_result_has_settings_rounds_and_a_fingerprint(trained: list[Call]) -> None:
    result: dict[str, Any] = straggler_benchmark.bench_stragglers(ONE, [1], seconds=1.0, repeats=1)
    assert result["settings"] == {
        "method": "gala-a2c",
        "env": CONFIG.env,
        "learners": 2,
        "simulators": 2,
        "device": "cpu",
        "precision": "float32",
        "slowed": [1],
        "seconds": 1.0,
        "repeats": 1,
    }
    assert {"versions", "machine", "commit", "started"} <= set(result)
    assert all(len(case["rounds"]) == 1 for case in result["cases"])
    assert all(case["of_ideal"] is None for case in result["cases"])
    assert all("of_ideal" not in case["rounds"][0] for case in result["cases"])
    assert "ratios need 3 rounds: --repeats 3" in result["notes"]
