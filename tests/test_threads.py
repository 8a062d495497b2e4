"""Threads follow the size of a network's passes, the same in training, evaluation and actors."""

from dataclasses import replace

import pytest
import torch

from gala_rl.agent import build_agent, initial_parameters_of
from gala_rl.config import resolved as resolving
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.threads import actor_threads, forward_flop, learner_threads, threads_for

CPU = torch.device("cpu")


def resolved(method: str = "a2c", **settings: object) -> ResolvedConfig:
    given = {"env": "CartPole-v1", "learners": 1, "simulators": 16, **settings}
    return resolve(TrainConfig(method=method, **given))  # type: ignore[arg-type]


def test_flop_of_a_small_network_are_those_counted_by_hand() -> None:
    model = ActorCritic(ObservationSpec((4,), False), ActionSpec(2, True))
    torsos = 2 * (4 * 64 + 64 * 64)
    assert forward_flop(model, ObservationSpec((4,), False)) == 2 * (torsos + 64 * 2 + 64)


def test_flop_of_convolutions_count_every_position_of_the_output() -> None:
    image = ObservationSpec((4, 84, 84), True)
    model = ActorCritic(image, ActionSpec(6, True))
    convolutions = 32 * 4 * 8 * 8 * 20 * 20 + 64 * 32 * 4 * 4 * 9 * 9 + 32 * 64 * 3 * 3 * 7 * 7
    dense = 32 * 7 * 7 * 512 + 512 * 6 + 512
    assert forward_flop(model, image) == 2 * (convolutions + dense)


@pytest.mark.parametrize(
    ("mflop", "cores", "threads"),
    [(0.3, 64, 1), (29, 64, 1), (31, 64, 2), (300, 64, 20), (300, 2, 2)],
)
def test_a_thread_per_15_million_operations(mflop: float, cores: int, threads: int) -> None:
    assert threads_for(mflop * 1e6, cores) == threads


def test_a_small_network_has_one_thread_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: 64)
    agent = build_agent(resolved(), 0, MemoryNetwork(1).transport(0), CPU, seed=0)
    agent.step(1e-4)
    assert agent.threads[:2] == (1, 1)
    assert torch.get_num_threads() == 1
    agent.source.close()


def test_acting_and_learning_are_sized_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: 8)
    config = resolved("ppo", simulators=1)  # 128 steps in 4 minibatches
    assert learner_threads(config, 15e6, CPU)[:2] == (1, 8)


def test_a_setting_overrides_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: 8)
    config = resolved(network_threads=3)
    assert learner_threads(config, 1.0, CPU)[:2] == (3, 3)
    assert actor_threads(replace(config, simulators=4), 1.0, 4) == 3


def test_actors_share_the_cores_that_are_not_the_learners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "usable_cores", lambda: 9)
    config = resolved("impala", simulators=16)
    assert actor_threads(config, 1e9, 2) == 1
    assert actor_threads(config, 1e9, 8) == 4
    assert actor_threads(config, 1e3, 8) == 1


def test_initial_parameters_do_not_depend_on_the_callers_threads() -> None:
    def initial(threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        return initial_parameters_of(resolved()).parameters

    assert torch.equal(initial(1), initial(4))
    assert torch.get_num_threads() == 4
