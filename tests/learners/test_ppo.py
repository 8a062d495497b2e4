"""A whole PPO update equals its literal reimplementation, and what must hold of any update."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import make_simulators
from gala_rl.learners.learner import UpdateMetrics
from gala_rl.learners.ppo import PPOLearner
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from tests.learners.ppo_oracle import (
    RATE,
    SAMPLES,
    SETTINGS,
    SPLITS,
    chosen,
    literal_update,
    make_learner,
    steps_made,
)
from tests.support.learning_problems import (
    CONTINUOUS,
    DISCRETE,
    IMAGE,
    STEPS,
    VECTOR,
    a2c_learner,
    make_model,
    random_trajectory,
    scalars,
    vector_of,
)


@pytest.mark.parametrize(
    ("observation", "action"), [(VECTOR, DISCRETE), (VECTOR, CONTINUOUS), (IMAGE, DISCRETE)]
)
def test_updates_equal_the_literal_reimplementation(
    observation: ObservationSpec, action: ActionSpec
) -> None:
    model = make_model(observation, action)
    literal = copy.deepcopy(model)
    learner = make_learner(model, SETTINGS)
    reference = torch.optim.Adam(literal.parameters(), eps=SETTINGS.adam_epsilon)
    norms = []
    for update, learning_rate in enumerate((RATE, 0.4 * RATE)):
        trajectory = chosen(model, observation, action, seed=update)
        assert learner.generator is not None
        generator = torch.Generator()
        generator.set_state(learner.generator.get_state())
        reference.param_groups[0]["lr"] = learning_rate
        before = vector_of(literal)
        seen = literal_update(
            literal, reference, trajectory, generator, 0.15 * learning_rate / RATE
        )
        moved = (vector_of(literal) - before).norm().item()
        metrics = learner.update(trajectory, learning_rate)
        norms += [step[3] for step in seen]
        every = torch.tensor(seen)
        expected = every[:, :4].mean(0).tolist()
        assert scalars(metrics) == pytest.approx(expected, rel=1e-3, abs=1e-5)
        kl, clipped = every[-len(SPLITS) :, 4:].mean(0).tolist()
        assert metrics.losses["approx_kl"].item() == pytest.approx(kl, rel=1e-2, abs=1e-6)
        assert metrics.losses["clip_fraction"].item() == pytest.approx(clipped, abs=1e-6)
        assert 0 < clipped < 1
        assert metrics.update_norm.item() == pytest.approx(moved, rel=1e-3)
        for mine, theirs in zip(model.parameters(), literal.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert min(norms) < SETTINGS.max_grad_norm < max(norms), "both sides of the limit must be seen"


def test_the_first_step_of_undisturbed_rollouts_is_that_of_a2c() -> None:
    """Ratios are 1 and λ is 1: the surrogate's gradient is that of n-step actor-critic."""
    common: dict[str, Any] = {"discount": 0.8, "value_cost": 0.7, "max_grad_norm": 1e6}
    ppo = PPOSettings(**common, gae_lambda=1.0, epochs=1, minibatches=1, normalize_advantages=False)
    first, second = make_model(VECTOR, DISCRETE), make_model(VECTOR, DISCRETE)
    trajectory = chosen(first, noise=0.0)
    one, other = make_learner(first, ppo), a2c_learner(second, A2CSettings(**common))
    one.update(trajectory, RATE)
    other.update(trajectory, RATE)
    assert one.flat.grads.norm() > 0.1
    torch.testing.assert_close(one.flat.grads, other.flat.grads, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target_kl", [None, 1e-9, 1e3])
def test_new_parameters_can_be_written_elsewhere(target_kl: float | None) -> None:
    settings = replace(SETTINGS, target_kl=target_kl)
    first, second = make_model(VECTOR, DISCRETE), make_model(VECTOR, DISCRETE)
    inside, outside = make_learner(first, settings), make_learner(second, settings)
    out = torch.full_like(outside.flat.values, float("nan"))
    trajectory = chosen(first)
    expected = inside.update(trajectory, RATE)
    metrics = outside.update(trajectory, RATE, out)
    assert torch.equal(out, inside.flat.values)
    assert torch.equal(outside.optimizer.state, inside.optimizer.state)
    assert all_of(metrics) == all_of(expected)


def all_of(metrics: UpdateMetrics) -> list[float]:
    return [x.item() for x in (*metrics[:-1], *metrics.losses.values())]


@pytest.mark.parametrize(("target_kl", "epochs"), [(None, 3), (1e3, 3), (1e-9, 1)])
def test_no_epoch_follows_one_that_went_too_far(target_kl: float | None, epochs: int) -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), replace(SETTINGS, target_kl=target_kl))
    learner.update(chosen(learner._model), RATE)
    assert steps_made(learner) == epochs * len(SPLITS)


