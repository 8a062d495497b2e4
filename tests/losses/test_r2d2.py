"""R2D2's targets, errors, loss and priorities equal their definitions, wherever episodes end."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.q_learning import double_q_values
from gala_rl.losses.r2d2 import R2D2Loss, r2d2_loss, r2d2_targets, sequence_priorities
from gala_rl.losses.value_rescaling import rescaled, unscaled
from tests.support.loss_oracles import literal_h
from tests.support.sequences import ACTIONS, Cut, Sequences, sequences

LEARNED, N_STEP = 4, 3


def loss_of(batch: Sequences, weights: Tensor | None = None, **changes: Tensor) -> R2D2Loss:
    if weights is None:
        weights = torch.ones(len(batch.cuts), dtype=torch.float64)
    return r2d2_loss(
        **(batch.tensors() | changes),
        weights=weights,
        n_step=batch.n_step,
        discount=batch.discount,
    )


@settings(deadline=None, max_examples=300)
@given(sequences(), st.data())
def test_errors_loss_and_priorities_equal_the_literal_sums(
    batch: Sequences, data: st.DataObject
) -> None:
    count = len(batch.cuts)
    weights = [data.draw(st.sampled_from([0.0, 0.5, 1.0])) for _ in range(count)]
    loss = loss_of(batch, torch.tensor(weights, dtype=torch.float64))
    total = 0.0
    for b, cut in enumerate(batch.cuts):
        expected = [0.0] * batch.learned
        for row, t in batch.learned_steps(b):
            expected[row] = cut.error(t, batch.n_step, batch.discount)
        assert loss.td_errors[:, b].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        sizes = [abs(expected[row]) for row, _ in batch.learned_steps(b)]
        priority = 0.9 * max(sizes) + 0.1 * sum(sizes) / len(sizes) if sizes else 0.0
        assert loss.priorities[b].item() == pytest.approx(priority, rel=1e-9, abs=1e-9)
        total += weights[b] * sum(0.5 * size**2 for size in sizes) / count
    assert loss.total.item() == pytest.approx(total, rel=1e-9, abs=1e-9)


def episode(length: int, *, terminates: bool, first: int = 0) -> Sequences:
    """Rewards and values that name their step; the best action is 0 and always chosen."""
    cut = Cut(
        rewards=[float(t + 1) for t in range(length)],
        actions=[0] * length,
        q_values=[[1.0, 0.0, 0.0]] * (length + 1),
        target_q_values=[[10.0 * (t + 1), -1.0, -1.0] for t in range(length + 1)],
        terminates=terminates,
        first=first,
    )
    return Sequences([cut], LEARNED, N_STEP, 1.0)


def targets_of(batch: Sequences) -> list[float]:
    tensors = batch.tensors()
    q, target = tensors["q_values"], tensors["target_q_values"]
    return r2d2_targets(
        double_q_values(q, target),
        *(tensors[name] for name in ("rewards", "terminated", "truncated")),
        n_step=batch.n_step,
        discount=batch.discount,
    )[:, 0].tolist()


def unrescaled(x: float) -> float:
    return unscaled(torch.tensor(x, dtype=torch.float64)).item()


def test_targets_are_read_n_steps_ahead() -> None:
    targets = targets_of(episode(20, terminates=True))
    for t, target in enumerate(targets):
        rewards = 3 * (t + 1) + 3
        assert target == pytest.approx(literal_h(rewards + unrescaled(10.0 * (t + N_STEP + 1))))


@pytest.mark.parametrize("last", range(-1, LEARNED + N_STEP))
def test_a_termination_cuts_the_returns_that_reach_it_and_no_others(last: int) -> None:
    """The episode's last step is in the given row; -1 is the row before the learning part."""
    batch = episode(last + 2, terminates=True, first=1)
    targets = targets_of(batch)
    for row in range(max(0, last + 1)):
        if row >= LEARNED:
            break
        first, end = row + 1, min(row + N_STEP, last + 1)
        rewards = sum(t + 1 for t in range(first, end + 1))
        follows = 0.0 if row + N_STEP > last else unrescaled(10.0 * (row + N_STEP + 2))
        assert targets[row] == pytest.approx(literal_h(rewards + follows)), row
    learned = batch.tensors()["is_learned"][:, 0].tolist()
    assert learned == [row <= last for row in range(LEARNED)]


