"""The learner's side of actors: starts and restarts their processes, and requests rollouts."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing import connection as connections
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.actors.actor_process import MAX_MESSAGE_BYTES, ActorSpec, run_actor
from gala_rl.actors.handle import ActorHandle
from gala_rl.actors.remote import RemoteActorHandle, RemoteActors, RemoteRollouts
from gala_rl.actors.rollout_slots import (
    MakeModel,
    RolloutInfo,
    RolloutSlots,
    example_of,
    slots_of,
    storage,
)
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import Episode, Simulators
from gala_rl.envs.registration import registry_entries
from gala_rl.errors import ActorFailure, counted
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.processes.heartbeat import beat
from gala_rl.processes.supervised import RestartBudget, SupervisedProcess, end_all
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import StopRequested, never

_POLL_S = 0.2
_EXIT_S = _CLOSE_S = 2.0
_PROGRESS_ROLLOUTS = 100
"""Earlier deaths of an actor are forgiven once it has delivered this many rollouts."""

_log = logging.getLogger(__name__)


class ActorProcesses:
    """Collects rollouts from actors in separate processes; see `TrajectorySource`.

    "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
    Espeholt et al. 2018, figure 1: while the learner updates, actors continue with the parameters
    that they have. Processes start at once, but act only after the first `collect`.

    Args:
        config: configuration of the run.
        rank: rank of the learner.
        make_model: makes the network of an actor; a module-level function.
        parameters: [P] parameters of the learner, on its device; read at every `collect`.
        simulators: example simulators, from which shapes are read; closed here.
        seed: seed of all actors.
        remote_actors: actors of this learner on other machines; None: there are none.
        local: indices of the actors on this machine, which differ from all others if their learner
            is elsewhere; default: all that are not remote.

    Attributes:
        trajectory: buffer that `collect` returns, [T, B] with B the simulators of a batch.
        episodes: see `TrajectorySource`.
        should_stop: see `TrajectorySource`.
        total_agent_steps: see `TrajectorySource`.
        failures: see `TrajectorySource`.
        frames_per_step: see `TrajectorySource`.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        rank: int,
        make_model: MakeModel,
        parameters: Tensor,
        simulators: Simulators,
        seed: int,
        remote_actors: RemoteActors | None = None,
        local: range | None = None,
    ) -> None:
        algorithm = config.algorithm
        self._config, self._rank, self._make_model = config, rank, make_model
        self._heartbeats = shared_zeros((algorithm.actor_count,), torch.int64)
        self._progress = shared_zeros((1,), torch.int64)
        self.total_agent_steps = 0
        self._values, self._seed = parameters, seed
        self._share = config.simulators // algorithm.actor_count
        self.episodes: deque[Episode] = deque()
        self.should_stop: Callable[[], bool] = never
        self.failures = 0
        self.frames_per_step = simulators.frames_per_step
        self._version, self._has_published = 0, False
        self._queue: deque[tuple[ActorHandle | RemoteActorHandle, int]] = deque()
        self._lags: list[int] = []
        self._waited_s = 0.0
        example = example_of(make_model, simulators)
        batch = algorithm.batch_simulators(config.simulators)
        self.trajectory = replace(
            storage(config, batch, example, parameters.device),
            has_resets=simulators.resets_on_next_step,
            simulators=torch.zeros(batch, dtype=torch.int64),
        )
        assert self.trajectory.simulators is not None
        self._numbers = self.trajectory.simulators
        self._mailbox = SharedMailboxes(1, parameters.numel())
        self._remote: RemoteRollouts | None = None
        if remote_actors is not None:
            local = range(remote_actors.indices.start)
            slots = slots_of(len(remote_actors.indices), config, example)
            self._remote = RemoteRollouts(remote_actors, slots.split(algorithm.slots_per_actor))
        elif local is None:
            local = range(algorithm.actor_count)
        self._actors: list[ActorHandle] = []
        slots = slots_of(len(local), config, example)
        try:
            for index, own in zip(local, slots.split(algorithm.slots_per_actor), strict=True):
                process, connection = self._start(index, own)
                budget = RestartBudget(config.max_restarts, _PROGRESS_ROLLOUTS)
                self._actors.append(ActorHandle(index, own, process, connection, budget))
            while not all(actor.is_ready for actor in self._actors):
                self.poll(_POLL_S)
        except BaseException:
            self.close()
            raise

    def collect(self) -> Trajectory:
        """Publish the parameters, then wait for a batch of rollouts, oldest first.

        Raises:
            ActorFailure: if an actor has died too often.
        """
        self.set_progress(self.total_agent_steps)
        self._publish()
        self.poll()
        for first in range(0, self.trajectory.rewards.shape[1], self._share):
            actor, slot = self._next_valid()
            slots = actor.slots
            columns = slice(first, first + self._share)
            slots.read(slot, self.trajectory, columns)
            self._numbers[columns] = actor.index * self._share + torch.arange(self._share)
            self._lags.append(self._version - slots.info(slot, RolloutInfo.VERSION))
            self.failures += slots.info(slot, RolloutInfo.FAILURES)
            self.episodes.extend(slots.episodes(slot))
            actor.request(slot)
        return self.trajectory

    def take_metrics(self) -> dict[str, float]:
        """Return policy lag and waiting time since the last call, and deaths of actors so far."""
        lags, waited_s = self._lags or [0], self._waited_s
        self._lags, self._waited_s = [], 0.0
        return {
            "policy_lag_updates": sum(lags) / len(lags),
            "policy_lag_updates_max": max(lags),
            "queue_wait_s": waited_s,
            "actor_restarts": self.deaths,
        }

    @property
    def deaths(self) -> int:
        """Total number of deaths of actors, here and on other machines."""
        remote = 0 if self._remote is None else self._remote.deaths
        return remote + sum(actor.budget.deaths for actor in self._actors)

    def set_parameters(self, version: int, parameters: Tensor) -> None:
        """Publish parameters [P] of a learner on another machine."""
        self._values.copy_(parameters)
        self._version = version - 1
        self._publish()

    def set_progress(self, agent_steps: int) -> None:
        """Set the agent steps of all learners so far, for exploration."""
        self._progress[0] = agent_steps

    def wait(self, timeout_s: float) -> None:
        """Wait for a message of an actor; another thread may take rollouts meanwhile."""
        connections.wait([actor.connection for actor in self._actors], timeout_s)

    def take_rollouts(self, room: Mapping[int, int]) -> list[tuple[int, NDArray[np.uint8]]]:
        """Take rollouts for a learner on another machine, oldest first.

        Args:
            room: the most rollouts to take per actor, by index.

        Returns:
            Index of the actor and content of the slot, per rollout.
        """
        left, taken = dict(room), []
        for actor, slot in [self._queue.popleft() for _ in range(len(self._queue))]:
            if left.get(actor.index, 0) > 0:
                left[actor.index] -= 1
                taken.append((actor.index, actor.slots.content(slot)))
                actor.request(slot)
            else:
                self._queue.append((actor, slot))
        return taken

    def state(self) -> dict[str, Tensor]:
        """See `TrajectorySource`: empty, since games in progress are in other processes."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TrajectorySource`: restores nothing, since actors have started new games."""

    def close(self) -> None:
        """Let actors close their simulators, and kill those that take too long."""
        for actor in self._actors:
            actor.connection.close()
        if not end_all([actor.process for actor in self._actors], _CLOSE_S):
            raise ActorFailure("an actor does not end: it may still write to its slots")

    def _publish(self) -> None:
        self._version += 1
        self._mailbox.write(Message(0, self._version, self._values))
        if not self._has_published:
            self._has_published = True
            for actor in self._actors:
                self._request_all(actor)
            if self._remote is not None:
                self._remote.request_all()

    def _next_filled(self) -> tuple[ActorHandle | RemoteActorHandle, int]:
        start = time.monotonic()
        while not self._queue:
            if self.should_stop():
                raise StopRequested
            self.poll(_POLL_S)
        self._waited_s += time.monotonic() - start
        return self._queue.popleft()

    def _next_valid(self) -> tuple[ActorHandle | RemoteActorHandle, int]:
        while True:
            actor, slot = self._next_filled()
            if actor.slots.is_valid(slot, self._version, self._config.simulators):
                return actor, slot
            if isinstance(actor, RemoteActorHandle):
                # Collected for an earlier process of this learner, whose versions were higher.
                actor.request(slot)
                continue
            _log.warning("actor %d has delivered an invalid rollout", actor.index)
            self._queue = deque(filled for filled in self._queue if filled[0] is not actor)
            self._on_death(actor)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Receive what actors send until the timeout; restart actors that are dead or hang.

        Raises:
            ActorFailure: if an actor has died too often.
        """
        beat()  # A learner that waits for its actors is not hung.
        by_connection = {actor.connection: actor for actor in self._actors}
        waited_for = [*by_connection]
        if self._remote is not None:
            self._queue.extend(self._remote.exchange(self._mailbox, self.total_agent_steps))
            waited_for.append(self._remote.connection)
        for ready in connections.wait(waited_for, 0.0 if self._queue else timeout_s):
            if ready not in by_connection:
                continue  # It is the connection of the remote actors.
            actor = by_connection[ready]
            try:
                while actor.connection.poll():
                    self._receive(actor)
            except (EOFError, OSError):
                # It is ending by itself: wait for its traceback and its exit code.
                actor.process.join(_EXIT_S)
                self._on_death(actor)
        for actor in self._actors:
            if actor.is_hung(int(self._heartbeats[actor.index])):
                silent_s = actor.process.silence.silent_s
                _log.warning("actor %d was silent for %.0f s", actor.index, silent_s)
                self._on_death(actor)

    def _receive(self, actor: ActorHandle) -> None:
        slot = actor.receive(actor.connection.recv_bytes(MAX_MESSAGE_BYTES))
        if slot is not None:
            self._queue.append((actor, slot))
        elif self._has_published:
            self._request_all(actor)

    def _request_all(self, actor: ActorHandle) -> None:
        """Request all slots of an actor that are not in the queue."""
        queued = {slot for other, slot in self._queue if other is actor}
        for slot in sorted(set(range(actor.slots.count)) - queued):
            actor.request(slot)

    def _start(
        self, index: int, slots: RolloutSlots, deaths: int = 0
    ) -> tuple[SupervisedProcess, Connection]:
        """Start the process of an actor; return it and the connection to it."""
        own_end, actor_end = connections.Pipe()
        sequence = np.random.SeedSequence([self._seed, index, deaths])
        spec = ActorSpec(
            config=self._config,
            rank=self._rank,
            make_model=self._make_model,
            index=index,
            simulators=self._share,
            seed=int(sequence.generate_state(1)[0]),
            slots=slots,
            parameters=self._mailbox,
            connection=actor_end,
            heartbeat=self._heartbeats[index : index + 1],
            progress=self._progress,
            registry=registry_entries(self._config.env),
        )
        name, timeout_s = f"gala-actor-{self._rank}-{index}", self._config.hang_after
        process = SupervisedProcess(run_actor, spec, name, timeout_s=timeout_s, leads_group=True)
        # With the other end open only in the actor, its death closes the connection.
        actor_end.close()
        # Messages are small and arrive whole; a read of a partial one fails instead of waiting.
        os.set_blocking(own_end.fileno(), False)
        return process, own_end

    def _on_death(self, actor: ActorHandle) -> None:
        """Restart an actor in a new process; raise ActorFailure if it has died too often."""
        actor.kill()
        budget, exitcode = actor.budget, actor.process.exitcode
        budget.count_death(actor.rollouts)
        name = f"actor {actor.index} of learner {self._rank}"
        if budget.is_spent:
            raise ActorFailure(
                f"{name} died {counted(budget.deaths_in_a_row, 'time')} without delivering "
                f"{_PROGRESS_ROLLOUTS} rollouts (exit code {exitcode}); "
                f"{actor.error_text or 'what it printed is above'}"
            )
        _log.warning("%s died (exit code %s) and is restarted", name, exitcode)
        actor.replace(*self._start(actor.index, actor.slots, budget.deaths))
