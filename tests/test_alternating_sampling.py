"""Groups of simulators that step while the network acts for the others: alternating sampling."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Transition
from gala_rl.envs.atari import AtariSimulators
from gala_rl.trajectory import Trajectory
from tests.support.acting import SIMULATORS, STEPS, Recorder, Staggered, collect, joined


def test_a_group_steps_while_the_network_acts_for_the_others() -> None:
    simulators = Staggered(groups=2)
    Actor(simulators, Recorder(), rollout_steps=3, seed=0).collect()
    in_turn = [("recv", 0), ("send", 0), ("recv", 1), ("send", 1)]
    first, last = [("send", 0), ("send", 1)], [("recv", 0), ("recv", 1)]
    assert simulators.tape == first + 2 * in_turn + last


@pytest.mark.parametrize(("groups", "threads"), [(1, 4), (2, 2), (3, 2)])
def test_simulators_that_step_meanwhile_are_left_half_of_the_threads(
    groups: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    recv = Staggered.recv

    def recv_and_look(simulators: Staggered, group: int = 0) -> Transition:
        seen.add(torch.get_num_threads())
        return recv(simulators, group)

    monkeypatch.setattr(Staggered, "recv", recv_and_look)
    actor = Actor(Staggered(groups), Recorder(), STEPS, seed=0)
    torch.set_num_threads(4)
    actor.collect()
    assert (seen, torch.get_num_threads()) == ({threads}, 4)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_every_group_fills_its_own_rows(groups: int) -> None:
    actor = Actor(Staggered(groups), Recorder(), STEPS, seed=0)
    trajectories = collect(actor, 2)
    steps = torch.arange(2 * STEPS, dtype=torch.float32)
    observations = joined([t.observations[:-1] for t in trajectories])
    assert torch.equal(observations[:, :, 0], steps[:, None].expand(-1, SIMULATORS))
    assert torch.equal(observations[0, :, 1], torch.arange(SIMULATORS, dtype=torch.float32))
    rewards = joined([t.rewards for t in trajectories])
    assert torch.equal(rewards, (steps + 1)[:, None].expand(-1, SIMULATORS))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_simulators_that_are_cut_at_different_steps_keep_their_own_values(groups: int) -> None:
    actor = Actor(Staggered(groups), Recorder(), STEPS, seed=0)
    values = joined([t.truncation_values for t in collect(actor, 6)])
    for k in range(len(values)):
        for b in range(SIMULATORS):
            cut = (k + 1) % (b + 2) == 0
            assert values[k, b].item() == (-(100 * (k + 1) + 10 * b) if cut else 0)


class Reader(Recorder):
    """Chooses by the pixels that it sees and by nothing else."""

    def pick(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        return observations.long().sum(dim=(1, 2, 3)) % 4


def play(groups: int, rollouts: int) -> list[Trajectory]:
    breakout = AtariSimulators(EnvironmentSource("BreakoutNoFrameskip-v4"), 5, 1, True, groups)
    actor = Actor(breakout, Reader(), 40, seed=3)
    try:
        return collect(actor, rollouts)
    finally:
        actor.close()


@pytest.mark.parametrize("groups", [2, *(pytest.param(g, marks=pytest.mark.slow) for g in (3, 5))])
def test_alternating_sampling_makes_the_trajectories_of_synchronised_sampling(groups: int) -> None:
    together, in_turn = play(1, rollouts=5), play(groups, rollouts=5)
    for name in ("observations", "actions", "rewards", "terminated", "truncated"):
        expected = joined([getattr(t, name) for t in together])
        assert torch.equal(joined([getattr(t, name) for t in in_turn]), expected), name
        assert expected.bool().any() or name == "truncated"


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_alternating_sampling_draws_every_action_from_the_policy_and_on_its_own(
    groups: int,
) -> None:
    actor = Actor(Staggered(groups), Recorder(), 4_000, seed=0)
    coins = actor.collect().actions.double()
    # Means and correlations of 4,000 fair coins: five standard deviations.
    limit = 5 / np.sqrt(len(coins))
    assert torch.all((2 * coins.mean(dim=0) - 1).abs() < limit)
    signs = 2 * coins - 1
    within = signs.T @ signs / len(signs) - torch.eye(SIMULATORS)
    after = signs[1:].T @ signs[:-1] / len(signs)
    assert within.abs().max() < limit
    assert after.abs().max() < limit
