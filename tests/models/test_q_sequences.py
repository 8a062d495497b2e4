"""Sequences are unrolled to the Q-values of the actor that made them, whatever the burn-in."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import make_simulators
from gala_rl.losses.q_learning import double_q_values
from gala_rl.models.q_network import QNetwork
from gala_rl.replay import SequenceBatch
from gala_rl.spaces import ActionSpec, ObservationSpec
from tests.support.acting import SIMULATORS, Staggered
from tests.support.replayed import Cut, Stream

LEARNED, N_STEP, UNITS, STEPS = 4, 2, 8, 72

burn_ins = pytest.mark.parametrize("burn_in", [0, 1, 3, 8])
lengths = pytest.mark.parametrize("rollout_steps", [1, 4])
ends = pytest.mark.parametrize("first", range(-1, 5))


def network(inputs: int = 3, actions: int = 2, *, seed: int = 1) -> QNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = QNetwork(
            ObservationSpec((inputs,), False), ActionSpec(actions, True), lstm_size=UNITS
        )
        for name, parameter in model.named_parameters():
            if name in ("heads.value.2.weight", "heads.advantage.2.weight"):
                parameter.data.mul_(100.0)  # Values as different as those of a trained network.
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    model.epsilons.fill_(0.3)
    return model


def staggered(model: QNetwork, rollout_steps: int, groups: int = 1) -> Stream:
    """Episodes of 2, 3 and 4 steps, all truncated, whose rewards count the steps."""
    actor = Actor(Staggered(groups), model, rollout_steps, seed=0, with_behaviour=True)

    def final(t: int, b: int) -> Tensor:
        return -torch.tensor([t + 1.0, b, 0.0])

    return Stream(actor, STEPS // rollout_steps, final)


def cartpole(model: QNetwork, rollout_steps: int) -> Stream:
    """Episodes of some ten steps, all terminated."""
    simulators = make_simulators(EnvironmentSource("CartPole-v1"), SIMULATORS, 1)
    actor = Actor(simulators, model, rollout_steps, seed=0, with_behaviour=True)

    def final(t: int, b: int) -> Tensor:
        raise AssertionError("no episode is truncated")

    stream = Stream(actor, STEPS // rollout_steps, final)
    simulators.close()
    return stream


def windows(stream: Stream, burn_in: int) -> Iterator[tuple[int, Cut]]:
    """Every window that begins where the actor's state was stored, for every episode in it."""
    for b in range(SIMULATORS):
        for start in stream.states:
            learned = range(start + burn_in, start + burn_in + LEARNED)
            for episode in stream.episodes(b):
                if any(t in episode for t in learned):
                    yield b, stream.cut(b, episode, start, burn_in, LEARNED, N_STEP)


def assert_acted(model: QNetwork, stream: Stream, burn_in: int) -> int:
    """Every row from the learning part on has the Q-values with which the actor acted."""
    compared = 0
    for b, (batch, steps) in windows(stream, burn_in):
        q = model.q_values(batch, burn_in).detach()[:, 0]
        assert q.shape == (LEARNED + N_STEP, 2)
        for row, t in enumerate(steps[burn_in:]):
            if t is None:
                continue
            acted = torch.stack([stream.values[t, b], stream.action_values[t, b]])
            ours = torch.stack([q[row].amax(), q[row, stream.actions[t, b]]])
            torch.testing.assert_close(ours, acted, rtol=0.0, atol=1e-5)
            if stream.truncated[t, b] and row + 1 < len(q):
                value = stream.truncation_values[t, b]
                torch.testing.assert_close(q[row + 1].amax(), value, rtol=0.0, atol=1e-5)
            compared += 1
    return compared


@burn_ins
@lengths
def test_stored_state_and_burn_in_reproduce_what_an_actor_of_cartpole_computed(
    burn_in: int, rollout_steps: int
) -> None:
    model = network(inputs=4)
    stream = cartpole(model, rollout_steps)
    assert sum(len(stream.episodes(b)) for b in range(SIMULATORS)) > 6
    assert assert_acted(model, stream, burn_in) > 200


@burn_ins
@lengths
@pytest.mark.parametrize("groups", [1, 3])
def test_the_same_holds_where_episodes_are_cut_and_rewards_differ(
    burn_in: int, rollout_steps: int, groups: int
) -> None:
    model = network()
    assert assert_acted(model, staggered(model, rollout_steps, groups), burn_in) > 200


def test_a_network_without_memory_gives_the_values_of_each_observation() -> None:
    model = QNetwork(ObservationSpec((3,), False), ActionSpec(2, True))
    assert assert_acted(model, staggered(model, 4), 3) > 200


def random_batch(burn_in: int, **fields: Any) -> SequenceBatch:
    """A sequence in the middle of an episode."""
    rows, generator = burn_in + LEARNED + N_STEP, torch.Generator().manual_seed(5)
    model = network()
    batch = next(cut.batch for _, cut in windows(staggered(model, 1), burn_in))
    replaced: dict[str, Any] = {
        "observations": torch.randn(rows, 1, 3, generator=generator),
        "previous_actions": torch.randint(0, 2, (rows, 1), generator=generator),
        "previous_rewards": torch.randn(rows, 1, generator=generator),
        "is_first": torch.zeros(rows, 1, dtype=torch.bool),
        "state": torch.randn(1, model.state_size, generator=generator),
    }
    return batch._replace(**(replaced | fields))


