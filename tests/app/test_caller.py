"""Training and evaluating restore the caller's state, and reject what the caller may not do."""

import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs import registration
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from rich.console import Console

import gala_rl
from gala_rl.app import caller
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.run_folder import RunFolder

CONFIG = TrainConfig(
    method="gala-a2c", env="CartPole-v1", learners=2, simulators=2, steps=40, serial=True
)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def own_state(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """A program that has chosen its own threads, default type and device, and no gradients."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(request.param)
    torch.set_num_threads(3)
    torch.set_default_device("meta" if request.param is torch.float64 else None)
    torch.set_grad_enabled(False)
    yield request.param
    torch.set_grad_enabled(True)
    torch.set_default_device(None)
    torch.set_default_dtype(before[0])
    torch.set_num_threads(before[1])


def state() -> dict[str, Any]:
    """What is a process' own, as far as it can be compared."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": (numpy_state[1].tolist(), numpy_state[2:]),
        "python": random.getstate(),
        "handlers": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "filters": list(warnings.filters),
        "environment": dict(os.environ),
    }


def train(config: TrainConfig, out: Path) -> dict[str, Any]:
    return gala_rl.train(replace(config, out=str(out)), Console(file=io.StringIO()))


class Moving(CartPoleEnv):
    """Goes to another folder whenever it is built or stepped."""

    def __init__(self) -> None:
        super().__init__()
        os.chdir("/")

    def step(self, action: Any) -> Any:
        os.chdir("/")
        return super().step(action)  # type: ignore[no-untyped-call]


def test_an_environment_that_changes_the_current_folder_moves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "registry", dict(registration.registry))
    monkeypatch.chdir(tmp_path)
    moving: Any = Moving
    gymnasium.register("Moving-v0", moving)
    summary = train(replace(CONFIG, env="Moving-v0"), Path("runs/here"))
    assert summary["run"] == "runs/here"
    assert Path.cwd() == tmp_path
    assert RunFolder(tmp_path / "runs/here").checkpointed_agent_steps() == 40
    gala_rl.resume("runs/here", steps=80, console=Console(file=io.StringIO()))
    assert len(gala_rl.evaluate("runs/here", episodes=2)["results"][0]["returns"]) == 2
    assert Path.cwd() == tmp_path


def test_training_evaluating_and_loading_leave_the_caller_as_it_was(
    tmp_path: Path, own_state: torch.dtype
) -> None:
    _ = gala_rl.train, gala_rl.evaluate  # what they import adds filters of warnings once
    before = state()
    train(CONFIG, tmp_path / "run")
    assert state() == before
    played = gala_rl.evaluate(tmp_path / "run", episodes=2, policy="sample")
    assert state() == before
    assert len(played["results"][0]["returns"]) == 2
    gala_rl.load_network(tmp_path / "run")
    gala_rl.resume(tmp_path / "run", steps=80, console=Console(file=io.StringIO()))
    assert state() == before


@pytest.mark.parametrize("lstm_size", [None, 4])
def test_networks_are_float32_whatever_the_caller_s_default_is(
    tmp_path: Path, own_state: torch.dtype, lstm_size: int | None
) -> None:
    out = tmp_path / "run"
    train(replace(CONFIG, lstm_size=lstm_size), out)
    network = gala_rl.load_network(out)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    like: Any = {"dtype": torch.float32, "device": "cpu"}
    observations, initial = torch.zeros(3, 4, **like), network.initial_state(3)
    with torch.no_grad():
        assert network.act(observations, torch.Generator("cpu"), state=initial).shape == (3,)
        assert network(observations, network.initial_state(3))[0].dtype == torch.float32


def test_a_failed_run_leaves_the_caller_as_it_was_too(
    tmp_path: Path, own_state: torch.dtype
) -> None:
    _ = gala_rl.train, gala_rl.evaluate
    before = state()
    with pytest.raises(UserError):
        gala_rl.evaluate(tmp_path / "none")
    with pytest.raises(UserError):
        train(replace(CONFIG, env="NoSuch-v0"), tmp_path / "run")
    assert state() == before


A_PROGRAM_OF_DOUBLES = """
import sys
import torch
import gala_rl
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)
if __name__ == "__main__":
    config = gala_rl.TrainConfig(
        method=sys.argv[1], env="CartPole-v1", learners=1, simulators=2, steps=100, out="run"
    )
    print("restarts", gala_rl.train(config)["restarts"])
"""


@pytest.mark.parametrize("method", ["a2c", pytest.param("impala", marks=pytest.mark.slow)])
def test_learners_of_a_program_that_computes_in_float64_live(tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(A_PROGRAM_OF_DOUBLES)
    command = [sys.executable, str(program), method]
    told = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "restarts 0" in told.stdout


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"serial": False}, r"ProcessPoolExecutor, or serial=True$"),
        ({"simulator_processes": 1}, r"ProcessPoolExecutor, or no simulator_processes$"),
    ],
)
def test_a_worker_of_a_pool_is_told_before_anything_is_written(
    tmp_path: Path, daemon: None, changes: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(UserError, match=remedy):
        train(replace(CONFIG, **changes), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_of_a_pool_trains_and_plays_in_its_own_process(
    tmp_path: Path, daemon: None
) -> None:
    train(CONFIG, tmp_path / "run")
    gala_rl.evaluate(tmp_path / "run", episodes=1)
    with pytest.raises(UserError, match="no simulator_processes"):
        caller.check_may_play(replace(CONFIG, simulator_processes=1))


def work_in_a_pool(out: str) -> str:
    try:
        gala_rl.train(replace(CONFIG, serial=False, out=out))
    except UserError as error:
        return str(error)
    return "trained"


def test_a_real_pool_is_refused(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        told = pool.apply(work_in_a_pool, (str(tmp_path / "run"),))
    assert "ProcessPoolExecutor" in told
    assert list(tmp_path.iterdir()) == []


A_POOL_OF_RUNS = """
import sys
from concurrent.futures import ProcessPoolExecutor
import gala_rl
def run(number):
    config = gala_rl.TrainConfig(
        method="a2c", env="CartPole-v1", learners=1, simulators=2, steps=100, out=f"run-{number}"
    )
    return gala_rl.train(config)["restarts"]
if __name__ == "__main__":
    restarts = [run(0)]
    with ProcessPoolExecutor(1) as pool:  # forked, after this process has built networks
        restarts += pool.map(run, [1])
    print("restarts", restarts)
"""


@pytest.mark.slow
def test_a_process_pool_executor_trains(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(A_POOL_OF_RUNS)
    command = [sys.executable, str(program)]
    told = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300
    )
    assert "restarts [0, 0]" in told.stdout
