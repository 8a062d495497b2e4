"""Measuring: what is measured, when it stops, and that it leaves nothing open."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gala_rl.agent import Agent, build_agent
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.methods.resolving import resolve
from gala_rl.plan import measuring
from gala_rl.plan.candidates import SIMULATORS, measured_config
from gala_rl.plan.measuring import measure

MOMENT_S, NO_TIME_S = 0.5, 1e-6


def default_of(env: str = "CartPole-v1", method: str = "gala-a2c") -> ResolvedConfig:
    return resolve(TrainConfig(method=method, env=env, learners=2, device="cpu"))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Agent]:
    """Agents that were built for measuring."""
    agents: list[Agent] = []

    def build(*arguments: Any) -> Agent:
        agents.append(build_agent(*arguments))
        return agents[-1]

    monkeypatch.setattr(measuring, "build_agent", build)
    return agents


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Actors that were closed."""
    actors: list[object] = []

    def close(actor: object) -> None:
        actors.append(actor)

    monkeypatch.setattr("gala_rl.actor.Actor.close", close)
    return actors


@pytest.mark.parametrize("method", ["gala-a2c", "gala-ppo", "gala-reinforce"])
def test_each_number_of_simulators_is_measured_or_left_out(method: str) -> None:
    default = default_of(method=method)
    measured = measure(default, MOMENT_S)
    assert default.simulators in measured.timings
    assert {*measured.timings, *measured.left_out} == {*SIMULATORS, default.simulators}
    assert not set(measured.timings) & set(measured.left_out)
    assert list(measured.timings) == sorted(measured.timings)
    for simulators, timing in measured.timings.items():
        assert timing.simulators == simulators
        assert timing.rollout_s > 0
        assert timing.update_s > 0
        assert timing.total_s == timing.rollout_s + timing.update_s
    assert measured.noise_share is not None
    assert measured.least_noise_share is not None
    assert 0 <= measured.least_noise_share <= measured.noise_share <= 1
    assert measured.rounds > 0


def test_two_learners_gossip_and_the_others_are_alone_with_one_thread_each(
    built: list[Agent], closed: list[object]
) -> None:
    measured = measure(default_of(), 4 * MOMENT_S)
    first, second, *others = built
    assert first.gossip.node.mixes > 0
    assert second.gossip.node.mixes > 0
    assert first.updates == second.updates
    assert [agent.actor.simulators.count for agent in others] == [8, 32, 64, 128]
    assert list(measured.timings) == list(SIMULATORS)
    for agent in built:
        assert agent.threads[:2] == (1, 1)
        assert agent.updates >= 2
    assert closed == [agent.source for agent in (second, first, *others)]


def test_the_number_of_threads_is_restored() -> None:
    torch.set_num_threads(2)
    measure(default_of(), NO_TIME_S)
    assert torch.get_num_threads() == 2


def test_it_stops_growing_when_updates_take_longer_than_the_time_left() -> None:
    measured = measure(default_of(), NO_TIME_S)
    assert list(measured.timings) == [16]
    assert measured.left_out == (8, 32, 64, 128)


def test_it_stops_growing_when_simulators_take_long_to_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "_LONGEST", 0.0)
    assert list(measure(default_of(), MOMENT_S).timings) == [16]


def test_it_stops_growing_when_memory_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "fits_memory", lambda config: config.simulators < 32)
    measured = measure(default_of(), 4 * MOMENT_S)
    assert (list(measured.timings), measured.left_out) == ([8, 16], (32, 64, 128))


def test_gradients_that_are_all_zero_have_no_noise_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "noise_share", lambda gradients: None)
    measured = measure(default_of(), NO_TIME_S)
    assert measured.noise_share is None
    assert measured.rounds == 0


@pytest.mark.parametrize(
    ("estimates", "expected"),
    [
        ([], (None, None)),
        ([0.3], (0.3, 0.3)),
        ([1.4], (1.0, 1.0)),
        # The standard error of 0.4, 0.6, 0.4, 0.6 is √(4 · 0.01 / 3) / √4.
        ([0.4, 0.6, 0.4, 0.6], (0.5, 0.5 - math.sqrt(0.04 / 3))),
        ([0.9, 1.2], (1.0, 0.75)),
        ([-0.5, 0.1], (0.0, 0.0)),
    ],
)
def test_chance_is_not_taken_for_noise(
    estimates: list[float], expected: tuple[float | None, float | None]
) -> None:
    assert measuring._shares(estimates) == pytest.approx(expected)


def test_the_noise_is_that_of_both_gradients(
    monkeypatch: pytest.MonkeyPatch, built: list[Agent]
) -> None:
    seen: list[torch.Tensor] = []

    def estimated(gradients: torch.Tensor) -> float:
        seen.append(gradients)
        return 0.3

    monkeypatch.setattr(measuring, "noise_share", estimated)
    assert measure(default_of(), NO_TIME_S).noise_share == pytest.approx(0.3)
    for agent, gradient in zip(built, seen[-1], strict=True):
        assert torch.equal(agent.learner.flat.grads, gradient)
    assert not torch.equal(seen[-1][0], seen[-1][1])


def test_a_rollout_that_takes_too_long_is_a_line_and_simulators_are_closed(
    monkeypatch: pytest.MonkeyPatch, closed: list[object]
) -> None:
    monkeypatch.setattr(measuring, "ROLLOUT_TIMEOUT_S", -1.0)
    with pytest.raises(UserError, match="CartPole-v1' is too slow to be measured: a rollout of 16"):
        measure(default_of(), MOMENT_S)
    assert len(closed) == 2


def test_a_gradient_that_is_not_finite_is_a_line(closed: list[object]) -> None:
    with pytest.raises(LearnerFailure, match="cannot be measured: the gradient of update 3"):
        measure(default_of("tests.environments:Poisoned-v0"), MOMENT_S)
    assert len(closed) == 2


def test_a_measured_config_differs_from_training_in_processes_and_threads_alone() -> None:
    default = default_of()
    config = measured_config(default, 2, default.simulators)
    assert config.serial
    assert config.network_threads == config.simulator_threads == 1
    same = replace(config, serial=False, simulator_threads=None, network_threads=None)
    assert same == default
