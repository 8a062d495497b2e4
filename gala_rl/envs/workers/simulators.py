"""The owner's side of simulators in processes: starts, commands, watches and replaces them."""

import contextlib
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from numpy.typing import NDArray

from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW, close_environment
from gala_rl.envs.make import make_environment, space_specs
from gala_rl.envs.registration import registry_entries
from gala_rl.envs.simulators import EpisodeCounter, Transition
from gala_rl.envs.workers.memory import StepMemory
from gala_rl.envs.workers.worker import DONE, RESET, STEP, TELL, SimulatorWorkerSpec, run_worker
from gala_rl.errors import SimulatorFailure, printable
from gala_rl.processes.heartbeat import beat
from gala_rl.processes.spawn import end, spawn

_LOOK_EVERY_S = 0.2
_LAST_WORDS_S = 0.2
_END_S = 2.0
"""Who ends by itself has so long until its exit code is there."""
_CLOSE_S = 2.0
"""Simulators that have not closed by then are killed."""
_MOST_WORDS = 1 << 16

_log = logging.getLogger(__name__)


class WorkerTimeouts(NamedTuple):
    """Seconds after which a process of simulators is replaced.

    Attributes:
        step_s: that it takes for a step or a reset of all its simulators.
        build_s: in which it builds none of its simulators, before all are there.
    """

    step_s: float = 20.0
    build_s: float = 120.0


@dataclass(eq=False)
class _Worker:
    """One process of simulators; `words` is what came instead of its last answer."""

    rows: slice
    process: BaseProcess
    line: socket.socket
    words: bytes | None = None

    @property
    def pid(self) -> int:
        pid = self.process.pid
        assert pid is not None, "it was started"
        return pid


