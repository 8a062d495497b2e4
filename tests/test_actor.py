"""The actor lines up observation, action, reward and end, across rollouts and across episodes."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.envs import Episode, Transition, make_simulators
from gala_rl.envs.atari import AtariSimulators
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.settings import AtariProtocol
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations, Trajectory

SIMULATORS, STEPS, LENGTH = 3, 5, 7


class Recorder(ActorCritic):
    """Notes what it is asked; its values name the observation: 100 · episode + 10 · step + action.

    Its actions are fair coins from the given generator.
    """

    def __init__(self) -> None:
        super().__init__(ObservationSpec((3,), False), ActionSpec(2, True))
        self.acted_on: list[Tensor] = []
        self.valued: list[Tensor] = []

    def sample(
        self,
        observations: Tensor,
        generator: torch.Generator,
        record: Activations | None = None,
        state: Tensor | None = None,
    ) -> Tensor:
        self.acted_on.append(observations.clone())
        return self.pick(observations, generator)

    def pick(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (len(observations),), generator=generator)

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        self.valued.append(observations.clone())
        return observations @ torch.tensor([100.0, 10.0, 1.0])[: observations.shape[1]]


def make_actor(env: str = "Counting-v0", seed: int = 0, steps: int = STEPS) -> Actor:
    simulators = make_simulators(f"tests.environments:{env}", SIMULATORS, 1, AtariProtocol())
    return Actor(simulators, Recorder(), steps, seed)


def recorder_of(actor: Actor) -> Recorder:
    assert isinstance(actor.model, Recorder)
    return actor.model


def collect(actor: Actor, rollouts: int) -> list[Trajectory]:
    return [copy.deepcopy(actor.collect()) for _ in range(rollouts)]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """[rollouts * T, B, ...]"""
    return torch.cat(list(parts))


@pytest.mark.parametrize("steps", [1, 5, 7, 20])
def test_every_number_is_in_its_place_over_several_rollouts(steps: int) -> None:
    actor = make_actor(steps=steps)
    trajectories = collect(actor, 50 // steps)
    observations = joined([t.observations[:-1] for t in trajectories])
    actions = joined([t.actions for t in trajectories])
    rewards = joined([t.rewards for t in trajectories])
    terminated = joined([t.terminated for t in trajectories])
    for k in range(len(observations)):
        episode, step = divmod(k, LENGTH)
        for b in range(SIMULATORS):
            last_action = actions[k - 1, b].item() if step else -1
            assert observations[k, b].tolist() == [episode, step, last_action]
            assert rewards[k, b].item() == step + 1
            assert terminated[k, b].item() == (step == LENGTH - 1)
    assert not any(t.truncated.any() for t in trajectories)
    assert set(actions.flatten().tolist()) == {0, 1}


def test_a_rollout_begins_where_the_last_one_stopped() -> None:
    trajectories = collect(make_actor(), 6)
    for before, after in itertools.pairwise(trajectories):
        assert torch.equal(after.observations[0], before.observations[-1])


def test_the_policy_sees_exactly_the_stored_observations() -> None:
    actor = make_actor()
    recorder_of(actor).acted_on.clear()
    trajectories = collect(actor, 3)
    seen = torch.stack(recorder_of(actor).acted_on)
    assert torch.equal(seen, joined([t.observations[:-1] for t in trajectories]))


def test_a_truncated_episode_is_valued_at_its_own_final_observation() -> None:
    actor = make_actor("CountingTruncated-v0")
    trajectories = collect(actor, 8)
    actions = joined([t.actions for t in trajectories])
    truncated = joined([t.truncated for t in trajectories])
    values = joined([t.truncation_values for t in trajectories])
    for k in range(len(values)):
        episode, step = divmod(k, LENGTH)
        cut = step == LENGTH - 1
        for b in range(SIMULATORS):
            final = 100 * episode + 10 * LENGTH + actions[k, b].item()
            assert truncated[k, b].item() == cut
            assert values[k, b].item() == (final if cut else 0)
    assert not any(t.terminated.any() for t in trajectories)


def test_values_are_asked_for_truncated_episodes_only() -> None:
    actor = make_actor("Counting-v0")
    collect(actor, 8)
    assert recorder_of(actor).valued == []


class Staggered:
    """Simulator b is truncated at every (b + 2)nd step; rows that nobody may read hold garbage."""

    count = SIMULATORS
    observation = ObservationSpec((3,), False)
    action = ActionSpec(2, True)
    frames_per_step = 1
    failures = 0

    def __init__(self, groups: int = 1) -> None:
        edges = [SIMULATORS * g // groups for g in range(groups + 1)]
        self.groups = tuple(slice(*ends) for ends in itertools.pairwise(edges))
        self.steps = [0] * groups
        self.tape: list[tuple[str, int]] = []

    def _rows(self, steps: int) -> NDArray[np.float32]:
        return np.array([[steps, b, 0] for b in range(SIMULATORS)], dtype=np.float32)

    def reset(self, seed: int) -> NDArray[np.float32]:
        return self._rows(0)

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        rows = self.groups[group]
        assert actions.shape == (rows.stop - rows.start,)
        self.tape.append(("send", group))

    def recv(self, group: int = 0) -> Transition:
        self.tape.append(("recv", group))
        self.steps[group] += 1
        rows, steps = self.groups[group], self.steps[group]
        cut = np.array([steps % (b + 2) == 0 for b in range(SIMULATORS)])
        final = np.where(cut[:, None], -self._rows(steps), np.float32(1e9))[rows]
        return Transition(
            observations=self._rows(steps)[rows],
            rewards=np.full(SIMULATORS, steps, dtype=np.float32)[rows],
            terminated=np.zeros(SIMULATORS, dtype=np.bool_)[rows],
            truncated=cut[rows],
            final_observations=final if cut[rows].any() else None,
            episodes=[Episode(int(b), 0.0, int(b) + 2) for b in np.flatnonzero(cut[rows])],
        )

    def step(self, actions: NDArray[Any]) -> Transition:
        self.send(actions)
        return self.recv()

    def get_state(self) -> None:
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        raise ValueError("this state cannot be set")

    def close(self) -> None:
        self.tape.clear()


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
    breakout = AtariSimulators("BreakoutNoFrameskip-v4", 5, 1, AtariProtocol(), True, groups)
    actor = Actor(breakout, Reader(), 40, seed=3)
    try:
        return collect(actor, rollouts)
    finally:
        actor.close()


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_alternating_sampling_makes_the_trajectories_of_synchronised_sampling(groups: int) -> None:
    together, in_turn = play(1, rollouts=3), play(groups, rollouts=3)
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


def test_each_episode_is_reported_once_with_its_score_and_length() -> None:
    actor = make_actor()
    for rollout in range(1, 13):
        actor.collect()
        assert len(actor.episodes) == SIMULATORS * (rollout * STEPS // LENGTH)
    score = float(sum(range(1, LENGTH + 1)))
    round_of_all = [Episode(b, score, LENGTH) for b in range(SIMULATORS)]
    assert list(actor.episodes) == round_of_all * (12 * STEPS // LENGTH)


def test_episodes_that_were_taken_do_not_come_back() -> None:
    actor = make_actor(steps=LENGTH)
    actor.collect()
    actor.episodes.clear()
    actor.collect()
    assert len(actor.episodes) == SIMULATORS


def test_storage_is_reused() -> None:
    actor = make_actor("CountingTruncated-v0")

    def places() -> list[int]:
        trajectory = actor.collect()
        return [
            trajectory.observations.data_ptr(),
            trajectory.actions.data_ptr(),
            trajectory.rewards.data_ptr(),
            trajectory.terminated.data_ptr(),
            trajectory.truncated.data_ptr(),
            trajectory.truncation_values.data_ptr(),
        ]

    first = places()
    assert all(places() == first for _ in range(4))
    assert actor.collect() is actor.trajectory


def test_a_rollout_carries_no_gradient() -> None:
    model = ActorCritic(ObservationSpec((3,), False), ActionSpec(2, True))
    simulators = make_simulators(
        "tests.environments:CountingTruncated-v0", SIMULATORS, 1, AtariProtocol()
    )
    trajectory = Actor(simulators, model, 8, seed=0).collect()
    assert trajectory.truncation_values.any()
    assert not trajectory.truncation_values.requires_grad


def drift(seed: int) -> Trajectory:
    """A rollout of an environment and a policy that are both random."""
    return collect(make_actor("Drifting-v0", seed, steps=40), 2)[1]


def test_the_same_seed_gives_the_same_trajectory_whatever_else_is_random() -> None:
    first = drift(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        again = drift(3)
    assert torch.equal(first.observations, again.observations)
    assert torch.equal(first.actions, again.actions)
    assert torch.equal(first.rewards, again.rewards)


def test_another_seed_gives_other_simulators_and_other_actions() -> None:
    first = make_actor("Drifting-v0", 3).trajectory.observations[-1]
    other = make_actor("Drifting-v0", 4).trajectory.observations[-1]
    assert not torch.isclose(first, other).any()
    assert not torch.equal(drift(3).actions, drift(4).actions)


def test_simulators_of_one_actor_differ_from_each_other() -> None:
    starts = make_actor("Drifting-v0", 3).trajectory.observations[-1]
    assert len({tuple(row) for row in starts.tolist()}) == SIMULATORS
    assert len({tuple(row) for row in drift(3).actions.T.tolist()}) == SIMULATORS


def test_the_newest_parameters_act() -> None:
    simulators = make_simulators("tests.environments:Counting-v0", SIMULATORS, 1, AtariProtocol())
    model = ActorCritic(simulators.observation, simulators.action)
    actor = Actor(simulators, model, STEPS, seed=0)
    bias = dict(model.named_parameters())["_policy.logits.bias"]
    for action in (1, 0, 1):
        with torch.no_grad():
            bias.copy_(torch.tensor([50.0, -50.0] if action == 0 else [-50.0, 50.0]))
        assert set(actor.collect().actions.flatten().tolist()) == {action}


def test_continuous_actions_are_stored_as_they_were_drawn() -> None:
    class Wild(ActorCritic):
        def sample(
            self,
            observations: Tensor,
            generator: torch.Generator,
            record: object = None,
            state: object = None,
        ) -> Tensor:
            return torch.full((len(observations), 1), 30.0)

    simulators = make_simulators("Pendulum-v1", SIMULATORS, 1, AtariProtocol())
    model = Wild(simulators.observation, simulators.action)
    actions = Actor(simulators, model, STEPS, seed=0).collect().actions
    # Pendulum takes -2 … 2: what was clipped for it is not what was chosen.
    assert torch.equal(actions, torch.full((STEPS, SIMULATORS, 1), 30.0))
