"""Setting up a run reads its environment once, builds one network, and makes each check once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl import agent
from gala_rl.app.evaluate import load_network
from gala_rl.app.train import resume, train
from gala_rl.checks import config
from gala_rl.config.train import TrainConfig
from tests.environments import Counting

ENV = "tests.environments:Counting-v0"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often this process, which is that of no learner, has called what setting up takes."""
    counter: Counter[str] = Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            counter[name] += 1
            return call(*arguments, **options)

        return count

    for name, home, function in (
        ("environments", Counting, "__init__"),
        ("networks", agent, "build_model"),
        ("checks", config, "memory_rows"),
    ):
        monkeypatch.setattr(home, function, counted(name, getattr(home, function)))
    return counter


def config_of(folder: Path, method: str, **changes: Any) -> TrainConfig:
    return TrainConfig(method=method, env=ENV, simulators=2, steps=40, out=str(folder), **changes)


@pytest.mark.parametrize("method", ["a2c", pytest.param("impala", marks=pytest.mark.slow)])
def test_a_run_in_processes_is_set_up_once_and_so_is_its_resumption(
    tmp_path: Path, calls: Counter[str], method: str
) -> None:
    train(config_of(tmp_path / "run", method))
    assert calls == {"environments": 1, "networks": 1, "checks": 1}
    calls.clear()
    resume(tmp_path / "run", 80)
    assert calls == {"environments": 1, "networks": 1, "checks": 1}


def test_a_serial_run_builds_its_simulators_besides(tmp_path: Path, calls: Counter[str]) -> None:
    train(config_of(tmp_path / "run", "gala-a2c", learners=3, serial=True))
    assert calls == {"environments": 1 + 3 * 2, "networks": 1 + 3, "checks": 1}


def test_an_evaluation_reads_the_environment_once(
    tmp_path: Path, calls: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(config_of(run, "a2c", serial=True))
    calls.clear()
    load_network(run)
    assert calls["environments"] == 1
    calls.clear()
    assert main(["evaluate", str(run), "--episodes", "3"]) == 0
    assert calls["environments"] == 1 + 3, "and a simulator for each game"


def test_the_command_line_sets_a_run_up_once(tmp_path: Path, calls: Counter[str]) -> None:
    run = str(tmp_path / "run")
    options = ["--env", ENV, "--simulators", "2", "--serial", "--out", run, "--resume"]
    once = {"environments": 1 + 2, "networks": 1 + 1, "checks": 1}
    # A setting of the algorithm needs the method's own for this environment.
    assert main(["train", "ppo", *options, "--epochs", "2", "--steps", "40"]) == 0
    assert calls == once
    calls.clear()
    assert main(["train", "ppo", *options, "--epochs", "2", "--steps", "400"]) == 0
    assert calls == once
    calls.clear()
    assert main(["resume", run, "--steps", "800"]) == 0
    assert calls == once


def test_a_comparison_reads_the_environment_once(tmp_path: Path, calls: Counter[str]) -> None:
    arguments = ["compare", "a2c", "ppo", "gala-a2c", "--learners", "2", "--env", ENV]
    arguments += ["--epochs", "3", "--steps", "1", "--out", str(tmp_path / "comparison")]
    assert main(arguments) == 2, "a step is fewer than there are simulators"
    assert calls["environments"] == 1
