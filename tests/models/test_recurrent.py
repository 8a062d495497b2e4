"""The recurrent network gives one answer: acting step by step, and evaluated as a whole."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec

STEPS, SIMULATORS, UNITS = 7, 3, 8
IMAGE = ObservationSpec((1, 36, 40), True)
VECTOR = ObservationSpec((3,), False)
DISCRETE = ActionSpec(4, True)

both_kinds = pytest.mark.parametrize("observation", [IMAGE, VECTOR], ids=["image", "vector"])


def network(observation: ObservationSpec = VECTOR, action: ActionSpec = DISCRETE) -> ActorCritic:
    """Far from uniform, so that what it remembers shows in what it does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = ActorCritic(observation, action, lstm_size=UNITS)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return model


def observations(spec: ObservationSpec, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    if spec.is_image:
        shape = (steps, SIMULATORS, *spec.shape)
        return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    return torch.randn(steps, SIMULATORS, *spec.shape, generator=generator)


def some_begin(steps: int = STEPS) -> Tensor:
    begins = torch.zeros(steps, SIMULATORS, dtype=torch.bool)
    begins[0, 2] = begins[2, 1] = begins[5, 1] = begins[6, 0] = True
    return begins


class Acted(NamedTuple):
    """What choosing step by step gave; each [T, B]."""

    actions: Tensor
    log_probs: Tensor
    values: Tensor


def act(model: ActorCritic, x: Tensor, state: Tensor, begins: Tensor) -> Acted:
    generator, choices = torch.Generator().manual_seed(3), []
    for t in range(len(x)):
        state.masked_fill_(begins[t].unsqueeze(-1), 0.0)
        choices.append(model.act_and_evaluate(x[t], generator, state=state)[:3])
    return Acted(*(torch.stack(parts) for parts in zip(*choices, strict=True)))


def random_state(seed: int = 4) -> Tensor:
    return torch.randn(SIMULATORS, 2 * UNITS, generator=torch.Generator().manual_seed(seed))


@both_kinds
def test_evaluating_a_rollout_repeats_what_acting_computed(observation: ObservationSpec) -> None:
    model, x, begins = network(observation), observations(observation), some_begin()
    start = random_state()
    state = start.clone()
    acted = act(model, x, state, begins)
    evaluation = model.evaluate(x.flatten(0, 1), acted.actions.flatten(), *(start, begins))
    for ours, theirs in (
        (evaluation.log_probs, acted.log_probs),
        (evaluation.values, acted.values),
    ):
        torch.testing.assert_close(ours.view(STEPS, SIMULATORS), theirs, rtol=1e-5, atol=1e-6)
    assert evaluation.state is not None
    torch.testing.assert_close(evaluation.state, state, rtol=0.0, atol=1e-6)
    without = model.evaluate(
        x.flatten(0, 1), acted.actions.flatten(), *(start, torch.zeros_like(begins))
    )
    assert not torch.allclose(without.values, evaluation.values, atol=1e-3), "endings matter"


@both_kinds
def test_values_are_those_of_the_choice_and_leave_the_state_alone(
    observation: ObservationSpec,
) -> None:
    model, x, state = network(observation), observations(observation)[0], random_state()
    before = state.clone()
    values = model.values(x, state)
    assert torch.equal(state, before)
    assert torch.equal(values, model.act_and_evaluate(x, torch.Generator(), state=state).values)
    assert not torch.equal(state, before)
    assert not torch.allclose(values, model.values(x, state), atol=1e-3), "memory matters"


def test_all_that_act_move_the_state_on_alike() -> None:
    model, x, states = network(), observations(VECTOR)[0], [random_state() for _ in range(3)]
    model.act_and_evaluate(x, torch.Generator(), state=states[0])
    model.act(x, torch.Generator(), state=states[1])
    model.greedy(x, states[2])
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert not any(state.requires_grad for state in states)


def test_recorded_activations_of_the_torso_serve_a_recurrent_network_too() -> None:
    model, x, begins = network(IMAGE), observations(IMAGE), some_begin()
    memory = model.allocate_activations(STEPS, x[0])
    assert memory is not None
    state = random_state()
    with torch.no_grad():
        for t in range(STEPS):
            state.masked_fill_(begins[t].unsqueeze(-1), 0.0)
            model.act(x[t], torch.Generator(), state, record=memory.at(t))
    past, actions = (random_state(), begins), torch.zeros(STEPS * SIMULATORS, dtype=torch.long)
    flat = x.flatten(0, 1)
    plain = model.evaluate(flat, actions, *past)
    replayed = model.evaluate(flat, actions, *past, memory.flatten())
    gradients = []
    for evaluation in (plain, replayed):
        loss = evaluation.log_probs.sum() + evaluation.values.square().sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    torch.testing.assert_close(plain.values, replayed.values)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_another_policy_is_evaluated_from_the_same_past_up_to_the_bootstrap() -> None:
    """What V-trace asks: everything, V of observations[T] too, under the present parameters."""
    x, begins, start = observations(VECTOR, STEPS + 1), some_begin(STEPS + 1), random_state()
    begins[STEPS, 1] = True
    behaviour = act(network(), x[:STEPS], start.clone(), begins[:STEPS])
    present = network()
    for parameter in present.parameters():
        parameter.data.mul_(0.7)
    evaluation = present.evaluate(
        x[:STEPS].flatten(0, 1), behaviour.actions.flatten(), *(start, begins[:STEPS])
    )
    assert evaluation.state is not None
    final = evaluation.state.masked_fill(begins[STEPS].unsqueeze(-1), 0.0)
    bootstrap = present.values(x[STEPS], final)
    stepped = act(present, x, start.clone(), begins).values
    together = torch.cat((evaluation.values.view(STEPS, SIMULATORS), bootstrap[None]))
    torch.testing.assert_close(together, stepped, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(evaluation.values, behaviour.values.flatten(), atol=1e-3)


@both_kinds
def test_policy_and_value_share_torso_and_core(observation: ObservationSpec) -> None:
    model, x = network(observation), observations(observation)
    passes: list[int] = []
    model.torso.register_forward_hook(lambda *_: passes.append(1))
    actions = torch.zeros(STEPS * SIMULATORS, dtype=torch.long)
    evaluation = model.evaluate(x.flatten(0, 1), actions, random_state(), some_begin())
    torch.autograd.backward(evaluation.values.sum())
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {"torso", "core", "_value"}
    assert len(passes) == 1


def test_an_episode_starts_with_nothing_remembered() -> None:
    state = network().initial_state(SIMULATORS)
    assert state.shape == (SIMULATORS, 2 * UNITS)
    assert not state.any()
    assert ActorCritic(VECTOR, DISCRETE).initial_state(SIMULATORS).shape == (SIMULATORS, 0)


def test_without_its_state_a_recurrent_network_refuses_to_answer() -> None:
    model, x = network(), observations(VECTOR)[0]
    for ask in (
        lambda: model.act(x, torch.Generator()),
        lambda: model.greedy(x),
        lambda: model.values(x),
        lambda: model.evaluate(x, torch.zeros(SIMULATORS, dtype=torch.long)),
    ):
        with pytest.raises(ValueError, match="recurrent network"):
            ask()


@both_kinds
def test_forward_moves_the_state_on_as_acting_does(observation: ObservationSpec) -> None:
    model, x = network(observation), observations(observation)[0]
    forward, greedy = random_state(), random_state()
    with torch.no_grad():
        output, values = model(x, forward)
        expected = model.values(x, random_state())
        assert torch.equal(output.argmax(-1), model.greedy(x, greedy))
    assert torch.equal(forward, greedy)
    torch.testing.assert_close(values, expected)
    with pytest.raises(ValueError, match="acts from a state"):
        model(x)
