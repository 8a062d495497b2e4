"""The learner's side of the queue: starts actors' processes, feeds, watches and restarts them."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing import connection as connections

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.actors.actor_process import MOST_WORDS, READY, ActorSpec, MakeModel, run_actor
from gala_rl.actors.handle import ActorHandle
from gala_rl.actors.remote import RemoteActorHandle, RemoteActors, RemoteRollouts
from gala_rl.actors.rollout_slots import RolloutInfo, RolloutSlots
from gala_rl.actors.rollout_storage import example_of, slots_of, storage
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import Episode, Simulators
from gala_rl.envs.registration import registry_entries
from gala_rl.errors import ActorFailure, counted
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.processes.heartbeat import beat
from gala_rl.processes.spawn import spawn
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import StopRequested, never

_LOOK_EVERY_S = 0.2
_LAST_WORDS_S = _CLOSE_S = 2.0
_MOST_COUNTED_S = 10.0
"""No more counts as silence between two looks: the learner may have been stopped too."""
_PROGRESS_ROLLOUTS = 100
"""An actor that has delivered so many has its earlier deaths forgiven."""

_log = logging.getLogger(__name__)


class ActorProcesses:
    """Actors in processes of their own; see `TrajectorySource`.

    "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
    Espeholt et al. 2018, figure 1: while the learner updates, actors go on with the parameters
    that they had. They begin with the first `collect`.

    Args:
        config: of the run, resolved.
        rank: of the learner.
        make_model: makes each actor's network; a function of a module.
        parameters: [P] the learner's; read at every `collect`.
        simulators: one or more of the environment, an example; closed here.
        device: where the learner learns.
        seed: of all actors.
        others: the actors on other machines; or indices of those here, for a learner elsewhere;
            default: all are here.

    Attributes:
        trajectory: what `collect` returns, [T, B] with B the simulators of a batch.
        episodes: see `TrajectorySource`.
        wants_stop: see `TrajectorySource`.
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
        device: torch.device,
        seed: int,
        others: RemoteActors | range | None = None,
    ) -> None:
        algorithm = config.algorithm
        self._config, self._rank, self._make_model = config, rank, make_model
        self._patience_s, self._looked_at = config.hang_after, time.monotonic()
        self._heartbeats = shared_zeros((algorithm.actor_count,), torch.int64)
        self._values, self._seed = parameters, seed
        self._share = config.simulators // algorithm.actor_count
        self.episodes: deque[Episode] = deque()
        self.wants_stop: Callable[[], bool] = never
        self.failures = 0
        self.frames_per_step = simulators.frames_per_step
        self._version, self._begun = 0, False
        self._full: deque[tuple[ActorHandle | RemoteActorHandle, int]] = deque()
        self._lags: list[int] = []
        self._waited_s = 0.0
        example = example_of(make_model, simulators)
        batch = algorithm.batch_simulators(config.simulators)
        self.trajectory = storage(algorithm.rollout_steps, batch, example, device)
        self._mailbox = SharedMailboxes(1, parameters.numel())
        self._remote: RemoteRollouts | None = None
        here = others if isinstance(others, range) else range(algorithm.actor_count)
        if isinstance(others, RemoteActors):
            here = range(others.indices.start)
            there = slots_of(len(others.indices), config, example)
            self._remote = RemoteRollouts(others, there.split(algorithm.slots_per_actor))
        self._stations: list[ActorHandle] = []
        slots = slots_of(len(here), config, example)
        try:
            for index, own in zip(here, slots.split(algorithm.slots_per_actor), strict=True):
                self._stations.append(self._start(index, own))
            while not all(station.ready for station in self._stations):
                self._listen(_LOOK_EVERY_S)
        except BaseException:
            self.close()
            raise

    def collect(self) -> Trajectory:
        """Tell actors the parameters, then wait for a batch of rollouts, oldest first.

        Raises:
            ActorFailure: when an actor could not be kept alive.
        """
        self._publish()
        self._listen(0.0)
        for first in range(0, self.trajectory.rewards.shape[1], self._share):
            station, slot = self._next_sound()
            slots = station.slots
            slots.read(slot, self.trajectory, slice(first, first + self._share))
            self._lags.append(self._version - slots.note(slot, RolloutInfo.VERSION))
            self.failures += slots.note(slot, RolloutInfo.FAILURES)
            self.episodes.extend(slots.episodes(slot))
            self._give(station, slot)
        return self.trajectory

    def take_metrics(self) -> dict[str, float]:
        """Lag of the rollouts that were learned from, waits for them, and deaths of actors."""
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
        """Of actors, all together."""
        remote = 0 if self._remote is None else self._remote.deaths
        return remote + sum(station.deaths for station in self._stations)

    def offer(self, version: int, parameters: Tensor) -> None:
        """Have actors go on by parameters [P] of a learner elsewhere."""
        self._values.copy_(parameters)
        self._version = version - 1
        self._publish()

    def tend(self) -> None:
        """See how actors are without waiting, and replace who has died; errors as `collect`."""
        self._listen(0.0)

    def hand_over(self, room: Mapping[int, int]) -> list[tuple[int, NDArray[np.uint8]]]:
        """Take rollouts for a learner elsewhere, oldest first.

        Args:
            room: how many are wanted of each actor, by index.

        Returns:
            Each rollout's actor, and the content of its slot.
        """
        left, taken = dict(room), []
        for station, slot in [self._full.popleft() for _ in range(len(self._full))]:
            if left.get(station.index, 0) > 0:
                left[station.index] -= 1
                taken.append((station.index, station.slots.content(slot)))
                self._give(station, slot)
            else:
                self._full.append((station, slot))
        return taken

    def state(self) -> dict[str, Tensor]:
        """See `TrajectorySource`: nothing, since what actors are in the middle of is theirs."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `TrajectorySource`: actors have begun new games."""

    def close(self) -> None:
        """Have actors close their simulators, kill those that take too long; wait for all."""
        for station in self._stations:
            station.connection.close()
        give_up = time.monotonic() + _CLOSE_S
        for station in self._stations:
            station.process.join(max(0.0, give_up - time.monotonic()))
            station.end()

    def _publish(self) -> None:
        self._version += 1
        self._mailbox.write(Message(0, self._version, self._values))
        if not self._begun:
            self._begun = True
            for station in self._stations:
                self._give_all(station)
            if self._remote is not None:
                self._remote.free_all()

    def _next_full(self) -> tuple[ActorHandle | RemoteActorHandle, int]:
        start = time.monotonic()
        while not self._full:
            if self.wants_stop():
                raise StopRequested
            self._listen(_LOOK_EVERY_S)
        self._waited_s += time.monotonic() - start
        return self._full.popleft()

    def _next_sound(self) -> tuple[ActorHandle | RemoteActorHandle, int]:
        while True:
            station, slot = self._next_full()
            if station.slots.is_sound(slot, self._version, self._config.simulators):
                return station, slot
            if isinstance(station, RemoteActorHandle):
                # By parameters of an earlier process of this learner, which counted further.
                self._give(station, slot)
                continue
            _log.warning("actor %d has delivered what no actor writes", station.index)
            self._full = deque(full for full in self._full if full[0] is not station)
            self._on_death(station)

    def _listen(self, timeout_s: float) -> None:
        """Take what actors have sent; bury those that are dead, or silent for too long."""
        beat()  # As long as its actors live, a learner that waits for them does.
        by_connection = {station.connection: station for station in self._stations}
        remote = [] if self._remote is None else [self._remote.connection]
        if self._remote is not None:
            self._full.extend(self._remote.exchange(self._mailbox))
            timeout_s = 0.0 if self._full else timeout_s
        lines: list[object] = [*by_connection, *remote]
        for ready in connections.wait(lines, timeout_s):  # type: ignore[arg-type]
            if ready not in by_connection:
                continue
            station = by_connection[ready]
            try:
                while station.connection.poll():
                    self._hear(station, station.connection.recv_bytes(MOST_WORDS))
            except (EOFError, OSError):
                # It ends by itself: time for its traceback and for its exit code.
                station.process.join(_LAST_WORDS_S)
                self._on_death(station)
        now = time.monotonic()
        passed_s, self._looked_at = min(now - self._looked_at, _MOST_COUNTED_S), now
        for station in self._stations:
            silent_s = station.listen_for(int(self._heartbeats[station.index]), passed_s)
            if silent_s > self._patience_s:
                _log.warning("actor %d was silent for %.0f s", station.index, silent_s)
                self._on_death(station)

    def _hear(self, station: ActorHandle, said: bytes) -> None:
        """Take a word of an actor's; raises an OSError when it is none."""
        station.silent_s = 0.0
        if len(said) > 1:
            station.last_words = said.decode(errors="replace")
            raise ConnectionError(f"actor {station.index} gives up")
        word = said[0] if said else -1
        if word == READY and not station.ready:
            station.ready = True
            if self._begun:
                self._give_all(station)
            return
        if word not in station.held:
            raise ConnectionError(f"actor {station.index} does not have slot {word}")
        station.held.remove(word)
        station.rollouts += 1
        self._full.append((station, word))

    def _give_all(self, station: ActorHandle) -> None:
        """Every slot that does not wait in the queue."""
        waiting = {slot for other, slot in self._full if other is station}
        for slot in sorted(set(range(station.slots.count)) - waiting):
            self._give(station, slot)

    def _give(self, station: ActorHandle | RemoteActorHandle, slot: int) -> None:
        if isinstance(station, RemoteActorHandle):
            station.free.append(slot)
            return
        if not station.ready:
            return  # Its successor gets them all when it is ready.
        station.held.add(slot)
        try:
            station.connection.send_bytes(bytes([slot]))
        except OSError:
            return  # It is dead, as `_listen` will see.

    def _start(self, index: int, slots: RolloutSlots, deaths: int = 0) -> ActorHandle:
        here, there = connections.Pipe()
        sequence = np.random.SeedSequence([self._seed, index, deaths])
        post = ActorSpec(
            config=self._config,
            make_model=self._make_model,
            index=index,
            simulators=self._share,
            seed=int(sequence.generate_state(1)[0]),
            slots=slots,
            parameters=self._mailbox,
            connection=there,
            learner=os.getpid(),
            heartbeats=self._heartbeats,
            registered=registry_entries(self._config.env),
        )
        process = spawn(run_actor, post, f"gala-actor-{self._rank}-{index}")
        # Held by the actor alone, it tells of the actor's end by its own.
        there.close()
        # A word is there whole or not at all: nobody waits for the rest of one.
        os.set_blocking(here.fileno(), False)
        return ActorHandle(index, slots, process, here)

    def _on_death(self, station: ActorHandle) -> None:
        """Put another actor in the place of a dead one, unless actors keep dying there."""
        station.end()
        if station.rollouts >= _PROGRESS_ROLLOUTS:
            station.deaths_in_a_row = 0
        station.deaths += 1
        station.deaths_in_a_row += 1
        name, exitcode = f"actor {station.index} of learner {self._rank}", station.process.exitcode
        if station.deaths_in_a_row > self._config.max_restarts:
            raise ActorFailure(
                f"{name} died {counted(station.deaths_in_a_row, 'time')} without delivering "
                f"{_PROGRESS_ROLLOUTS} rollouts (exit code {exitcode}); "
                f"{station.last_words or 'what it printed is above'}"
            )
        _log.warning("%s died (exit code %s) and is restarted", name, exitcode)
        successor = self._start(station.index, station.slots, station.deaths)
        # What it had announced stays in the queue; all else goes to the successor.
        station.replace(successor.process, successor.connection)
