"""The same learning on a CUDA device: run with `make test-gpu` on a machine that has one."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gala_rl.actor import Actor
from gala_rl.agent import Agent, build_agent, build_model
from gala_rl.app.evaluate import evaluate
from gala_rl.app.train import resume, train
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.gossip import SharedMailboxes
from gala_rl.learners.gradient_learner import GradientLearner
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@dataclass(frozen=True, kw_only=True)
class Remembering(A2CSettings):
    """A2C that keeps what actors thought when they chose."""

    needs_behaviour = True


CPU = torch.device("cpu")
CUDA = torch.device("cuda")
CONFIG = resolve(TrainConfig(learners=2, simulators=4, device="cuda"))


def on(device: torch.device, trajectory: Trajectory) -> Trajectory:
    """A copy there; activations stay behind, so that the device computes its own."""
    fields = {name: x for name, x in vars(trajectory).items() if name != "activations"}
    there: dict[str, Any] = {
        name: None if x is None else x.to(device) for name, x in fields.items()
    }
    return replace(trajectory, activations=None, **there)


def pair(device: torch.device, lstm_size: int | None = None) -> tuple[Agent, Agent]:
    """Two learners of Pong that hear each other through shared memory."""
    config = replace(CONFIG, lstm_size=lstm_size)
    size = len(build_agent(config, 0, SharedMailboxes(2, 1).transport(0), CPU, 0).gossip.parameters)
    mailboxes = SharedMailboxes(2, size)
    first, second = (
        build_agent(config, rank, mailboxes.transport(rank), device, seed=rank) for rank in range(2)
    )
    return first, second


with_and_without_memory = pytest.mark.parametrize("lstm_size", [None, 32])


@with_and_without_memory
def test_an_update_on_the_gpu_is_that_on_the_cpu(lstm_size: int | None) -> None:
    (host, _), (device, _) = pair(CPU, lstm_size), pair(CUDA, lstm_size)
    trajectory = host.actor.collect()
    expected = host.learner.update(trajectory, 1e-3)
    got = device.learner.update(on(CUDA, trajectory), 1e-3)
    for ours, value in zip(got[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(ours.cpu(), value, rtol=1e-2, atol=1e-4)


def test_captured_policies_remember_what_the_learner_unrolls() -> None:
    """Ten rollouts, captured from the fourth on: their values again, by one pass over each."""
    config = replace(CONFIG, learners=1, lstm_size=32)
    simulators = make_simulators(config.source, 4, 2, groups=2)
    model = build_model(config, simulators.observation, simulators.action).to(CUDA)
    assert isinstance(model, ActorCritic)
    actor = Actor(simulators, model, 5, seed=0, with_behaviour=True)
    for _ in range(10):
        trajectory = actor.collect()
        assert trajectory.values is not None
        flat = trajectory.observations[:-1].flatten(0, 1), trajectory.actions.flatten(0, 1)
        values = model.evaluate(
            *flat, trajectory.initial_state, trajectory.is_first[:-1]
        ).values.view(5, 4)
        torch.testing.assert_close(values, trajectory.values, rtol=1e-3, atol=1e-4)
        assert trajectory.final_state.any()


def test_learners_on_the_gpu_mix_what_crosses_shared_memory() -> None:
    first, second = pair(CUDA)
    first.step(1e-3)
    sent = first.learner.flat.values.clone()
    trajectory = second.actor.collect()
    second.learner.update(trajectory, 1e-3)
    own = second.learner.flat.values.clone()
    assert second.gossip.exchange() == 1
    torch.testing.assert_close(second.learner.flat.values, (sent + own) / 2)
    assert second.learner.flat.values.is_cuda


@with_and_without_memory
def test_captured_updates_are_those_that_are_launched_one_by_one(lstm_size: int | None) -> None:
    """Ten updates on one rollout with a falling learning rate; captured from the fourth on."""
    (captured, _), (plain, _) = pair(CUDA, lstm_size), pair(CUDA, lstm_size)
    trajectory = captured.actor.collect()
    for i in range(10):
        learning_rate = 1e-3 * (10 - i)
        graph = captured.learner.update(trajectory, learning_rate)
        assert isinstance(plain.learner, GradientLearner)
        eager = plain.learner._update(trajectory, learning_rate, None)
        for ours, value in zip(graph[:-1], eager[:-1], strict=True):
            torch.testing.assert_close(ours, value, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        captured.learner.flat.values, plain.learner.flat.values, rtol=1e-3, atol=1e-5
    )


def test_captured_policies_go_on_drawing_new_actions_for_new_observations() -> None:
    agent, _ = pair(CUDA)
    rollouts = [agent.actor.collect().actions.clone() for _ in range(8)]
    assert len({tuple(actions.flatten().tolist()) for actions in rollouts}) == len(rollouts)


def test_a_captured_policy_acts_with_the_newest_parameters() -> None:
    agent, _ = pair(CUDA)
    bias = dict(agent.actor.network.named_parameters())["_policy.logits.bias"]
    for action in (1, 0, 2, 1, 0, 2):
        with torch.no_grad():
            bias.fill_(-50.0)[action] = 50.0
        assert set(agent.actor.collect().actions.flatten().tolist()) == {action}


@pytest.mark.parametrize("groups", [1, 2])
def test_what_simulators_say_reaches_the_device(groups: int) -> None:
    agent = build_agent(
        replace(CONFIG, learners=1, simulator_groups=groups),
        0,
        SharedMailboxes(1, 1).transport(0),
        CUDA,
        seed=0,
    )
    for _ in range(6):
        trajectory, host = agent.actor.collect(), agent.actor._host
        torch.cuda.synchronize()
        assert torch.equal(trajectory.observations[1:].cpu(), host.observations[1:])
        for name in ("rewards", "terminated", "truncated"):
            assert torch.equal(getattr(trajectory, name).cpu(), getattr(host, name))


def test_captured_policies_see_by_the_newest_moments() -> None:
    algorithm = Remembering(normalize_observations=True, normalize_rewards=True)
    config = resolve(replace(CONFIG, learners=1, env="CartPole-v1", algorithm=algorithm))
    agent = build_agent(config, 0, SharedMailboxes(1, 1).transport(0), CUDA, seed=0)
    model, seen = agent.actor.network, []
    assert model.observation_moments is not None
    for _ in range(8):
        assert torch.isfinite(agent.step(1e-3).grad_norm)
        seen.append(agent.actor.trajectory.observations[:-1].flatten(0, 1).clone())
        mean = torch.cat(seen).mean(dim=0)
        torch.testing.assert_close(model.observation_moments.mean, mean, rtol=1e-4, atol=1e-5)
    trajectory = agent.actor.collect()
    assert trajectory.values is not None
    values = model.values(trajectory.observations[:-1].flatten(0, 1))
    torch.testing.assert_close(trajectory.values.flatten(), values, rtol=1e-3, atol=1e-5)


def test_bfloat16_trains_on_the_gpu() -> None:
    config = replace(CONFIG, learners=1, precision="bfloat16")
    agent = build_agent(config, 0, SharedMailboxes(1, 1).transport(0), CUDA, seed=0)
    for _ in range(6):
        metrics = agent.step(1e-3)
    assert torch.isfinite(metrics.grad_norm)
    assert agent.learner.flat.values.dtype == torch.float32


@pytest.mark.parametrize("serial", [False, True])
def test_a_run_trains_resumes_and_is_evaluated(tmp_path: Path, serial: bool) -> None:
    protocol = replace(CONFIG.atari, max_episode_frames=400)
    run = str(tmp_path / "run")
    summary = train(replace(CONFIG, steps=2_000, serial=serial, out=run, atari=protocol))
    assert summary["mixes"] > 0
    assert resume(run, steps=4_000)["agent_steps"] >= 4_000
    (result,) = evaluate(run, episodes=1)["results"]
    assert len(result["returns"]) == 1