def stepped(model: QNetwork, batch: SequenceBatch) -> Tensor:
    """[L, N, A] one row at a time, as an actor does it."""
    state, rows = batch.state.clone(), []
    for t, observations in enumerate(batch.observations):
        state[:, -2], state[:, -1] = batch.previous_actions[t] + 1, batch.previous_rewards[t]
        state[batch.is_first[t]] = 0.0
        with torch.no_grad():
            rows.append(model(observations, state))
            model.greedy(observations, state)
    return torch.stack(rows)


@ends
def test_nothing_before_the_first_step_of_an_episode_is_seen(first: int) -> None:
    """Rows of the episode before in the burn-in are as if they were padding."""
    model, burn_in, first = network(), 3, first + 1
    batch = random_batch(burn_in)
    batch.is_first[first] = True
    batch.previous_actions[first], batch.previous_rewards[first] = -1, 0.0
    before = model.q_values(batch, burn_in)
    torch.testing.assert_close(before, stepped(model, batch)[burn_in:], rtol=0.0, atol=1e-6)
    for field in (batch.observations, batch.previous_actions, batch.previous_rewards):
        field[:first] = 1
    batch.state.fill_(-1.0)
    seen = slice(max(0, first - burn_in), None)
    torch.testing.assert_close(model.q_values(batch, burn_in)[seen], before[seen])
    batch.is_first.zero_()
    assert not torch.allclose(model.q_values(batch, burn_in)[seen], before[seen], atol=1e-3)


@burn_ins
def test_burn_in_gives_no_gradient_and_the_state_after_it_is_a_constant(burn_in: int) -> None:
    model = network()
    batch = random_batch(burn_in)
    batch.observations.requires_grad_()
    q = model.q_values(batch, burn_in)
    parameters = [batch.observations, *model.parameters()]
    observed, *grads = torch.autograd.grad(q.square().sum(), parameters)
    assert not observed[:burn_in].any()
    assert observed[burn_in:].abs().sum(dim=-1).all()
    # The same sequence that begins at the learning part, in the state that is reached there.
    state, rest = batch.state.clone(), {}
    for t in range(burn_in):
        state[:, -2], state[:, -1] = batch.previous_actions[t] + 1, batch.previous_rewards[t]
        with torch.no_grad():
            model.greedy(batch.observations[t], state)
    for name in ("observations", "previous_actions", "previous_rewards", "is_first"):
        rest[name] = getattr(batch, name)[burn_in:].detach()
    later = model.q_values(batch._replace(state=state, **rest), 0)
    torch.testing.assert_close(later, q)
    for ours, theirs in zip(
        grads, torch.autograd.grad(later.square().sum(), list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_both_networks_of_double_q_learning_burn_in_for_themselves() -> None:
    online, target, burn_in = network(seed=1), network(seed=2), 8
    batch = random_batch(burn_in)
    ours, theirs = online.q_values(batch, burn_in), target.q_values(batch, burn_in)
    expected = []
    for row in range(LEARNED + N_STEP):
        alone, other = (stepped(m, batch)[burn_in + row, 0].tolist() for m in (online, target))
        expected.append(other[alone.index(max(alone))])
    values = double_q_values(ours, theirs)[:, 0]
    assert values.tolist() == pytest.approx(expected, abs=1e-5)
    assert len(set(ours.argmax(dim=-1).flatten().tolist())) == 2
    # It matters: in the state of the other network these are other values.
    state = batch.state.clone()
    for t in range(burn_in):
        state[:, -2], state[:, -1] = batch.previous_actions[t] + 1, batch.previous_rewards[t]
        with torch.no_grad():
            target.greedy(batch.observations[t], state)
    names = ("observations", "previous_actions", "previous_rewards", "is_first")
    rest = {name: getattr(batch, name)[burn_in:] for name in names}
    borrowed = online.q_values(batch._replace(state=state, **rest), 0)
    assert not torch.allclose(borrowed[0], ours[0], atol=1e-2)


def test_sequences_of_a_batch_do_not_influence_each_other() -> None:
    model, burn_in = network(), 3
    alone = [random_batch(burn_in), random_batch(burn_in, state=torch.ones(1, 2 * UNITS + 2))]
    alone[1].is_first[4] = True
    fields: dict[str, Any] = {
        name: torch.cat(parts, dim=0 if name in ("state", "weights") else 1)
        for name, *parts in zip(SequenceBatch._fields, *alone, strict=True)
        if name != "keys"
    }
    together = model.q_values(SequenceBatch(**fields, keys=alone[0].keys), burn_in)
    for i, batch in enumerate(alone):
        torch.testing.assert_close(together[:, i : i + 1], model.q_values(batch, burn_in))
