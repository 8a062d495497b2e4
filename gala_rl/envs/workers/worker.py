"""What runs inside one process of simulators: a step or a reset for each byte that comes."""

import faulthandler
import os
import signal
import socket
import sys
import traceback
from contextlib import closing
from dataclasses import dataclass

from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.randomness import seed_generators
from gala_rl.envs.registration import RegistryEntries
from gala_rl.envs.workers.memory import Step, StepMemory
from gala_rl.processes.heartbeat import beat_in
from gala_rl.processes.spawn import die_with

RESET, STEP = b"r", b"s"
DONE = b"\x06"
"""The answer; first of all, that the simulators are there. Whatever else comes is last words."""

TELL = signal.SIGUSR1
"""Asks a process that is silent where it is; it tells even where Python itself is stuck."""

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class SimulatorWorkerSpec:
    """Everything a process of simulators is started with.

    Attributes:
        env_id: Gymnasium id.
        memory: shared.
        rows: of its simulators.
        line: to the owner.
        owner: process id; the simulators do not outlive it.
        registered: environments that only the program knows.
    """

    env_id: str
    memory: StepMemory
    rows: slice
    line: socket.socket
    owner: int
    registered: RegistryEntries


def run_worker(post: SimulatorWorkerSpec) -> None:
    """Step simulators until the owner hangs up."""
    die_with(post.owner)
    # Games that simulators start are in this group, and end with it.
    os.setpgid(0, 0)
    faulthandler.enable(post.line.fileno())
    faulthandler.register(TELL, post.line.fileno())
    post.line.settimeout(_LOOK_EVERY_S)
    try:
        _serve(post)
    except ConnectionError:
        return
    except Exception:
        post.line.sendall(traceback.format_exc().encode())
        sys.exit(1)


def _serve(post: SimulatorWorkerSpec) -> None:
    post.registered.register()
    step = post.memory.rows(post.rows)
    _seed_generators(post, step)
    beat_in(step.heartbeat[:1])
    simulators = GymnasiumSimulators(
        post.env_id, len(step.rewards), post.rows.start, step.failures, step.failures_in_a_row
    )
    with closing(simulators):
        post.line.sendall(DONE)
        while word := _next_word(post):
            if word == RESET:
                _seed_generators(post, step)
                step.observations[:] = simulators.reset(int(step.seed[0]))
            else:
                _step(simulators, step)
            post.line.sendall(DONE)


def _seed_generators(post: SimulatorWorkerSpec, step: Step) -> None:
    # A successor draws other numbers than the process that it replaces.
    seed_generators(int(step.seed[0]), post.rows.start, int(step.failures.sum()))


def _step(simulators: GymnasiumSimulators, step: Step) -> None:
    transition = simulators.step(step.actions)
    step.observations[:] = transition.observations
    step.rewards[:] = transition.rewards
    step.terminated[:] = transition.terminated
    step.truncated[:] = transition.truncated
    if transition.final_observations is not None:
        step.final_observations[:] = transition.final_observations


def _next_word(post: SimulatorWorkerSpec) -> bytes:
    """Wait for a command; nothing when the owner is gone or has hung up."""
    while os.getppid() == post.owner:
        try:
            return post.line.recv(1)
        except TimeoutError:
            continue
    return b""