def test_the_clip_range_falls_with_the_learning_rate_where_it_should() -> None:
    results = []
    for settings in (
        replace(SETTINGS, clip_range=0.2),
        replace(SETTINGS, clip_range=0.1, anneal_clip_range=False),
        replace(SETTINGS, clip_range=0.2, anneal_clip_range=False),
    ):
        learner = make_learner(make_model(VECTOR, DISCRETE), settings)
        learner.update(chosen(learner._model), 0.5 * RATE)
        results.append(learner.flat.values)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_shuffling_goes_on_from_the_state_of_its_generator_and_follows_the_seed() -> None:
    learners = [make_learner(make_model(VECTOR, DISCRETE), SETTINGS, seed) for seed in (0, 0, 1)]
    trajectory = chosen(learners[0]._model)
    for learner in learners:
        learner.update(trajectory, RATE)
    whole, same, other = (learner.flat.values.clone() for learner in learners)
    assert torch.equal(whole, same)
    assert not torch.equal(whole, other)
    continued = make_learner(make_model(VECTOR, DISCRETE), SETTINGS, seed=7)
    continued.state.copy_(learners[0].state)
    assert continued.generator is not None
    assert learners[0].generator is not None
    continued.generator.set_state(learners[0].generator.get_state())
    for learner in (learners[0], continued):
        learner.update(trajectory, RATE)
    assert torch.equal(continued.state, learners[0].state)


def test_every_sample_is_seen_once_an_epoch() -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    trajectory = chosen(learner._model)
    batches: list[Tensor] = []
    evaluate = learner._model.evaluate

    def watched(observations: Tensor, actions: Tensor, *rest: Any) -> Any:
        batches.append(observations)
        return evaluate(observations, actions, *rest)

    learner._model.evaluate = watched  # type: ignore[method-assign, assignment]
    learner.update(trajectory, RATE)
    assert [len(batch) for batch in batches] == SETTINGS.epochs * SPLITS
    everything = sorted(trajectory.observations[:-1].flatten(0, 1).tolist())
    for epoch in range(SETTINGS.epochs):
        seen = torch.cat(batches[epoch * len(SPLITS) : (epoch + 1) * len(SPLITS)])
        assert sorted(seen.tolist()) == everything


def test_an_update_leaves_the_trajectory_alone() -> None:
    learner = make_learner(make_model(IMAGE, DISCRETE), SETTINGS)
    trajectory = chosen(learner._model, IMAGE)
    kept = copy.deepcopy(trajectory)
    learner.update(trajectory, RATE)
    for name, value in vars(kept).items():
        if isinstance(value, Tensor):
            assert torch.equal(getattr(trajectory, name), value), name


def test_at_learning_rate_zero_nothing_changes() -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    before = learner.flat.values.clone()
    metrics = learner.update(chosen(learner._model), 0.0)
    assert torch.equal(learner.flat.values, before)
    assert metrics.update_norm == 0


def test_a_poisoned_reward_shows_in_the_norm_of_the_gradient() -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    trajectory = chosen(learner._model)
    trajectory.rewards[2, 1] = float("nan")
    assert not torch.isfinite(learner.update(trajectory, RATE).grad_norm)


def test_metrics_do_not_hold_on_to_the_graph() -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    metrics = learner.update(chosen(learner._model), RATE)
    assert not any(x.requires_grad for x in (*metrics[:-1], *metrics.losses.values()))


