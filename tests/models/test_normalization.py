"""Running moments equal NumPy's, keep their precision, and mean the same after gossip."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor, nn

from gala_rl.flat import FlatParameters, flat_size, learned_size
from gala_rl.gossip.mixing import defect, mix_
from gala_rl.learners.gradient_learner import GradientStep
from gala_rl.methods.a2c import A2CSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.normalization import HORIZON_ROLLOUTS, LIMIT, RunningMoments
from gala_rl.spaces import ActionSpec, ObservationSpec

VECTORS = ObservationSpec((3,), False)
ACTIONS = ActionSpec(2, True)


def absorbed(rollouts: NDArray[np.float32]) -> RunningMoments:
    """The moments [D] after rollouts [K, N, D]."""
    moments = RunningMoments(rollouts.shape[-1])
    for rollout in rollouts:
        moments.absorb(torch.from_numpy(rollout))
    return moments


def normals(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


rollouts = st.tuples(st.integers(1, 8), st.integers(1, 5), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-1e4, 1e4, width=32))
)


@given(rollouts)
@settings(deadline=None)
def test_up_to_the_horizon_they_are_the_moments_of_all_vectors(x: NDArray[np.float32]) -> None:
    moments = absorbed(x)
    everything = x.reshape(-1, x.shape[-1]).astype(np.float64)
    scale = np.abs(everything).max() + 1e-6
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=1e-5, atol=1e-6 * scale)
    # One rounding of the mean is far below any deviation that this scale can show.
    np.testing.assert_allclose(
        moments.variance, everything.var(0), rtol=1e-5, atol=(1e-6 * scale) ** 2
    )
    assert moments.rollouts == len(x)


def test_beyond_the_horizon_old_rollouts_fade_by_the_stated_weight() -> None:
    x = normals(HORIZON_ROLLOUTS + 500, 4, 2) + np.linspace(0, 3, HORIZON_ROLLOUTS + 500)[
        :, None, None
    ].astype(np.float32)
    weights = np.ones(len(x))
    for k in range(len(x)):
        weight = 1 / min(k + 1, HORIZON_ROLLOUTS)
        weights[:k] *= 1 - weight
        weights[k] = weight
    assert weights.sum() == pytest.approx(1.0)
    mean = np.einsum("k,knd->d", weights, x) / 4
    variance = np.einsum("k,knd->d", weights, (x - mean) ** 2) / 4
    moments = absorbed(x)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-4)
    assert moments.rollouts == HORIZON_ROLLOUTS


def test_after_a_hundred_million_numbers_they_still_follow() -> None:
    moments = RunningMoments(1)
    rollout = torch.from_numpy(normals(20_000, 1))
    for _ in range(5_000):
        moments.absorb(rollout)
    assert moments.mean.item() == pytest.approx(rollout.mean().item(), abs=1e-5)
    assert moments.variance.item() == pytest.approx(rollout.var().item(), rel=1e-3)
    for _ in range(10 * HORIZON_ROLLOUTS):
        moments.absorb(3.0 * rollout[:500] + 1.0)
    assert moments.mean.item() == pytest.approx(1 + 3 * rollout[:500].mean().item(), abs=1e-2)
    assert moments.variance.item() == pytest.approx(9 * rollout[:500].var().item(), rel=1e-2)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5, 1e6])
def test_an_offset_costs_no_precision_that_the_numbers_themselves_have(offset: float) -> None:
    x = normals(200, 16, 1) + np.float32(offset)
    everything = x.astype(np.float64)
    moments = absorbed(x)
    assert moments.variance.item() == pytest.approx(everything.var(), rel=1e-2)
    assert abs(moments.mean.item() - everything.mean()) < 0.1


@pytest.mark.parametrize("constant", [0.0, 0.1, 7e5, -3.3e7])
def test_a_number_that_never_changes_is_zero_and_one_that_begins_to_keeps_its_scale(
    constant: float,
) -> None:
    moments = RunningMoments(1)
    for _ in range(50):
        moments.absorb(torch.full((13, 1), constant))
    assert moments.variance.item() == 0.0
    now = torch.tensor([[constant], [constant + 4.0], [constant - 1e9]])
    assert moments.normalize(now).flatten().tolist() == [0.0, 4.0, -LIMIT]


def test_at_first_vectors_pass_as_they_are_within_the_limit() -> None:
    x = torch.tensor([[0.5, -3.0], [1e6, -1e6]])
    expected = [[0.5, -3.0], [LIMIT, -LIMIT]]
    assert RunningMoments(2).normalize(x).tolist() == expected


def test_normalised_vectors_have_mean_0_and_variance_1() -> None:
    x = (normals(30, 50, 3) * [1e-3, 1.0, 1e4] + [5.0, 0.0, 1e5]).astype(np.float32)
    y = absorbed(x).normalize(torch.from_numpy(x))
    torch.testing.assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-2)
    torch.testing.assert_close(y.var(0), torch.ones(3), rtol=1e-2, atol=0)


def test_scale_divides_and_moves_nothing() -> None:
    moments = absorbed(5.0 + 2.0 * normals(4, 500, 1))
    deviation = moments.variance.sqrt().item()
    x = torch.tensor([[1.0], [-2.0], [1e3]])
    assert moments.scale(x).flatten().tolist() == pytest.approx([1 / deviation, -2 / deviation, 10])


def test_whatever_is_seen_a_message_with_them_is_fit_to_be_mixed() -> None:
    moments = RunningMoments(4)
    moments.absorb(torch.tensor([[3e38, -3e38, torch.inf, 1.0], [-3e38, -3e38, 0.0, 2.0]]))
    flat = FlatParameters(moments)
    assert defect(flat.values, flat.values.numel()) is None
    assert moments.normalize(torch.full((1, 4), torch.inf)).tolist() == [[LIMIT] * 4]


def test_gossip_pools_them_but_for_the_distance_of_the_means() -> None:
    x = normals(2, 3, 40, 2) + np.array([[[[0.0, 0.0]]], [[[0.3, 0.0]]]], dtype=np.float32)
    one, other = absorbed(x[0]), absorbed(x[1])
    apart = (one.mean - other.mean) / 2
    mix_(FlatParameters(one).values, [FlatParameters(other).values])
    pooled = x.reshape(-1, 2)
    np.testing.assert_allclose(one.mean, pooled.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.variance + apart.square(), pooled.var(0), rtol=1e-5)


def test_learners_that_gossip_after_each_rollout_have_the_moments_of_all() -> None:
    # Learners whose observations differ systematically: nearly half the variance is between.
    learners, count = 4, 200
    centres = np.array([-1.2, -0.4, 0.4, 1.2], dtype=np.float32)[:, None, None, None]
    x = normals(learners, count, 16, 1) + centres
    moments = [RunningMoments(1) for _ in range(learners)]
    flats = [FlatParameters(m).values for m in moments]
    for k in range(count):
        sent = [flat.clone() for flat in flats]
        for i, flat in enumerate(flats):
            mix_(flat, [sent[i - 1]])
            moments[i].absorb(torch.from_numpy(x[i, k]))
    for m in moments:
        assert m.mean.item() == pytest.approx(x.mean(), abs=0.02)
        assert m.variance.item() == pytest.approx(x.var(), rel=0.02)


def model_with_moments() -> ActorCritic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return ActorCritic(VECTORS, ACTIONS, normalize_observations=True, normalize_rewards=True)


def moments_of(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if not p.requires_grad]


def test_they_lie_behind_what_learns_and_no_step_touches_them() -> None:
    model = model_with_moments()
    moments = moments_of(model)
    assert [p.shape for p in moments] == [(3,), (3,), (), (1,), (1,), ()]
    for optimizer in ("rmsprop", "rmsprop-tf"):
        step = GradientStep(model, A2CSettings(optimizer=optimizer))
        learned, size = learned_size(model), flat_size(model)
        assert size - learned == 6 * 16
        with torch.no_grad():
            for i, p in enumerate(moments):
                p.fill_(1e8 * (i + 1) / 3)
        before = step.flat.values.clone()
        out = torch.zeros_like(before)
        for target in (None, out):
            seen = model.evaluate(torch.ones(2, 3), torch.tensor([0, 1]))
            _, update_norm = step(seen.values.sum() + seen.log_probs.sum(), 1e-2, target)
        moved = (out - step.flat.values)[:learned]
        assert update_norm.item() == pytest.approx(moved.norm().item(), rel=1e-3)
        for vector in (step.flat.values, out):
            assert torch.equal(vector[learned:], before[learned:])
            assert not torch.equal(vector[:learned], before[:learned])
        assert not step.flat.grads[learned:].any()


def test_a_network_sees_vectors_by_its_moments() -> None:
    model = model_with_moments()
    plain = ActorCritic(VECTORS, ACTIONS)
    plain.load_state_dict(model.state_dict(), strict=False)
    x = torch.from_numpy(7.0 + 100.0 * normals(5, 3))
    assert model.observation_moments is not None
    model.observation_moments.absorb(x)
    seen = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(model.values(x), plain.values(seen))
    actions = torch.tensor([0, 1, 0, 1, 1])
    for one, other in zip(model.evaluate(x, actions), plain.evaluate(seen, actions), strict=True):
        torch.testing.assert_close(one, other)
    choices = [
        m.act_and_evaluate(v, torch.Generator().manual_seed(1))
        for m, v in ((model, x), (plain, seen))
    ]
    torch.testing.assert_close(choices[0].log_probs, choices[1].log_probs)
    assert torch.equal(model.greedy(x), plain.greedy(seen))


IMAGE = ObservationSpec((1, 36, 36), True)


@pytest.mark.parametrize(
    "observation", [IMAGE, ObservationSpec((36 * 36 + 3,), False, (IMAGE, VECTORS))]
)
def test_images_have_no_moments_nor_have_parts_of_which_one_is_an_image(
    observation: ObservationSpec,
) -> None:
    with pytest.raises(ValueError, match="only vectors are normalised"):
        ActorCritic(observation, ACTIONS, normalize_observations=True)