@pytest.mark.parametrize("last", range(LEARNED + N_STEP - 1))
def test_a_truncation_bootstraps_from_the_final_observation(last: int) -> None:
    targets = targets_of(episode(last + 1, terminates=False))
    for row in range(min(last + 1, LEARNED)):
        end = min(row + N_STEP, last + 1)
        rewards = sum(t + 1 for t in range(row, end))
        assert targets[row] == pytest.approx(literal_h(rewards + unrescaled(10.0 * (end + 1))))


def test_where_an_end_is_both_it_is_a_termination() -> None:
    tensors = episode(2, terminates=True).tensors()
    tensors["truncated"][1, 0] = True
    targets = r2d2_targets(
        tensors["target_q_values"][..., 0],
        tensors["rewards"],
        tensors["terminated"],
        tensors["truncated"],
        n_step=N_STEP,
        discount=1.0,
    )
    assert targets[:2, 0].tolist() == pytest.approx([literal_h(3.0), literal_h(2.0)])


def test_the_online_network_chooses_what_the_target_network_values() -> None:
    batch = episode(20, terminates=True)
    tensors = batch.tensors()
    tensors["q_values"][N_STEP:, :, 2] = 5.0
    tensors["target_q_values"][..., 2] = 0.5
    errors = loss_of(batch, **tensors).td_errors[:, 0].tolist()
    expected = [literal_h(3 * (t + 2) + unrescaled(0.5)) - 1.0 for t in range(LEARNED)]
    assert errors == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(sequences())
def test_rows_that_are_not_learned_from_have_no_gradient(batch: Sequences) -> None:
    q = batch.tensors()["q_values"].requires_grad_()
    target = batch.tensors()["target_q_values"].requires_grad_()
    loss = loss_of(batch, q_values=q, target_q_values=target)
    grads: Sequence[Tensor | None] = torch.autograd.grad(loss.total, [q, target], allow_unused=True)
    expected = torch.zeros_like(q)
    for b, cut in enumerate(batch.cuts):
        for row, t in batch.learned_steps(b):
            expected[row, b, cut.actions[t]] = -loss.td_errors[row, b] / len(batch.cuts)
    torch.testing.assert_close(grads[0], expected)
    assert grads[1] is None


@settings(deadline=None, max_examples=50)
@given(sequences())
def test_sequences_do_not_influence_each_other(batch: Sequences) -> None:
    together = loss_of(batch)
    for b, cut in enumerate(batch.cuts):
        alone = loss_of(Sequences([cut], batch.learned, batch.n_step, batch.discount))
        assert torch.equal(alone.td_errors[:, 0], together.td_errors[:, b])
        assert torch.equal(alone.priorities[0], together.priorities[b])


def test_priorities_see_the_learned_rows_alone() -> None:
    errors = torch.tensor([[100.0, 1.0, 5.0], [-2.0, -3.0, 5.0], [1.0, 50.0, 5.0]])
    learned = torch.tensor([[False, True, False], [True, True, False], [True, False, False]])
    expected = [0.9 * 2 + 0.1 * 1.5, 0.9 * 3 + 0.1 * 2.0, 0.0]
    assert sequence_priorities(errors, learned).tolist() == pytest.approx(expected)


def test_the_targets_of_an_actor_s_own_values_are_those_of_its_double_q_values() -> None:
    q = torch.randn(LEARNED + N_STEP, 2, ACTIONS, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(double_q_values(q, q), q.amax(dim=-1))


def test_targets_in_float32_follow_a_value_that_does_not_change() -> None:
    """Where nothing is paid and γ = 1, a target is the value that it bootstraps from."""
    values = rescaled(torch.logspace(-6, 6, 40))[:, None]
    flags, rewards = torch.zeros_like(values, dtype=torch.bool), torch.zeros_like(values)
    targets = r2d2_targets(values, rewards, flags, flags, n_step=1, discount=1.0)
    torch.testing.assert_close(targets, values[1:], rtol=2e-6, atol=0.0)


def test_what_would_broadcast_is_rejected_by_name() -> None:
    batch = episode(20, terminates=True)
    with pytest.raises(ValueError, match="is_learned must have the shape of targets"):
        loss_of(batch, is_learned=torch.ones(LEARNED, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="weights must have the shape of sums"):
        loss_of(batch, torch.ones(2))
    with pytest.raises(ValueError, match="truncated must have the shape of values"):
        loss_of(batch, truncated=torch.zeros(LEARNED, 1, dtype=torch.bool))
