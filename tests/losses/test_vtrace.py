"""V-trace equals the literal sums of its definition and finds the values that it should find."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.vtrace import VTrace, vtrace
from tests.support.rollouts import Rollout, flag, one_episode, rollouts, zeros

NO_CLIP = {"clip_rho": math.inf, "clip_c": math.inf, "clip_pg_rho": math.inf}


@st.composite
def thresholds(draw: st.DrawFn) -> dict[str, float]:
    clip_c = draw(st.floats(0.1, 3))
    clip_rho = clip_c + draw(st.floats(0, 3))
    return {"clip_rho": clip_rho, "clip_c": clip_c, "clip_pg_rho": draw(st.floats(0.1, 3))}


def vtrace_of(rollout: Rollout, **clips: float) -> VTrace:
    return vtrace(
        rollout.log_ratios,
        rollout.rewards,
        rollout.values,
        rollout.boundaries,
        rollout.discount,
        **clips,
    )


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def full(value: float, steps: int) -> Tensor:
    return torch.full((steps, 1), value, dtype=torch.float64)


@settings(deadline=None, max_examples=150)
@given(rollouts(), thresholds())
def test_targets_and_advantages_equal_the_literal_sums(
    rollout: Rollout, clips: dict[str, float]
) -> None:
    targets, advantages = vtrace_of(rollout, **clips)
    for b in range(targets.shape[1]):
        steps = rollout.steps(b)
        ratios = [math.exp(x) for x in rollout.log_ratios[:, b].tolist()]
        literal = [
            steps.vtrace_target(s, ratios, clips["clip_rho"], clips["clip_c"])
            for s in range(len(ratios))
        ]
        assert targets[:, b].tolist() == pytest.approx(literal, rel=1e-9, abs=1e-9)
        for s, ratio in enumerate(ratios):
            q = steps.rewards[s] + steps.discount * steps.following(s, literal)
            expected = min(clips["clip_pg_rho"], ratio) * (q - steps.values[s])
            assert advantages[s, b].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(rollouts(), st.floats(1, 5), st.floats(0, 5))
def test_on_policy_targets_are_n_step_returns(rollout: Rollout, clip_c: float, more: float) -> None:
    on_policy = replace(rollout, log_ratios=torch.zeros_like(rollout.log_ratios))
    for clips in ({}, {"clip_c": clip_c, "clip_rho": clip_c + more}):
        targets, advantages = vtrace_of(on_policy, **clips)
        assert_same(targets, rollout.returns())
        assert_same(advantages, rollout.returns() - rollout.values)


@settings(deadline=None, max_examples=60)
@given(rollouts(), thresholds())
def test_an_action_that_the_policy_never_takes_teaches_nothing(
    rollout: Rollout, clips: dict[str, float]
) -> None:
    never = replace(rollout, log_ratios=torch.full_like(rollout.log_ratios, -math.inf))
    targets, advantages = vtrace_of(never, **clips)
    assert torch.equal(targets, rollout.values)
    assert_same(advantages, torch.zeros_like(targets))


@settings(deadline=None, max_examples=60)
@given(rollouts(), thresholds())
def test_right_values_stay_whoever_acted(rollout: Rollout, clips: dict[str, float]) -> None:
    right = replace(rollout, values=rollout.returns())
    targets, advantages = vtrace_of(right, **clips)
    assert_same(targets, right.values)
    assert_same(advantages, torch.zeros_like(targets))


@settings(deadline=None, max_examples=60)
@given(rollouts(), st.floats(0, 700))
def test_a_ratio_above_every_threshold_may_be_any_larger(rollout: Rollout, larger: float) -> None:
    above = replace(rollout, log_ratios=rollout.log_ratios.abs())
    far_above = replace(rollout, log_ratios=above.log_ratios + larger)
    for one, other in zip(vtrace_of(above), vtrace_of(far_above), strict=True):
        assert torch.equal(one, other)


@settings(deadline=None, max_examples=60)
@given(rollouts(), st.floats(0.1, 3), st.floats(0.1, 3), st.floats(0, 3))
def test_where_all_errors_are_positive_a_higher_threshold_gives_no_lower_target(
    rollout: Rollout, low_c: float, more_c: float, more_rho: float
) -> None:
    good = replace(
        rollout,
        rewards=rollout.rewards.abs(),
        values=torch.zeros_like(rollout.values),
        truncation_values=rollout.truncation_values.abs(),
        bootstrap_values=rollout.bootstrap_values.abs(),
    )
    rho = low_c + more_c
    low = vtrace_of(good, clip_rho=rho, clip_c=low_c).targets
    assert (vtrace_of(good, clip_rho=rho, clip_c=rho).targets >= low - 1e-9).all()
    assert (vtrace_of(good, clip_rho=rho + more_rho, clip_c=low_c).targets >= low - 1e-9).all()


@settings(deadline=None, max_examples=30)
@given(rollouts(), thresholds())
def test_the_policys_threshold_scales_advantages_alone(
    rollout: Rollout, clips: dict[str, float]
) -> None:
    ratios = rollout.log_ratios.exp()
    plain = vtrace_of(rollout, **{**clips, "clip_pg_rho": math.inf})
    clipped = vtrace_of(rollout, **clips)
    assert torch.equal(clipped.targets, plain.targets)
    assert_same(
        clipped.advantages * ratios, plain.advantages * ratios.clamp(max=clips["clip_pg_rho"])
    )


def test_unclipped_targets_are_right_on_average_over_the_other_policys_actions() -> None:
    """Two steps of two actions: all four rollouts, weighted with how often μ makes them."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    pi = draw(3, 2).softmax(-1)
    mu = draw(3, 2).softmax(-1)
    first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    # State 0, then state 1 or 2 after action 0 or 1.
    states = torch.stack([torch.zeros_like(first), 1 + first])
    actions = torch.stack([first, second])
    pi_of_actions, mu_of_actions = pi[states, actions], mu[states, actions]
    rollout = replace(
        zeros(2, 4),
        log_ratios=pi_of_actions.log() - mu_of_actions.log(),
        rewards=torch.stack([draw(2)[first], draw(4)]),
        values=draw(3)[states],
        bootstrap_values=draw(4),
    )
    targets = vtrace_of(rollout, **NO_CLIP).targets[0]
    by_mu = (mu_of_actions.prod(0) * targets).sum()
    by_pi = (pi_of_actions.prod(0) * rollout.returns()[0]).sum()
    assert_same(by_mu, by_pi)


