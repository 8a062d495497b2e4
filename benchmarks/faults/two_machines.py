"""A Ray cluster of two machines that are namespaces of this one, and a training on it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults import training
from benchmarks.faults.link import ADDRESSES, Link, inside

_PORT = 6379
_START_S = 60.0
_CPUS = 2
"""Number of CPUs that each machine declares."""
_RAY = {"RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"}
"""By default Ray's workers have niceness 15, which would slow learners beside other processes. No
token: only this program can reach these machines, and Ray asks for one if ~/.ray has one."""


@contextmanager
def two_machines(link: Link) -> Iterator[str]:
    """A cluster whose machines are at the ends of a link, which has been entered; its address."""
    address = f"{ADDRESSES[0]}:{_PORT}"
    ends = (["--head", f"--port={_PORT}", "--include-dashboard=false"], [f"--address={address}"])
    rays = []
    try:
        for side, end in enumerate(ends):
            own = [f"--node-ip-address={ADDRESSES[side]}", f"--num-cpus={_CPUS}", "--num-gpus=0"]
            command = [_beside_python("ray"), "start", "--block", *end, *own]
            rays.append(_start(inside(side, command)))
            _wait_for_ray(address, side + 1)
        yield address
    finally:
        for ray in reversed(rays):
            ray.terminate()
        for ray in rays:
            ray.wait(training.STOP_S)


def start_on(method: str, settings: Mapping[str, Any]) -> training.Process:
    """`gala train` on the first machine with these options, silent."""
    return _start(inside(0, training.train_command(method, settings)))


def _start(command: list[str]) -> training.Process:
    return training.run_silently(command, **_RAY)


def _wait_for_ray(address: str, machines: int) -> None:
    script = f"import ray; ray.init({address!r}, log_to_driver=False); print(len(ray.nodes()))"
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        found = subprocess.run(
            inside(0, [sys.executable, "-c", script]),
            env={**os.environ, **_RAY},
            check=False,
            capture_output=True,
            text=True,
        )
        if found.stdout.strip().endswith(str(machines)):
            return
    raise RuntimeError(f"Ray has not started {machines} machines: {found.stderr[-500:]}")


def _beside_python(name: str) -> str:
    return str(Path(sys.executable).parent / name)
