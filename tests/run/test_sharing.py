"""Learners that share gradients or parameters stay equal where they must, despite kills."""

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gala_rl.app.evaluate import evaluate
from gala_rl.app.train import resume, train
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve, with_settings
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint, LearnerState
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunStatus
from tests.support.run_processes import CONFIG, children, make_local_run, pid_of, send_to
from tests.support.run_records import ascending_rows

SHARING = ["a2c-allreduce", "a2c-async", "a3c", "ppo-allreduce", "ppo-async"]
ENDLESS = CONFIG.steps


QUICK_PPO = PPOSettings(rollout_steps=16, epochs=2, minibatches=2)
"""Several steps an update, as the preset has, but of milliseconds each."""


def plain_method(method: str) -> str:
    return "ppo" if method.startswith("ppo") else "a2c"


def config_of(method: str, learners: int = 3, steps: int = ENDLESS) -> ResolvedConfig:
    algorithm = QUICK_PPO if plain_method(method) == "ppo" else CONFIG.algorithm
    config = replace(CONFIG, method=method, learners=learners, steps=steps, log_every=10)
    # With running moments, which are shared too.
    moments = {"normalize_observations": True, "normalize_rewards": True}
    return resolve(with_settings(replace(config, algorithm=algorithm), moments))


def states(saved: Checkpoint | None) -> list[LearnerState]:
    assert saved is not None
    return [saved.load(rank) for rank in saved.learners()]


def final(folder: RunFolder) -> list[LearnerState]:
    return states(checkpoint.newest(folder.checkpoints))


def assert_replicas_are_equal(parts: list[LearnerState]) -> None:
    for part in parts[1:]:
        for name in ("parameters", "optimizer"):
            assert torch.equal(part.tensors[name], parts[0].tensors[name])
        for name in ("updates", "agent_steps"):
            assert part.counters[name] == parts[0].counters[name]


def train_alone(path: Path, config: ResolvedConfig) -> dict[str, Tensor]:
    train(replace(config, out=str(path)))
    return final(RunFolder(path))[0].tensors