@pytest.mark.parametrize("clip_rho", [0.5, 1.0, 1.5, math.inf])
def test_the_fixed_point_is_the_value_of_the_clipped_policy(clip_rho: float) -> None:
    """π_ρ̄(a) ∝ min(ρ̄ μ(a), π(a)) (the paper's equation 3), here with one state for ever."""
    pi = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    mu = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    rewards = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    clipped = torch.minimum(clip_rho * mu, pi)
    value = (clipped / clipped.sum() * rewards).sum() / (1 - 0.9)
    rollout = replace(
        zeros(1, 3),
        log_ratios=(pi.log() - mu.log())[None],
        rewards=rewards[None],
        values=value.expand(1, 3),
        bootstrap_values=value.expand(3),
    )
    targets = vtrace_of(rollout, clip_rho=clip_rho, clip_c=0.5).targets[0]
    assert_same((mu * targets).sum(), value)


def test_hand_computed_targets_of_a_terminated_and_a_truncated_simulator() -> None:
    flags = torch.zeros(3, 2, dtype=torch.bool)
    terminated, truncated = flags.clone(), flags.clone()
    terminated[1, 0] = truncated[1, 1] = True
    rollout = replace(
        zeros(3, 2),
        rewards=torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]], dtype=torch.float64),
        terminated=terminated,
        truncated=truncated,
        truncation_values=torch.full((3, 2), 8.0, dtype=torch.float64),
        values=torch.tensor([[1.0, 1.0], [4.0, 4.0], [3.0, 3.0]], dtype=torch.float64),
        log_ratios=torch.tensor([[0.5] * 2, [4.0] * 2, [0.25] * 2], dtype=torch.float64).log(),
        bootstrap_values=torch.tensor([16.0, 32.0], dtype=torch.float64),
        discount=0.5,
    )
    targets, advantages = vtrace_of(rollout, clip_rho=2.0, clip_c=1.0, clip_pg_rho=3.0)
    # Errors: 1 + 4/2 - 1 = 2;  2 - 4 = -2 or 2 + 8/2 - 4 = 2;  4 + 16/2 - 3 = 9 or 4 + 32/2 - 3
    # Corrections: 2/4, 9/4 or 17/4 alone;  2 · -2 or 2 · 2;  first: 2/2 + 1/2 · 1/2 · those.
    expected = torch.tensor([[1.0, 3.0], [0.0, 8.0], [5.25, 7.25]], dtype=torch.float64)
    assert_same(targets, expected)
    # 1/2 (1 + v/2 - 1);  3 · -2 or 3 · 2;  9/4 or 17/4
    expected = torch.tensor([[0.0, 2.0], [-6.0, 6.0], [2.25, 4.25]], dtype=torch.float64)
    assert_same(advantages, expected)


