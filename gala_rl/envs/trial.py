"""Tries simulators before a run starts, those whose arguments may crash C++ code in a process."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.simulators import Simulators, random_actions
from gala_rl.errors import SimulatorFailure, UserError
from gala_rl.processes.spawn import end_with_parent

_SIMULATORS = 16
_VECTOR_STEPS = 256
"""FrozenLake of EnvPool reads beyond its map only when a simulator walks there."""
_PLAY_S = 2.0
_DEADLINE_S = 60.0

_PLAY = "from gala_rl.envs.trial import play_from_standard_input; play_from_standard_input()"


def play(simulators: Simulators, vector_steps: int) -> None:
    """Play random steps, but no longer than two seconds, and close the simulators.

    Raises:
        UserError: when they fail.
    """
    rng, until = np.random.default_rng(0), time.monotonic() + _PLAY_S
    try:
        simulators.reset(0)
        for _ in range(vector_steps):
            simulators.step(random_actions(simulators.action, simulators.count, rng))
            if time.monotonic() > until:
                break
    except SimulatorFailure as error:
        raise UserError(str(error)) from error
    finally:
        simulators.close()


def play_apart(source: EnvironmentSource) -> None:
    """Build and play simulators in a process, since C++ code crashes with some arguments.

    The process runs neither the calling program nor its main module, which may have no guard.

    Raises:
        UserError: when they cannot be built, fail, crash or hang.
    """
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in source.args.items())
    what, remedy = f"env {source.env!r} with {arguments}", "change an argument or leave it out"
    document = json.dumps({"env": source.env, "args": source.args, "atari": asdict(source.atari)})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PLAY],
            check=False,
            input=document,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEADLINE_S,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{what} hangs: it did not play in {_DEADLINE_S:g} s; {remedy}") from error
    except OSError as error:
        raise UserError(f"{what} cannot be tried in a process: {error}") from error
    if done.returncode == 2:
        raise UserError(f"{done.stdout.splitlines()[-1]}, with {arguments}")
    if done.returncode != 0:
        raise UserError(f"{what} crashes its process ({_cause(done)}): {remedy}")


def _cause(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the signal or code that ended a process, and what its C++ code said first."""
    said = [line.rpartition("] ")[2] for line in done.stderr.splitlines() if line]
    code = done.returncode
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    failed = [line for line in said if "Check failed" in line] or said[-1:]
    return ": ".join((ended, *failed[:1]))


def play_from_standard_input() -> None:
    """Play the simulators of a source in JSON; exit with code 2 and a last line if they fail."""
    end_with_parent()
    # Imported here, since this room's __init__ imports this module.
    from gala_rl.envs import make_simulators

    document: dict[str, Any] = json.load(sys.stdin)
    atari = AtariProtocol(**document["atari"])
    source = EnvironmentSource(document["env"], document["args"], atari=atari)
    try:
        play(make_simulators(source, _SIMULATORS, 1), _VECTOR_STEPS)
    except UserError as error:
        print(f"\n{error}", flush=True)  # noqa: T201 - read by the calling process
        sys.exit(2)