@pytest.mark.parametrize(("error", "explained"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.0)])
def test_explained_variance_is_the_share_that_values_foresaw(
    error: float, explained: float
) -> None:
    """Episodes of one step: returns are rewards of ±1, values are too small by a factor."""
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    trajectory = chosen(learner._model)
    trajectory.terminated.fill_(True)
    trajectory.rewards.copy_(torch.tensor([-1.0, 1.0]).repeat(SAMPLES // 2).view(STEPS, -1))
    values = (1.0 - error) * trajectory.rewards
    metrics = learner.update(replace(trajectory, values=values), RATE)
    assert metrics.losses["explained_variance"].item() == pytest.approx(explained, abs=1e-6)


def test_of_equal_returns_there_is_nothing_to_explain() -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    trajectory = chosen(learner._model)
    trajectory.terminated.fill_(True)
    trajectory.rewards.fill_(1.0)
    trajectory = replace(trajectory, values=torch.zeros_like(trajectory.rewards))
    assert learner.update(trajectory, RATE).losses["explained_variance"].item() == 0.0


def test_a_rollout_without_choices_is_refused() -> None:
    learner = make_learner(make_model(VECTOR, DISCRETE), SETTINGS)
    with pytest.raises(ValueError, match="behaviour policy"):
        learner.update(random_trajectory(VECTOR, DISCRETE, 0), RATE)


def remembering(sets: int, seed: int = 3) -> tuple[Actor, PPOLearner]:
    """A recurrent learner of games that end within rollouts, one minibatch for every `sets`."""
    simulators = make_simulators(EnvironmentSource("tests.environments:Recall-v0"), 6, 1)
    torch.manual_seed(seed)
    model = ActorCritic(simulators.observation, simulators.action, lstm_size=5)
    settings = replace(SETTINGS, minibatches=sets, epochs=1, normalize_advantages=False)
    learner = make_learner(model, settings)
    return Actor(simulators, model, rollout_steps=9, seed=seed, with_behaviour=True), learner


def test_a_recurrent_network_is_unrolled_as_it_acted() -> None:
    """The first step of an update sees exactly the policy and the values that acted."""
    actor, learner = remembering(sets=1)
    for _ in range(4):
        trajectory = actor.collect()
        metrics = learner.update(trajectory, RATE)
        assert trajectory.is_first is not None
        assert trajectory.is_first[1:-1].any()
        assert metrics.losses["approx_kl"].item() == pytest.approx(0.0, abs=1e-7)
        assert metrics.losses["clip_fraction"].item() == 0.0


def test_minibatches_of_a_recurrent_network_are_whole_simulators() -> None:
    actor, learner = remembering(sets=3)
    trajectory = actor.collect()
    seen: list[tuple[Tensor, Tensor]] = []
    evaluate = learner._model.evaluate

    def watched(observations: Tensor, actions: Tensor, *rest: Any) -> Any:
        evaluation = evaluate(observations, actions, *rest)
        seen.append((evaluation.log_probs, evaluation.values))
        return evaluation

    learner._model.evaluate = watched  # type: ignore[method-assign, assignment]
    learner.update(trajectory, 0.0)
    log_probs, values = (torch.cat([x[k].view(9, 2) for x in seen], dim=1) for k in range(2))
    assert trajectory.log_probs is not None
    assert trajectory.values is not None
    for ours, acted in ((log_probs, trajectory.log_probs), (values, trajectory.values)):
        columns = {tuple(column.tolist()) for column in acted.round(decimals=5).t()}
        assert {tuple(column.tolist()) for column in ours.round(decimals=5).t()} == columns


def test_a_stop_ends_an_update_after_the_epoch_it_is_in() -> None:
    settings = replace(SETTINGS, target_kl=None)
    one, many = make_model(VECTOR, DISCRETE), make_model(VECTOR, DISCRETE)
    short, long = make_learner(one, replace(settings, epochs=1)), make_learner(many, settings)
    long.should_stop = lambda: True
    trajectory = chosen(one, VECTOR, DISCRETE, seed=0)
    out = torch.empty_like(long.flat.values)
    short.update(trajectory, RATE)
    long.update(trajectory, RATE, out)
    assert settings.epochs > 1
    assert torch.equal(short.flat.values, out)
    assert torch.equal(short.flat.values, long.flat.values)