@settings(deadline=None, max_examples=30)
@given(rollouts(), thresholds())
def test_simulators_do_not_influence_each_other(rollout: Rollout, clips: dict[str, float]) -> None:
    together = vtrace_of(rollout, **clips)
    for b in range(rollout.rewards.shape[1]):
        alone = vtrace_of(rollout.simulator(b), **clips)
        # Whole vectors and their rests may round differently in exp.
        assert_same(alone.targets, together.targets[:, b : b + 1])
        assert_same(alone.advantages, together.advantages[:, b : b + 1])


@pytest.mark.parametrize("ended_by", ["terminated", "truncated"])
def test_nothing_of_the_next_episode_leaks_in(ended_by: str) -> None:
    end: Any = {ended_by: flag(4, 1)}
    rollout = replace(
        one_episode([1.0, 2.0, 5.0, 7.0], bootstrap=3.0), truncation_values=full(6.0, 4), **end
    )
    nan = full(math.nan, 4)
    nan[:2] = 0.5
    unknown = replace(rollout, rewards=rollout.rewards + 0 * nan, values=nan, log_ratios=nan)
    known = replace(rollout, values=full(0.5, 4), log_ratios=full(0.5, 4))
    for one, other in zip(vtrace_of(unknown), vtrace_of(known), strict=True):
        assert torch.equal(one[:2], other[:2])
        assert one[2:].isnan().all()


def test_terminated_wins_over_truncated() -> None:
    rollout = replace(
        one_episode([1.0, 2.0, 4.0], bootstrap=1000.0),
        terminated=flag(3, 1),
        truncation_values=full(500.0, 3),
    )
    both = vtrace_of(replace(rollout, truncated=flag(3, 1)))
    for one, other in zip(both, vtrace_of(rollout), strict=True):
        assert torch.equal(one, other)


def test_nothing_carries_gradient_and_inputs_are_left_alone() -> None:
    rollout = one_episode([1.0, 2.0], bootstrap=3.0)
    learned = replace(
        rollout,
        values=rollout.values.clone().requires_grad_(),
        log_ratios=rollout.log_ratios.clone().requires_grad_(),
    )
    rewards = rollout.rewards.clone()
    assert not any(x.requires_grad for x in vtrace_of(learned))
    assert torch.equal(rollout.rewards, rewards)
    assert not learned.values.any()
    assert not learned.log_ratios.any()


@pytest.mark.parametrize("clip_rho", [0.5, math.nan])
def test_a_trace_threshold_above_that_of_the_errors_is_refused(clip_rho: float) -> None:
    with pytest.raises(ValueError, match=r"clip_rho must be at least clip_c, got .* and 0\.75"):
        vtrace_of(zeros(3, 2), clip_rho=clip_rho, clip_c=0.75)


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("log_ratios", (2,)),
        ("log_ratios", (3, 1)),
        ("rewards", (6,)),
        ("bootstrap_values", (2, 1)),
        ("bootstrap_values", (1,)),
        ("terminated", (2,)),
        ("truncated", (3, 1)),
        ("truncation_values", (3, 2, 1)),
        ("values", (4, 2)),
    ],
)
def test_a_wrong_shape_is_refused_by_name(field: str, shape: tuple[int, ...]) -> None:
    rollout = zeros(3, 2)
    wrong: Any = {field: torch.zeros(shape, dtype=getattr(rollout, field).dtype)}
    with pytest.raises(ValueError, match=field):
        vtrace_of(replace(rollout, **wrong))
