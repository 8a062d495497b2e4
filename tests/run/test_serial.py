"""Serial runs: deterministic, equal to the plain method with one learner, resumed without trace."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import ActorCriticSettings, GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.serial import run_serial
from tests.support.run_records import ascending_rows, newest

SIMULATORS, ROLLOUT = 3, 5
CONFIG = resolve(
    TrainConfig(
        method="gala-a2c",
        env="tests.environments:Drifting-v0",
        learners=4,
        simulators=SIMULATORS,
        serial=True,
        seed=3,
        algorithm=A2CSettings(),
    )
)
PPO = replace(
    CONFIG,
    method="gala-ppo",
    # A learning rate that knows the budget would know that a run is to be stopped.
    algorithm=PPOSettings(
        rollout_steps=ROLLOUT, epochs=2, minibatches=2, learning_rate_schedule="constant"
    ),
)


def train(path: Path, config: ResolvedConfig, rounds: int, *, resume: bool = False) -> RunFolder:
    """Let every learner make updates until each has made `rounds`."""
    folder = RunFolder(path)
    if not resume:
        folder.create(config)
    steps = rounds * config.learners * SIMULATORS * ROLLOUT
    start = checkpoint.newest(folder.checkpoints)
    cpu = torch.device("cpu")
    budget = replace(config, steps=steps)
    run_serial(budget, folder, cpu, initial_parameters_of(config), start, lambda status: None)
    return folder


def states(folder: RunFolder) -> list[LearnerState]:
    saved = newest(folder)
    return [saved.load(rank) for rank in saved.learners()]


def parameter_hash(folder: RunFolder) -> str:
    parameters = [state.tensors["parameters"] for state in states(folder)]
    return hashlib.sha256(torch.stack(parameters).numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("method", ["a2c-async", "a3c"])
def test_stopping_shared_parameters_and_resuming_changes_nothing_bit_for_bit(
    tmp_path: Path, method: str
) -> None:
    config = replace(CONFIG, method=method)
    straight = train(tmp_path / "straight", config, 12)
    broken = train(tmp_path / "broken", config, 6)
    train(tmp_path / "broken", config, 12, resume=True)
    for one, other in zip(states(straight), states(broken), strict=True):
        for name, tensor in one.tensors.items():
            assert torch.equal(tensor, other.tensors[name]), name
    assert not torch.equal(states(straight)[0].tensors["copy"], states(straight)[1].tensors["copy"])


def test_rows_tell_the_steps_of_all_with_their_own_and_learn_by_those_before(
    tmp_path: Path,
) -> None:
    settings = replace(CONFIG.algorithm, learning_rate_schedule="linear")
    config = replace(CONFIG, log_every=1, algorithm=settings)
    folder = train(tmp_path / "run", config, 3)
    update = SIMULATORS * ROLLOUT
    budget = replace(config, steps=3 * 4 * update)
    for rank in range(4):
        rows = ascending_rows(folder, rank)
        totals = [row["total_agent_steps"] for row in rows]
        assert totals == [update * (4 * done + rank + 1) for done in range(3)]
        rates = [budget.learning_rate_at(4 * done * update) for done in range(3)]
        assert [row["learning_rate"] for row in rows] == rates


def test_the_same_config_twice_gives_the_same_parameters(tmp_path: Path) -> None:
    first = train(tmp_path / "first", CONFIG, 10)
    second = train(tmp_path / "second", CONFIG, 10)
    other = train(tmp_path / "other", replace(CONFIG, seed=4), 10)
    assert parameter_hash(first) == parameter_hash(second)
    assert parameter_hash(first) != parameter_hash(other)


def test_environments_that_draw_from_global_generators_repeat_and_disturb_nobody(
    tmp_path: Path,
) -> None:
    config = resolve(replace(CONFIG, env="tests.environments:DrawingGlobally-v0", learners=2))
    before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    first = train(tmp_path / "first", config, 12)
    assert (random.getstate(), repr(np.random.get_state())) == before  # noqa: NPY002
    random.random()
    np.random.random()  # noqa: NPY002
    second = train(tmp_path / "second", config, 5)
    train(tmp_path / "second", config, 12, resume=True)
    for one, other in zip(states(first), states(second), strict=True):
        for name, tensor in one.tensors.items():
            assert torch.equal(tensor, other.tensors[name]), name
    third = train(tmp_path / "third", replace(config, seed=4), 12)
    assert parameter_hash(first) != parameter_hash(third)


@pytest.mark.parametrize("lstm_size", [None, 8])
@pytest.mark.parametrize("config", [CONFIG, PPO], ids=lambda config: config.method)
def test_one_gossiping_learner_is_the_plain_method_bit_for_bit(
    tmp_path: Path, config: ResolvedConfig, lstm_size: int | None
) -> None:
    gossiping = replace(config, learners=1, lstm_size=lstm_size)
    plain = replace(gossiping, method=config.method.removeprefix("gala-"))
    first = train(tmp_path / "gossiping", gossiping, 30)
    second = train(tmp_path / "plain", plain, 30)
    assert parameter_hash(first) == parameter_hash(second)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, gossip=GossipSettings(topology="directed-ring")),
        replace(CONFIG, gossip=GossipSettings(topology="undirected-ring")),
        replace(CONFIG, gossip=GossipSettings(topology="rotating-exponential")),
        replace(CONFIG, learners_per_node=2, gossip=GossipSettings(topology="hierarchical")),
        replace(CONFIG, gossip=GossipSettings(mix_optimizer=True)),
        replace(CONFIG, lstm_size=8),
        PPO,
        replace(PPO, gossip=GossipSettings(mix_optimizer=True)),
        replace(PPO, lstm_size=8),
    ],
    ids=str,
)
@pytest.mark.parametrize("normalize", [pytest.param(False, marks=pytest.mark.slow), True])
def test_stopping_and_resuming_changes_nothing_bit_for_bit(
    tmp_path: Path, config: ResolvedConfig, normalize: bool
) -> None:
    assert isinstance(config.algorithm, ActorCriticSettings)
    algorithm = replace(
        config.algorithm, normalize_observations=normalize, normalize_rewards=normalize
    )
    config = replace(config, algorithm=algorithm)
    # An episode has 23 steps, of which an update makes 5: one ends before and one after the stop.
    straight = train(tmp_path / "straight", config, 12)
    broken = train(tmp_path / "broken", config, 6)
    train(tmp_path / "broken", config, 12, resume=True)
    for one, other in zip(states(straight), states(broken), strict=True):
        assert one.counters == other.counters
        assert one.tensors.keys() == other.tensors.keys()
        for name, tensor in one.tensors.items():
            assert torch.equal(tensor, other.tensors[name]), name


def test_learners_gossip_and_still_differ(tmp_path: Path) -> None:
    learners = states(train(tmp_path / "run", CONFIG, 12))
    assert all(state.counters["mixes"] > 0 for state in learners)
    vectors = [state.tensors["parameters"] for state in learners]
    assert not torch.equal(vectors[0], vectors[1])


def test_what_a_recurrent_learner_remembers_is_in_its_checkpoint(tmp_path: Path) -> None:
    for state in states(train(tmp_path / "run", replace(CONFIG, lstm_size=8), 3)):
        assert state.tensors["state"].shape == (SIMULATORS, 16)
        remembers = state.tensors["state"].any(dim=-1)
        assert torch.equal(remembers, ~state.tensors["begins"])
        assert remembers.any()
