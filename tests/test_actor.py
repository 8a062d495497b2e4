"""The actor lines up observation, action, reward and end, across rollouts and across episodes."""

import itertools

import pytest
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Episode, make_simulators
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import StopRequested, never
from tests.support.acting import LENGTH, SIMULATORS, STEPS, Recorder, collect, joined


def make_actor(env: str = "Counting-v0", seed: int = 0, steps: int = STEPS) -> Actor:
    simulators = make_simulators(EnvironmentSource(f"tests.environments:{env}"), SIMULATORS, 1)
    return Actor(simulators, Recorder(), steps, seed)


def recorder_of(actor: Actor) -> Recorder:
    assert isinstance(actor.network, Recorder)
    return actor.network


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


def test_final_observations_are_stored_for_a_replay_alone() -> None:
    source = EnvironmentSource("tests.environments:CountingTruncated-v0")
    simulators = make_simulators(source, SIMULATORS, 1)
    actor = Actor(simulators, Recorder(), STEPS, 0, for_replay=True)
    trajectories = collect(actor, 8)
    actions = joined([t.actions for t in trajectories])
    truncated = joined([t.truncated for t in trajectories])
    finals = joined(
        [t.final_observations for t in trajectories if t.final_observations is not None]
    )
    assert truncated.any()
    for k, b in truncated.nonzero().tolist():
        assert finals[k, b].tolist() == [k // LENGTH, LENGTH, actions[k, b].item()]
    assert make_actor("CountingTruncated-v0").collect().final_observations is None


def test_values_are_asked_for_truncated_episodes_only() -> None:
    actor = make_actor("Counting-v0")
    collect(actor, 8)
    assert recorder_of(actor).valued == []


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
        EnvironmentSource("tests.environments:CountingTruncated-v0"), SIMULATORS, 1
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
    simulators = make_simulators(EnvironmentSource("tests.environments:Counting-v0"), SIMULATORS, 1)
    model = ActorCritic(simulators.observation, simulators.action)
    actor = Actor(simulators, model, STEPS, seed=0)
    bias = dict(model.named_parameters())["_policy.logits.bias"]
    for action in (1, 0, 1):
        with torch.no_grad():
            bias.copy_(torch.tensor([50.0, -50.0] if action == 0 else [-50.0, 50.0]))
        assert set(actor.collect().actions.flatten().tolist()) == {action}


def test_continuous_actions_are_stored_as_they_were_drawn() -> None:
    class Wild(ActorCritic):
        def act(
            self,
            observations: Tensor,
            generator: torch.Generator,
            state: object = None,
            record: object = None,
        ) -> Tensor:
            return torch.full((len(observations), 1), 30.0)

    simulators = make_simulators(EnvironmentSource("Pendulum-v1"), SIMULATORS, 1)
    model = Wild(simulators.observation, simulators.action)
    actions = Actor(simulators, model, STEPS, seed=0).collect().actions
    # Pendulum takes -2 … 2: what was clipped for it is not what was chosen.
    assert torch.equal(actions, torch.full((STEPS, SIMULATORS, 1), 30.0))


def test_a_rollout_that_is_broken_off_leaves_off_where_the_next_begins() -> None:
    made = GymnasiumSimulators(EnvironmentSource("tests.environments:Drifting-v0"), 2)
    actor = Actor(made, Recorder(), STEPS, seed=0)
    actor.collect()
    looks = iter([False, True])
    actor.should_stop = lambda: next(looks)
    with pytest.raises(StopRequested):
        actor.collect()
    where = torch.from_numpy(made._observations.copy())
    assert torch.equal(actor.trajectory.observations[-1], where)
    actor.should_stop = never
    assert torch.equal(actor.collect().observations[0], where)
