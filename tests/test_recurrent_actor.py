"""What acted and what is learned from remember the same, across rollouts, episodes and groups."""

import copy

import pytest
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Simulators, make_simulators
from gala_rl.methods.a2c import A2CSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.q_network import QNetwork
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations, Trajectory
from tests.support.acting import LENGTH, SIMULATORS, Staggered
from tests.support.learning_problems import a2c_learner

lengths = pytest.mark.parametrize("steps", [1, 3, 5, 7, 20])
groups = pytest.mark.parametrize("groups", [1, 2, 3])


class Tally(ActorCritic):
    """Remembers how many observations it has seen, and the sum of their second numbers.

    Values tell what was remembered before the observation: 1000 · count + sum.
    """

    def __init__(self) -> None:
        super().__init__(ObservationSpec((3,), False), ActionSpec(2, True), lstm_size=1)
        self.acted_from: list[Tensor] = []

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: Activations | None = None,
    ) -> Tensor:
        assert state is not None
        self.acted_from.append(state.clone())
        state[:, 0] += 1.0
        state[:, 1] += observations[:, 1]
        return torch.zeros(len(observations), dtype=torch.int64)

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        assert state is not None
        return 1000.0 * state[:, 0] + state[:, 1]


class RewardTally(Tally):
    """Remembers the sum of its rewards instead of the numbers that it sees."""

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: Activations | None = None,
    ) -> Tensor:
        return super().act(0.0 * observations, generator, state, record)

    def observe_rewards(self, rewards: Tensor, state: Tensor) -> None:
        state[:, 1] += rewards


def counting(env: str = "Counting-v0") -> Simulators:
    return make_simulators(EnvironmentSource(f"tests.environments:{env}"), SIMULATORS, 1)


def rollouts(actor: Actor, count: int) -> list[Trajectory]:
    return [copy.deepcopy(actor.collect()) for _ in range(count)]


