"""Main function of a process of simulators: performs a step or a reset per byte received."""

import faulthandler
import signal
import socket
import sys
import traceback
from contextlib import closing
from dataclasses import dataclass

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.randomness import seed_generators
from gala_rl.envs.registration import RegistryEntries
from gala_rl.envs.workers.memory import Step, StepMemory
from gala_rl.processes.heartbeat import set_heartbeat
from gala_rl.processes.spawn import end_with_parent

RESET, STEP = b"r", b"s"
DONE = b"\x06"
"""Answer to a command, and first message once simulators are built. All else is an error text."""

DUMP_TRACEBACK = signal.SIGUSR1
"""Signal that makes a hung process send its traceback; works even if Python itself is stuck."""


@dataclass(frozen=True)
class SimulatorWorkerSpec:
    """Arguments of a process of simulators.

    Attributes:
        source: the environment.
        memory: shared memory of all simulators.
        rows: rows of its simulators.
        connection: connection to the owner.
        registry: environments that only the main program has registered.
    """

    source: EnvironmentSource
    memory: StepMemory
    rows: slice
    connection: socket.socket
    registry: RegistryEntries


def run_worker(spec: SimulatorWorkerSpec) -> None:
    """Step simulators until the owner closes the connection."""
    end_with_parent(leads_group=True)
    faulthandler.enable(spec.connection.fileno())
    faulthandler.register(DUMP_TRACEBACK, spec.connection.fileno())
    try:
        _serve(spec)
    except ConnectionError:
        return
    except Exception:
        spec.connection.sendall(traceback.format_exc().encode())
        sys.exit(1)


def _serve(spec: SimulatorWorkerSpec) -> None:
    spec.registry.register()
    step = spec.memory.rows(spec.rows)
    _seed_generators(spec, step)
    set_heartbeat(step.heartbeat[:1])
    simulators = GymnasiumSimulators(
        spec.source, len(step.rewards), spec.rows.start, step.failures, step.failures_in_a_row
    )
    with closing(simulators):
        spec.connection.sendall(DONE)
        while command := spec.connection.recv(1):
            if command == RESET:
                _seed_generators(spec, step)
                step.observations[:] = simulators.reset(int(step.seed[0]), int(step.stagger[0]))
            else:
                _step(simulators, step)
            spec.connection.sendall(DONE)


def _seed_generators(spec: SimulatorWorkerSpec, step: Step) -> None:
    # A replacement must not draw the same numbers again, or it may fail in the same way.
    seed_generators(int(step.seed[0]), spec.rows.start, int(step.failures.sum()))


def _step(simulators: GymnasiumSimulators, step: Step) -> None:
    transition = simulators.step(step.actions)
    step.observations[:] = transition.observations
    step.rewards[:] = transition.rewards
    step.terminated[:] = transition.terminated
    step.truncated[:] = transition.truncated
    if transition.final_observations is not None:
        step.final_observations[:] = transition.final_observations
