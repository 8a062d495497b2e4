"""Actors in real processes: what they hand over is whole, theirs, and as old as they say."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import psutil
import pytest
import torch
from torch import Tensor

from gala_rl.actors import ActorProcesses
from gala_rl.agent import build_model
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.flat import FlatParameters
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory
from tests.support.open_files import open_files

STEPS, LENGTH = 5, 7
GIVE_UP_S = 120.0


def make_config(actors: int, batch_rollouts: int | None = None) -> ResolvedConfig:
    algorithm = ImpalaSettings(rollout_steps=STEPS, actors=actors, batch_rollouts=batch_rollouts)
    config = TrainConfig(
        method="impala", env="tests.environments:Counting-v0", simulators=4, max_restarts=10**6
    )
    return resolve(replace(config, algorithm=algorithm))


@contextmanager
def queued(config: ResolvedConfig) -> Iterator[tuple[ActorProcesses, FlatParameters, ActorCritic]]:
    simulators = make_simulators(config.source, 1, 1)
    model = build_model(config, simulators.observation, simulators.action)
    assert isinstance(model, ActorCritic)
    flat = FlatParameters(model)
    make_model = partial(build_model, config)
    queue = ActorProcesses(config, 0, make_model, flat.values, simulators, seed=3)
    try:
        yield queue, flat, model
    finally:
        queue.close()


Queued = tuple[ActorProcesses, FlatParameters, ActorCritic]


@pytest.fixture(scope="module")
def pair() -> Iterator[Queued]:
    """Two actors, started once for the tests that do not mind what others have collected."""
    with queued(make_config(actors=2, batch_rollouts=1)) as made:
        yield made


ONE_PAIR = pytest.mark.xdist_group("pair of actors")


def check_seams(trajectory: Trajectory) -> None:
    """Every number follows from the one before: whatever is torn has a wrong integer."""
    episode, step, action = trajectory.observations.unbind(-1)
    over = step[:-1] + 1 == LENGTH
    assert torch.equal(trajectory.terminated, over)
    assert torch.equal(trajectory.rewards, step[:-1] + 1)
    assert torch.equal(step[1:], torch.where(over, 0, step[:-1] + 1))
    assert torch.equal(episode[1:], episode[:-1] + over)
    assert torch.equal(action[1:], torch.where(over, -1, trajectory.actions))


def test_rollouts_follow_one_another_and_games_are_told() -> None:
    with queued(make_config(actors=1)) as (queue, _flat, _model):
        last: Tensor | None = None
        for _ in range(9):
            trajectory = queue.collect()
            check_seams(trajectory)
            if last is not None:
                assert torch.equal(trajectory.observations[0], last)
            last = trajectory.observations[-1].clone()
        scores = {(episode.score, episode.agent_steps) for episode in queue.episodes}
        assert scores == {(LENGTH * (LENGTH + 1) / 2, LENGTH)}
        assert sorted(e.simulator for e in queue.episodes) == sorted([0, 1, 2, 3] * 6)


@ONE_PAIR
def test_actors_have_games_and_actions_of_their_own(pair: Queued) -> None:
    queue, _flat, _model = pair
    give_up = time.monotonic() + GIVE_UP_S
    seen: set[int] = set()
    rollouts = []
    while len(seen) < 4 and time.monotonic() < give_up:
        rollouts += [tuple(column.tolist()) for column in queue.collect().actions.unbind(1)]
        seen |= {episode.simulator for episode in queue.episodes}
    assert seen == {0, 1, 2, 3}
    # Of 32 possible: equal seeds would show each at least twice.
    assert len(set(rollouts)) > len(rollouts) / 2 or len(set(rollouts)) > 20


@ONE_PAIR
def test_what_acted_is_as_old_as_it_is_said_to_be(pair: Queued) -> None:
    """log π of every rollout is, to the bit of rounding, that of the version it is stamped with."""
    queue, flat, model = pair
    queue.take_metrics()
    first, initial = queue._version + 1, flat.values.clone()
    versions: dict[int, Tensor] = {}
    for version in range(first, first + 39):
        versions[version] = flat.values.clone()
        trajectory = queue.collect()
        acted = version - queue._lags[-1]
        assert 0 < acted <= version
        flat.load(versions.get(acted, initial))
        with torch.no_grad():
            evaluation = model.evaluate(
                trajectory.observations[:-1].flatten(0, 1), trajectory.actions.flatten()
            )
        assert trajectory.log_probs is not None
        found = evaluation.log_probs.view_as(trajectory.log_probs)
        torch.testing.assert_close(found, trajectory.log_probs)
        moved = 0.05 * torch.randn(len(flat.values), generator=torch.manual_seed(version))
        flat.load(versions[version] + moved)
    metrics = queue.take_metrics()
    # How old it gets is up to the machine: one actor may sleep while the other delivers.
    assert 0 < metrics["policy_lag_updates"] <= metrics["policy_lag_updates_max"] < first + 38


def pids(queue: ActorProcesses) -> list[int]:
    return [actor.process.pid for actor in queue._actors]


@pytest.mark.parametrize(("deaths", "seed"), [(2, 0), pytest.param(100, 1, marks=pytest.mark.slow)])
@ONE_PAIR
def test_actors_killed_at_any_moment_leave_nothing_torn(
    deaths: int, seed: int, pair: Queued
) -> None:
    queue, _flat, _model = pair
    before = queue.take_metrics()["actor_restarts"]
    moments = random.Random(seed)
    # An actor whose death was not noticed yet may be chosen again, and dies only once.
    killed: set[int] = set()
    while len(killed) < deaths:
        killed.add(victim := moments.choice(pids(queue)))
        os.kill(victim, signal.SIGKILL)
        for _ in range(moments.randrange(1, 40)):
            check_seams(queue.collect())
    give_up = time.monotonic() + GIVE_UP_S
    # The last may have died unnoticed until its end of the line is read.
    while queue.take_metrics()["actor_restarts"] < before + deaths and time.monotonic() < give_up:
        check_seams(queue.collect())
    assert queue.take_metrics()["actor_restarts"] == before + deaths


def test_a_stopped_actor_is_replaced_and_closing_leaves_nobody() -> None:
    with queued(make_config(actors=2)) as (queue, _flat, _model):
        queue.collect()
        for actor in queue._actors:
            actor.process.timeout_s = 1.0
        stopped, before = pids(queue)[1], open_files()
        os.kill(stopped, signal.SIGSTOP)
        give_up = time.monotonic() + GIVE_UP_S
        while psutil.pid_exists(stopped) and time.monotonic() < give_up:
            check_seams(queue.collect())
        assert queue.take_metrics()["actor_restarts"]
        assert not psutil.pid_exists(stopped)
        assert open_files() == before
        alive = pids(queue)
        assert all(psutil.pid_exists(pid) for pid in alive)
    assert not any(psutil.pid_exists(pid) for pid in alive)


def test_an_actor_outlives_its_learner_by_no_rollout() -> None:
    """Where the kernel does not end it, the end of the line does."""
    with queued(make_config(actors=1)) as (queue, _flat, _model):
        queue.collect()
        actor = queue._actors[0]
        actor.connection.close()
        actor.process.join(GIVE_UP_S)
        assert actor.process.exitcode == 0