class SimulatorProcesses:
    """B copies of one Gymnasium environment in other processes; see `Simulators`.

    The same seed gives the same trajectories as `GymnasiumSimulators` do. A simulator that raises
    is built anew within its process. A process that dies, or gives no answer before the deadline,
    is replaced: the episodes of all its simulators end truncated with the last observation they
    gave, and each of them is counted in `failures`. The others' step counts as ever.

    Processes start with the first `reset`. Their simulators' state cannot be saved.

    Args:
        env_id: Gymnasium id.
        count: B.
        processes: among which the simulators are shared out; at most B.
        limits: of the time that a process may take.

    Raises:
        SimulatorFailure: from `reset` and `recv`, when a simulator fails too often in a row.
    """

    def __init__(self, env_id: str, count: int, processes: int, limits: WorkerTimeouts) -> None:
        self.count = count
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        self._env_id, self._limits = env_id, limits
        env = make_environment(env_id)
        try:
            self.observation, self.action = space_specs(env, env_id)
        finally:
            close_environment(env, env_id)
        self._memory = StepMemory(count, self.observation, self.action)
        self._step = self._memory.rows(slice(0, count))
        self._observations = self._step.observations.copy()
        self._counter = EpisodeCounter(count)
        edges = [count * p // processes for p in range(processes + 1)]
        self._rows = [slice(*ends) for ends in itertools.pairwise(edges)]
        self._workers: list[_Worker] = []

    @property
    def failures(self) -> int:
        """See `Simulators`."""
        return int(self._step.failures.sum())

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the processes as they are now; one that is replaced gets another."""
        return tuple(worker.pid for worker in self._workers)

    def reset(self, seed: int) -> NDArray[Any]:
        """See `Simulators`."""
        self._step.seed[:] = seed
        self._counter = EpisodeCounter(self.count)
        if self._workers:
            _tell(self._workers, RESET)
            self._replace(_silent(self._workers, self._limits.step_s))
        else:
            self._begin(self._rows)
        self._observations = self._step.observations.copy()
        return self._observations.copy()

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._step.actions[:] = actions
        _tell(self._workers, STEP)

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        lost = _silent(self._workers, self._limits.step_s)
        step, previous = self._step, self._observations
        rewards, terminated = step.rewards.copy(), step.terminated.copy()
        truncated, finals = step.truncated.copy(), step.final_observations.copy()
        for worker in lost:
            rewards[worker.rows], terminated[worker.rows], truncated[worker.rows] = 0.0, False, True
            finals[worker.rows] = previous[worker.rows]
        self._replace(lost)
        finals[~truncated] = 0
        self._observations = step.observations.copy()
        return Transition(
            observations=self._observations.copy(),
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            final_observations=finals if truncated.any() else None,
            episodes=self._counter.add(rewards, terminated | truncated),
        )

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        self.send(actions)
        return self.recv()

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """A simulator in another process may be silent when asked for its state: None."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Nothing was saved that could be restored."""
        raise ValueError("simulators in processes have no saved state to continue from")

    def close(self) -> None:
        """Have simulators closed, and kill those that take too long."""
        for worker in self._workers:
            worker.line.close()
        give_up = time.monotonic() + _CLOSE_S
        for worker in tuple(self._workers):
            worker.process.join(max(0.0, give_up - time.monotonic()))
            self._end(worker)

    def _begin(self, rows: Sequence[slice]) -> None:
        """Start processes until the first observations of all their simulators are there."""
        started = [self._start(those) for those in rows]
        late = _silent(started, self._limits.build_s, self._heartbeat)
        ready = [worker for worker in started if worker not in late]
        _tell(ready, RESET)
        self._replace(late + _silent(ready, self._limits.step_s))

    def _heartbeat(self, worker: _Worker) -> int:
        return int(self._memory.rows(worker.rows).heartbeat[0])

    def _start(self, rows: slice) -> _Worker:
        here, there = socket.socketpair()
        known = registry_entries(self._env_id)
        post = SimulatorWorkerSpec(self._env_id, self._memory, rows, there, os.getpid(), known)
        process = spawn(run_worker, post, f"gala-simulators-{rows.start}")
        # Held by the process alone, it tells of the process' end by its own.
        there.close()
        worker = _Worker(rows, process, here)
        self._workers.append(worker)
        return worker

    def _replace(self, lost: Sequence[_Worker]) -> None:
        for worker in lost:
            self._bury(worker)
        if lost:
            self._begin([worker.rows for worker in lost])

    def _bury(self, worker: _Worker) -> None:
        """End a process that is dead or silent, with its last words in the log, and count it."""
        is_silent = worker.words is None and worker.process.exitcode is None
        if is_silent:
            os.kill(worker.pid, TELL)
        words = (worker.words or b"") + _last_words(worker.line)
        if not is_silent:
            worker.process.join(_END_S)
        cause = "is silent" if is_silent else f"ended (exit code {worker.process.exitcode})"
        self._end(worker)
        step = self._memory.rows(worker.rows)
        # A process whose simulator raises too often has counted that itself, and given up.
        if step.failures_in_a_row.max() < MAX_FAILURES_IN_A_ROW:
            step.failures[:] += 1
            step.failures_in_a_row[:] += 1
        told = words.strip(DONE).decode(errors="replace").strip() or "(it left no traceback)"
        name = f"process of simulators {worker.rows.start} to {worker.rows.stop - 1}"
        message = f"{name} of {self._env_id} {cause}"
        if step.failures_in_a_row.max() >= MAX_FAILURES_IN_A_ROW:
            raise SimulatorFailure(
                f"{message}, failure {MAX_FAILURES_IN_A_ROW} without a good step:\n{told}"
            )
        _log.warning("%s and is replaced:\n%s", message, printable(told))

    def _end(self, worker: _Worker) -> None:
        if not end(worker.process):
            raise SimulatorFailure(
                f"a process of simulators of {self._env_id} does not end: it may still write"
            )
        worker.line.close()
        self._workers.remove(worker)


def _tell(workers: Sequence[_Worker], word: bytes) -> None:
    for worker in workers:
        # One that is dead will be found so by whoever listens.
        with contextlib.suppress(OSError):
            worker.line.send(word)


def _silent(
    workers: Sequence[_Worker],
    limit_s: float,
    heartbeat: Callable[[_Worker], int] | None = None,
) -> list[_Worker]:
    """Hear the answers of all; returns those that are dead, or silent for so long.

    Waits are counted, not the time that passed: who wakes a run that was stopped finds nobody late.

    Args:
        workers: processes that have been told to do something.
        limit_s: for the answers of all, counted anew at each sign of life.
        heartbeat: reads a worker's last sign of life; None: only an answer counts.
    """
    silent, patience_s, seen = [], limit_s, 0
    for worker in workers:
        while (word := _hear(worker.line, min(_LOOK_EVERY_S, max(0.0, patience_s)))) is None:
            beat()
            patience_s -= _LOOK_EVERY_S
            if heartbeat is not None and seen != (seen := heartbeat(worker)):
                patience_s = limit_s
            # A game that it started may keep the line open after its death.
            if patience_s <= 0.0 or worker.process.exitcode is not None:
                break
        if word != DONE:
            worker.words = word
            silent.append(worker)
    return silent


def _hear(line: socket.socket, timeout_s: float) -> bytes | None:
    """One byte; none at the end of the line, None if nothing came."""
    line.settimeout(timeout_s)
    try:
        return line.recv(1)
    except (TimeoutError, BlockingIOError):
        return None
    except OSError:
        return b""


def _last_words(line: socket.socket) -> bytes:
    words = b""
    line.settimeout(_LAST_WORDS_S)
    with contextlib.suppress(OSError):
        while len(words) < _MOST_WORDS and (more := line.recv(_MOST_WORDS)):
            words += more
    return words