@lengths
def test_every_episode_is_remembered_from_its_start_and_no_further(steps: int) -> None:
    model = Tally()
    actor = Actor(counting(), model, steps, seed=0)
    model.acted_from.clear()
    trajectories = rollouts(actor, 40 // steps)
    for k, state in enumerate(model.acted_from):
        step = k % LENGTH
        assert state.tolist() == [[step, step * (step - 1) / 2]] * SIMULATORS
    begins = torch.cat([t.is_first[:-1] for t in trajectories])
    assert begins.tolist() == [[k % LENGTH == 0] * SIMULATORS for k in range(len(begins))]
    for rollout, trajectory in enumerate(trajectories):
        first, last = rollout * steps % LENGTH, (rollout + 1) * steps % LENGTH
        assert trajectory.initial_state[:, 0].tolist() == [first] * SIMULATORS
        assert trajectory.final_state[:, 0].tolist() == [last] * SIMULATORS


@groups
@lengths
def test_the_state_before_every_step_is_stored_for_a_replay(groups: int, steps: int) -> None:
    actor = Actor(Staggered(groups), Tally(), steps, seed=0, for_replay=True)
    trajectories = rollouts(actor, 40 // steps)
    states = torch.cat([t.states for t in trajectories if t.states is not None])
    for k in range(len(states)):
        for b in range(SIMULATORS):
            # The second number of simulator b is always b.
            assert states[k, b].tolist() == [k % (b + 2), b * (k % (b + 2))]
    assert Actor(Staggered(groups), Tally(), steps, seed=0).collect().states is None


@lengths
def test_what_is_cut_is_valued_with_what_was_remembered_until_then(steps: int) -> None:
    actor = Actor(counting("CountingTruncated-v0"), Tally(), steps, seed=0)
    values = torch.cat([t.truncation_values for t in rollouts(actor, 40 // steps)])
    # All seven observations of the episode, 0 + 1 + … + 6, and not the one that was cut.
    remembered = 1000.0 * LENGTH + sum(range(LENGTH))
    for k, row in enumerate(values.tolist()):
        assert row == [remembered if k % LENGTH == LENGTH - 1 else 0.0] * SIMULATORS


@groups
@lengths
def test_simulators_that_end_at_different_steps_forget_each_by_itself(
    groups: int, steps: int
) -> None:
    actor = Actor(Staggered(groups), Tally(), steps, seed=0)
    trajectories = rollouts(actor, 40 // steps)
    begins = torch.cat([t.is_first[:-1] for t in trajectories])
    values = torch.cat([t.truncation_values for t in trajectories])
    for k in range(len(begins)):
        for b in range(SIMULATORS):
            length = b + 2
            assert begins[k, b].item() == (k % length == 0)
            # The second number of simulator b is always b.
            cut = (k + 1) % length == 0
            assert values[k, b].item() == (1000 * length + b * length if cut else 0)
    for trajectory in trajectories:
        forgotten = (trajectory.final_state == 0).all(dim=-1)
        assert torch.equal(trajectory.is_first[-1], forgotten)


@groups
@lengths
def test_rewards_are_observed_after_each_step_and_before_what_is_cut_is_valued(
    groups: int, steps: int
) -> None:
    actor = Actor(Staggered(groups), RewardTally(), steps, seed=0)
    trajectories = rollouts(actor, 40 // steps)
    values = torch.cat([t.truncation_values for t in trajectories])
    for k in range(len(values)):
        for b in range(SIMULATORS):
            length = b + 2
            # Step k pays k + 1.
            earned = sum(range(k + 2 - length, k + 2))
            expected = 1000 * length + earned if (k + 1) % length == 0 else 0
            assert values[k, b].item() == expected
    for trajectory in trajectories:
        begun = trajectory.is_first[-1]
        assert not trajectory.final_state[begun].any()
        assert (trajectory.final_state[~begun, 1] > 0).all()


def random_network() -> ActorCritic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = ActorCritic(ObservationSpec((3,), False), ActionSpec(2, True), lstm_size=8)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return model


@groups
@lengths
def test_the_learner_unrolls_exactly_what_acted(groups: int, steps: int) -> None:
    model = random_network()
    actor = Actor(Staggered(groups), model, steps, seed=0, with_behaviour=True)
    for _ in range(4):
        trajectory = actor.collect()
        assert trajectory.log_probs is not None
        assert trajectory.values is not None
        flat = trajectory.observations[:-1].flatten(0, 1), trajectory.actions.flatten(0, 1)
        evaluation = model.evaluate(*flat, trajectory.initial_state, trajectory.is_first[:-1])
        for now, then in (
            (evaluation.log_probs, trajectory.log_probs),
            (evaluation.values, trajectory.values),
        ):
            torch.testing.assert_close(now.view(steps, -1), then, rtol=0.0, atol=1e-5)
        after = evaluation.state.masked_fill(trajectory.is_first[-1].unsqueeze(-1), 0.0)
        torch.testing.assert_close(after, trajectory.final_state, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("columns", [slice(1, 3), torch.tensor([2, 0])], ids=["slice", "list"])
def test_some_simulators_can_be_evaluated_without_the_others(columns: slice | Tensor) -> None:
    model = random_network()
    trajectory = Actor(Staggered(), model, 5, seed=0, with_behaviour=True).collect()
    some = model.evaluate(
        trajectory.observations[:-1, columns].flatten(0, 1),
        trajectory.actions[:, columns].flatten(0, 1),
        trajectory.initial_state[columns],
        trajectory.is_first[:-1, columns],
    )
    assert trajectory.values is not None
    expected = trajectory.values[:, columns]
    torch.testing.assert_close(some.values.view(5, -1), expected, rtol=0.0, atol=1e-5)


def test_an_update_bootstraps_from_the_state_in_which_the_rollout_stopped() -> None:
    asked: list[Tensor] = []

    class Spy(ActorCritic):
        def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
            assert state is not None
            asked.append(state.clone())
            return super().values(observations, state)

    model = Spy(ObservationSpec((3,), False), ActionSpec(2, True), lstm_size=8)
    learner = a2c_learner(model, A2CSettings())
    trajectory = Actor(counting(), model, 5, seed=0).collect()
    learner.update(trajectory, 1e-3)
    assert torch.equal(asked[0], trajectory.final_state)
    assert trajectory.final_state.any()


def test_a_network_without_state_has_none_in_its_trajectory() -> None:
    model = ActorCritic(ObservationSpec((3,), False), ActionSpec(2, True))
    trajectory = Actor(counting(), model, 5, seed=0).collect()
    assert trajectory.initial_state.shape == trajectory.final_state.shape == (SIMULATORS, 0)


def test_the_memory_of_a_rollout_stays_where_it_is() -> None:
    actor = Actor(counting(), random_network(), 5, seed=0)

    def places() -> list[int]:
        trajectory = actor.collect()
        memory = (trajectory.initial_state, trajectory.final_state, trajectory.is_first)
        return [tensor.data_ptr() for tensor in memory]

    first = places()
    assert len(set(first)) == 3
    assert all(places() == first for _ in range(4))


@pytest.mark.parametrize("with_behaviour", [True, False])
def test_action_values_are_recorded_if_the_network_has_them(with_behaviour: bool) -> None:
    spec = ObservationSpec((3,), False), ActionSpec(2, True)
    recorded = []
    for model in (QNetwork(*spec, lstm_size=2), ActorCritic(*spec, lstm_size=2)):
        actor = Actor(Staggered(), model, 5, seed=0, with_behaviour=with_behaviour)
        recorded.append(actor.collect().action_values is not None)
    assert recorded == [with_behaviour, False]
