"""The owner's side of simulators in processes: starts, steps and restarts the processes."""

import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW, close_environment
from gala_rl.envs.make import make_environment, space_specs
from gala_rl.envs.registration import registry_entries
from gala_rl.envs.simulators import EpisodeCounter, Transition
from gala_rl.envs.workers.memory import StepMemory
from gala_rl.envs.workers.worker import (
    DONE,
    DUMP_TRACEBACK,
    RESET,
    STEP,
    SimulatorWorkerSpec,
    run_worker,
)
from gala_rl.errors import SimulatorFailure, printable
from gala_rl.processes.heartbeat import beat
from gala_rl.processes.supervised import SilenceTimer, SupervisedProcess, end_all

_POLL_S = 0.2
_FINAL_OUTPUT_S = 0.2
_EXIT_S = 2.0
"""Longest wait for the exit code of a process that has closed its connection."""
_CLOSE_S = 2.0
"""Processes that have not ended after this time are killed."""
_MAX_FINAL_OUTPUT_BYTES = 1 << 16

_log = logging.getLogger(__name__)


class WorkerTimeouts(NamedTuple):
    """Seconds after which a process of simulators counts as hung and is replaced.

    Attributes:
        step_s: longest time for a step or a reset of all its simulators.
        build_s: longest time for building one of its simulators.
    """

    step_s: float = 20.0
    build_s: float = 120.0


@dataclass(eq=False)
class _Worker:
    """One process of simulators.

    Attributes:
        rows: rows of its simulators.
        process: the process.
        connection: connection to it.
        wrong_answer: what it sent instead of an answer; empty if it closed the connection.
    """

    rows: slice
    process: SupervisedProcess
    connection: socket.socket
    wrong_answer: bytes | None = None


