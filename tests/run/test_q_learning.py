"""Q-learning as whole runs: actors in processes that die, ends, checkpoints, resuming."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console

from gala_rl.app.evaluate import evaluate, load_network
from gala_rl.app.train import resume, train
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.dqn import DQNSettings
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.methods.r2d2 import R2D2Settings
from gala_rl.methods.resolving import resolve
from gala_rl.models.q_network import QNetwork
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunStatus
from tests.support.run_processes import make_local_run, pid_of

COMMON: dict[str, Any] = {
    "rollout_steps": 5,
    "batch_size": 8,
    "target_every": 3,
    "replay_size": 4_000,
    "min_replay": 200,
    "replay_ratio": 2.0,
}
DQN = DQNSettings(**COMMON)
R2D2 = R2D2Settings(**COMMON, sequence_length=8, burn_in=4)
both = pytest.mark.parametrize("settings", [DQN, R2D2], ids=["dqn", "r2d2"])


def make_config(settings: QLearningSettings, **changes: Any) -> ResolvedConfig:
    config = TrainConfig(
        method=f"gala-{settings.name}",
        env="tests.environments:CountingTruncated-v0",
        learners=2,
        simulators=4,
        lstm_size=6 if settings.name == "r2d2" else None,
        log_every=1,
        device="cpu",
    )
    return resolve(replace(config, algorithm=settings, **changes))


def rows_of(folder: RunFolder, rank: int) -> list[dict[str, Any]]:
    return MetricsReader(folder.metrics_file(rank)).new_rows()


class KillsAnActor:
    """An observer that kills an actor once both learners learn, and stops the run after that."""

    def __init__(self, system: LocalRun, folder: RunFolder) -> None:
        self.system, self.folder = system, folder
        self.victim: psutil.Process | None = None
        self.steps_then = 0

    def __call__(self, status: RunStatus) -> None:
        rows = [rows_of(self.folder, rank) for rank in (0, 1)]
        if not all(r and r[-1]["gradient_steps"] > 10 for r in rows):
            return
        last = rows[1][-1]
        if self.victim is None:
            self.victim = psutil.Process(pid_of(self.system, 1)).children()[0]
            self.victim.kill()
        elif last["actor_restarts"]:
            self.steps_then = self.steps_then or last["gradient_steps"]
            if last["gradient_steps"] > self.steps_then + 20:
                self.system.stop()


@both
def test_a_lost_actor_costs_its_learner_nothing(
    tmp_path: Path, settings: QLearningSettings
) -> None:
    folder = RunFolder(tmp_path / "run")
    actors = replace(settings, actors=2)
    system = make_local_run(make_config(actors, steps=10**12), folder)
    outcome = system.run(KillsAnActor(system, folder))
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0]
    for rank in (0, 1):
        rows = rows_of(folder, rank)
        assert rows[-1]["mixes"] > 0
        assert rows[-1]["actor_restarts"] == rank
        learning = [row for row in rows if row["gradient_steps"]]
        ratios = [row["replay_ratio"] for row in learning[5:]]
        assert max(ratios) <= settings.replay_ratio
        assert ratios[-1] > 0.9 * settings.replay_ratio


@both
@pytest.mark.parametrize("serial", [True, False])
def test_a_run_is_resumed_with_its_target_and_fills_its_replay_again(
    tmp_path: Path, settings: QLearningSettings, serial: bool
) -> None:
    path = tmp_path / "run"
    config = make_config(settings, steps=1_600, serial=serial, out=str(path))
    train(config, Console(file=io.StringIO()))
    folder = RunFolder(path)
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    # In processes, one of the two learners may make most of the steps.
    rank = max((0, 1), key=lambda rank: rows_of(folder, rank)[-1]["replay_steps"])
    first = saved.load(rank).tensors
    assert not torch.equal(first["target"], first["parameters"])
    steps_made = len(rows_of(folder, rank))
    printed = io.StringIO()
    resume(path, 2_400, Console(file=printed))
    assert "the replay is not saved" in printed.getvalue()
    rows = rows_of(folder, rank)[steps_made:]
    before = int(first["replay_counts"][0])
    waiting = [row["gradient_steps"] == before for row in rows]
    # 200 steps to fill; an update of 4 simulators has 20.
    assert all(waiting[:9])
    assert not any(waiting[11:])
    assert rows[-1]["gradient_steps"] > before


@both
def test_a_policy_is_played_and_its_network_can_be_loaded(
    tmp_path: Path, settings: QLearningSettings
) -> None:
    path = tmp_path / "run"
    config = make_config(replace(settings, min_replay=40), steps=160, serial=True, out=str(path))
    train(config, Console(file=io.StringIO()))
    for policy in ("greedy", "sample"):
        result = evaluate(path, episodes=2, policy=policy, console=Console(file=io.StringIO()))
        assert result["results"][0]["mean_return"] > 0
    network = load_network(path)
    assert isinstance(network, QNetwork)
    assert network.epsilons.tolist() == pytest.approx([1e-3])


def test_a_checkpoint_without_its_target_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = make_config(DQN, steps=800, serial=True, out=str(path))
    train(config, Console(file=io.StringIO()))
    folder = RunFolder(path)
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    partial = checkpoint.partial_folder(folder.checkpoints, "damaged")
    for rank in saved.learners():
        state = saved.load(rank)
        checkpoint.write_part(
            partial, rank, replace(state, tensors=state.tensors | {"target": torch.zeros(3)})
        )
    steps = saved.manifest["learner_agent_steps"]
    checkpoint.complete(partial, saved.agent_steps, steps, kept=1)
    with pytest.raises(UserError, match="target is not"):
        resume(path, 1_200, Console(file=io.StringIO()))
