"""Actors that a test plays: each does what an actor's process does, step by step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import torch

from gala_rl.actors import actors
from gala_rl.actors.actor_process import READY, ActorSpec
from gala_rl.actors.rollout_slots import FIELDS
from gala_rl.agent import build_model
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.envs import Episode, make_simulators
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.processes import supervised
from gala_rl.trajectory import Trajectory

STEPS, SHARE = 3, 2
CROSSING = FIELDS[:-2]
"""Without what only a recurrent network has."""


def make_config(**given: Any) -> ResolvedConfig:
    algorithm = ImpalaSettings(rollout_steps=STEPS, actors=2, actor_slots=2, **given)
    config = TrainConfig(
        method="impala", env="tests.environments:Counting-v0", simulators=2 * SHARE, max_restarts=50
    )
    return resolve(replace(config, algorithm=algorithm))


@dataclass(eq=False)
class ScriptedProcess:
    """Stands where an actor's process would; has what it was started with."""

    spec: ActorSpec
    exitcode: int | None = None
    pid: int = 2**30
    """No process has it."""

    def kill(self) -> None:
        self.exitcode = -9 if self.exitcode is None else self.exitcode
        self.spec.connection.close()

    def join(self, timeout: float) -> None:
        self.exitcode = 1 if self.exitcode is None else self.exitcode


class ScriptedActor:
    """An actor, step by step; every rollout is filled with one number of its own."""

    def __init__(self, spec: ActorSpec) -> None:
        # The learner closes its copy of the actor's end when the process has started.
        self.connection = Connection(os.dup(spec.connection.fileno()))
        self.spec = replace(spec, connection=self.connection)
        self.process = ScriptedProcess(self.spec)
        self.in_work: int | None = None
        self.stamp = 0

    @property
    def alive(self) -> bool:
        return self.process.exitcode is None

    def begin(self) -> bool:
        """Take a slot and write half a rollout into it."""
        if self.in_work is None and self.alive and self.connection.poll():
            self.in_work = self.connection.recv_bytes(1)[0]
            self._observations[: STEPS // 2] = -1
            return True
        return False

    def finish(self, stamp: int, version: int) -> None:
        assert self.in_work is not None
        episodes = [Episode(stamp % 4, float(stamp), 5)] * (stamp % (STEPS * SHARE + 1))
        self.spec.slots.write(self.in_work, stamped(stamp), version, episodes, stamp % 2)
        self.connection.send_bytes(bytes([self.in_work]))
        self.in_work = None

    @property
    def _observations(self) -> torch.Tensor:
        return self.spec.slots._fields["observations"][self.in_work]


def stamped(stamp: int) -> Trajectory:
    """A rollout that consists of one number."""
    observation = torch.zeros(SHARE, 3)
    rollout = Trajectory.allocate(
        STEPS,
        observation,
        torch.zeros(SHARE, dtype=torch.int64),
        torch.zeros(SHARE, 0),
        torch.device("cpu"),
        with_behaviour=True,
    )
    for name in CROSSING:
        getattr(rollout, name).fill_(stamp)
    return rollout


@contextmanager
def scripted(config: ResolvedConfig) -> Iterator[tuple[actors.ActorProcesses, list[ScriptedActor]]]:
    """Queued actors whose processes are scripted, at once ready; the newest come last."""
    made: list[ScriptedActor] = []

    def start(work: Any, spec: ActorSpec, name: str, imports: str | None) -> ScriptedProcess:
        made.append(ScriptedActor(spec))
        made[-1].connection.send_bytes(bytes([READY]))
        return made[-1].process

    simulators = make_simulators(config.source, 1, 1)

    def make_model(*specs: Any) -> Any:
        return build_model(config, *specs)

    with mock.patch.object(supervised, "start_process", start):
        parameters = torch.zeros(8)
        queue = actors.ActorProcesses(config, 0, make_model, parameters, simulators, seed=0)
        try:
            yield queue, made
        finally:
            queue.close()


def run(actor: ScriptedActor, stamp: int, version: int) -> None:
    assert actor.begin()
    actor.finish(stamp, version)