class SimulatorProcesses:
    """Runs B copies of a Gymnasium environment in other processes; see `Simulators`.

    The same seed gives the same trajectories as with `GymnasiumSimulators`. A simulator that raises
    is rebuilt within its process. A process that dies, or does not answer in time, is replaced: the
    episodes of all its simulators are truncated at their last observation, and each simulator
    counts in `failures`. Other simulators are not affected.

    Processes start with the first `reset`. The state of their simulators cannot be saved.

    Args:
        source: the environment.
        count: B.
        processes: number of processes that share the simulators; at most B.
        timeouts: timeouts of a process.

    Raises:
        SimulatorFailure: from `reset` and `recv`, if a simulator fails too often in a row.
    """

    def __init__(
        self, source: EnvironmentSource, count: int, processes: int, timeouts: WorkerTimeouts
    ) -> None:
        self.count = count
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        self.resets_on_next_step = False
        self._source, self._timeouts = source, timeouts
        env = make_environment(source)
        try:
            self.observation, self.action = space_specs(env, source.env)
        finally:
            close_environment(env, source.env)
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
        """Process ids of the current processes."""
        return tuple(worker.process.pid for worker in self._workers)

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators`."""
        self._step.seed[:], self._step.stagger[:] = seed, stagger
        self._counter = EpisodeCounter(self.count)
        if self._workers:
            _send(self._workers, RESET)
            self._replace(self._reset_failed(self._workers))
        else:
            self._start(self._rows)
        self._step.stagger[:] = 0
        self._observations = self._step.observations.copy()
        return self._observations.copy()

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._step.actions[:] = actions
        _send(self._workers, STEP)

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        lost = _failed(self._workers, self._timeouts.step_s)
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
        """Return None: the state of simulators in other processes cannot be saved."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Raise a ValueError, since no state was saved."""
        raise ValueError("simulators in processes have no saved state to continue from")

    def close(self) -> None:
        """Let processes close their simulators, and kill those that take too long."""
        for worker in self._workers:
            worker.connection.close()
        if not end_all([worker.process for worker in self._workers], _CLOSE_S):
            raise self._unkillable()
        self._workers.clear()

    def _start(self, rows: Sequence[slice]) -> None:
        """Start processes and reset their simulators; replace processes that fail meanwhile."""
        started = [self._start_worker(rows_of_one) for rows_of_one in rows]
        failed = _failed(started, self._timeouts.build_s, self._heartbeat)
        ready = [worker for worker in started if worker not in failed]
        _send(ready, RESET)
        self._replace(failed + self._reset_failed(ready))

    def _reset_failed(self, workers: Sequence[_Worker]) -> list[_Worker]:
        """Return those workers that fail at a reset, which takes long if they stagger."""
        heartbeat = self._heartbeat if self._step.stagger.any() else None
        return _failed(workers, self._timeouts.step_s, heartbeat)

    def _heartbeat(self, worker: _Worker) -> int:
        return int(self._memory.rows(worker.rows).heartbeat[0])

    def _start_worker(self, rows: slice) -> _Worker:
        own_end, worker_end = socket.socketpair()
        registry = registry_entries(self._source.env)
        spec = SimulatorWorkerSpec(self._source, self._memory, rows, worker_end, registry)
        name = f"gala-simulators-{rows.start}"
        process = SupervisedProcess(run_worker, spec, name, leads_group=True)
        # With the other end open only in the worker, its death closes the connection.
        worker_end.close()
        worker = _Worker(rows, process, own_end)
        self._workers.append(worker)
        return worker

    def _replace(self, failed: Sequence[_Worker]) -> None:
        for worker in failed:
            self._on_failure(worker)
        if failed:
            self._start([worker.rows for worker in failed])

    def _on_failure(self, worker: _Worker) -> None:
        """Kill a process that is dead or silent, count the failure and log its traceback."""
        process = worker.process
        is_silent = worker.wrong_answer is None and process.exitcode is None
        if is_silent:
            os.kill(process.pid, DUMP_TRACEBACK)
        final_output = (worker.wrong_answer or b"") + _read_final_output(worker.connection)
        if not is_silent:
            process.join(_EXIT_S)
        cause = "is silent" if is_silent else f"ended (exit code {process.exitcode})"
        if not process.kill():
            raise self._unkillable()
        worker.connection.close()
        self._workers.remove(worker)
        step = self._memory.rows(worker.rows)
        # A process that ended because a simulator raised too often has counted the failures.
        if step.failures_in_a_row.max() < MAX_FAILURES_IN_A_ROW:
            step.failures[:] += 1
            step.failures_in_a_row[:] += 1
        text = final_output.strip(DONE).decode(errors="replace").strip() or "(it left no traceback)"
        name = f"process of simulators {worker.rows.start} to {worker.rows.stop - 1}"
        message = f"{name} of {self._source.env} {cause}"
        if step.failures_in_a_row.max() >= MAX_FAILURES_IN_A_ROW:
            raise SimulatorFailure(
                f"{message}, failure {MAX_FAILURES_IN_A_ROW} without a good step:\n{text}"
            )
        _log.warning("%s and is replaced:\n%s", message, printable(text))

    def _unkillable(self) -> SimulatorFailure:
        return SimulatorFailure(
            f"a process of simulators of {self._source.env} does not end: it may still write"
        )


def _send(workers: Sequence[_Worker], command: bytes) -> None:
    for worker in workers:
        # A dead worker is detected when its answer is received.
        with contextlib.suppress(OSError):
            worker.connection.send(command)


def _failed(
    workers: Sequence[_Worker],
    timeout_s: float,
    heartbeat: Callable[[_Worker], int] | None = None,
) -> list[_Worker]:
    """Receive the answers of all workers; return those that are dead or do not answer in time.

    Args:
        workers: workers that have a command.
        timeout_s: time for all answers together; starts again after each heartbeat.
        heartbeat: reads the heartbeat of a worker; None: heartbeats do not extend the time.
    """
    failed, silence = [], SilenceTimer(_POLL_S)
    for worker in workers:
        while True:
            left_s = max(0.0, timeout_s - silence.silent_s)
            answer = _receive(worker.connection, min(_POLL_S, left_s))
            if answer is not None:
                break
            beat()
            silent_s = silence.check(0 if heartbeat is None else heartbeat(worker))
            # A game that the worker has started may hold the connection open after its death.
            if silent_s >= timeout_s or worker.process.exitcode is not None:
                break
        if answer != DONE:
            worker.wrong_answer = answer
            failed.append(worker)
    return failed


def _receive(connection: socket.socket, timeout_s: float) -> bytes | None:
    """Receive one byte; return b"" if the connection is closed, None if nothing arrives in time."""
    connection.settimeout(timeout_s)
    try:
        return connection.recv(1)
    except (TimeoutError, BlockingIOError):
        return None
    except OSError:
        return b""


def _read_final_output(connection: socket.socket) -> bytes:
    output = b""
    connection.settimeout(_FINAL_OUTPUT_S)
    with contextlib.suppress(OSError):
        while len(output) < _MAX_FINAL_OUTPUT_BYTES and (
            more := connection.recv(_MAX_FINAL_OUTPUT_BYTES)
        ):
            output += more
    return output