@pytest.fixture
def one_core() -> Iterator[None]:
    """With several threads sums may have another order from run to run, on a busy machine."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("method", SHARING)
@pytest.mark.parametrize("serial", [pytest.param(False, marks=pytest.mark.slow), True])
def test_one_learner_alone_is_the_plain_method_bit_for_bit(
    tmp_path: Path, method: str, serial: bool
) -> None:
    config = replace(config_of(method, learners=1, steps=400), serial=serial)
    shared = train_alone(tmp_path / "shared", config)
    plain = train_alone(tmp_path / "plain", replace(config, method=plain_method(method)))
    assert torch.equal(shared["parameters"], plain["parameters"])
    if method != "ppo-async":  # Adam's state lies there chunk by chunk.
        assert torch.equal(shared["optimizer"], plain["optimizer"])


def test_replicas_are_equal_in_every_checkpoint_and_when_they_go_on(tmp_path: Path) -> None:
    config = replace(
        config_of("a2c-allreduce", steps=3_000), checkpoint_every=0.2, checkpoints_kept=1_000
    )
    summary = train(replace(config, out=str(tmp_path / "run")))
    folder = RunFolder(tmp_path / "run")
    found = sorted(folder.checkpoints.glob("step_*"))
    assert len(found) > 1
    for path in found:
        saved = checkpoint.open_checkpoint(path)
        assert saved.learners() == [0, 1, 2]
        assert_replicas_are_equal(states(saved))
    assert summary["mixes"] == 0
    for row in (row for rank in range(3) for row in ascending_rows(folder, rank)):
        assert row["total_agent_steps"] == 3 * row["agent_steps"], "replicas step together"
    assert not (folder.path / ".replicas").exists()
    updates = final(folder)[0].counters["updates"]
    assert updates == 100

    resume(folder.path, steps=3_900)
    assert_replicas_are_equal(final(folder))
    assert final(folder)[0].counters["updates"] == 130
    scores = [r["mean_return"] for r in evaluate(folder.path, episodes=2, learner="all")["results"]]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.parametrize("method", ["a2c-async", pytest.param("a3c", marks=pytest.mark.slow)])
def test_shared_parameters_are_saved_once_and_gone_on_from(tmp_path: Path, method: str) -> None:
    train(replace(config_of(method, steps=3_000), out=str(tmp_path / "run")))
    folder = RunFolder(tmp_path / "run")
    parts = final(folder)
    shared = parts[0].tensors["parameters"]
    assert all(torch.equal(part.tensors["parameters"], shared) for part in parts)
    files = {path.name for path in next(folder.checkpoints.glob("step_*")).iterdir()}
    assert "shared.safetensors" in files
    made = sum(part.counters["updates"] for part in parts)

    # So few further steps that the parameters must still be near.
    resume(folder.path, steps=3_060)
    after = final(folder)[0].tensors["parameters"]
    assert 0 < (after - shared).norm() < shared.norm() / 10
    assert sum(part.counters["updates"] for part in final(folder)) > made
    assert not (folder.path / ".chunks").exists()
    assert len(evaluate(folder.path, episodes=2)["results"]) == 1


class Killer:
    """An observer: kills one learner after another, each when all have got further, then stops."""

    def __init__(self, system: LocalRun, kills: int, updates: int) -> None:
        self.system, self.kills, self.updates = system, kills, updates
        self.killed: list[int] = []
        self.next_at = [updates] * 3
        self.notices: list[str] = []
        self.random = random.Random(0)

    def __call__(self, status: RunStatus) -> None:
        self.notices += status.notices
        if any(made < least for made, least in zip(status.updates, self.next_at, strict=True)):
            return
        if len(self.killed) == self.kills:
            self.system.stop()
            return
        rank = self.random.randrange(3)
        send_to(self.system, rank, signal.SIGKILL)
        self.killed.append(rank)
        self.next_at = [made + self.updates for made in status.updates]


@pytest.mark.parametrize(
    ("method", "kills", "updates"),
    [
        ("a2c-allreduce", 2, 30),
        *(
            pytest.param(m, 4, 110, marks=pytest.mark.slow)
            for m in ("a2c-allreduce", "a3c", "a2c-async", "ppo-allreduce", "ppo-async")
        ),
    ],
)
def test_killed_learners_come_back_and_all_go_on(
    tmp_path: Path, method: str, kills: int, updates: int
) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(config_of(method), folder)
    observer = Killer(system, kills, updates)
    outcome = system.run(observer)
    assert outcome.failure is None
    assert sum(outcome.status.restarts) == kills, observer.notices
    assert sum("restarted from the state of the others" in n for n in observer.notices) == kills
    assert children() == []
    parts = final(folder)
    assert len(parts) == 3
    assert all(part.tensors["parameters"].isfinite().all() for part in parts)
    if method.endswith("allreduce"):
        assert_replicas_are_equal(parts)
    for rank in range(3):
        rows = MetricsReader(folder.metrics_file(rank)).new_rows()
        assert [row["updates"] for row in rows] == sorted(row["updates"] for row in rows)


def test_a_replica_that_is_stopped_is_named_and_replaced_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(config_of("a2c-allreduce"), hang_after=2.0), folder)
    stopped: list[int] = []
    notices: list[str] = []

    def observe(status: RunStatus) -> None:
        notices.extend(status.notices)
        if not stopped and min(status.updates) >= 30:
            stopped.append(status.updates[1])
            send_to(system, 1, signal.SIGSTOP)
        if stopped and min(status.updates) >= stopped[0] + 50:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert any("learner 1 gave no sign of life for 2 s" in notice for notice in notices)
    assert outcome.status.restarts == [0, 1, 0]
    assert_replicas_are_equal(final(folder))


def test_replicas_that_all_die_go_on_from_what_they_last_showed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(config_of("a2c-allreduce"), folder)
    killed: list[int] = []

    def observe(status: RunStatus) -> None:
        if not killed and min(status.updates) >= 35:
            pids = [pid_of(system, rank) for rank in range(3)]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            killed.append(max(status.updates))
        elif killed and sum(status.restarts) == 3 and min(status.updates) >= killed[0] + 50:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [1, 1, 1]
    assert_replicas_are_equal(final(folder))
