"""Collects versions, machine and commit with which a run is started, for its folder."""

import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from gala_rl.cores import usable_cores

_PACKAGES = ("gala-rl", "torch", "numpy", "gymnasium", "ale-py", "safetensors")


def provenance() -> dict[str, Any]:
    """Return time, versions, machine and commit of this process."""
    return {
        "started": timestamp(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": usable_cores(),
        },
        "commit": _commit(),
    }


def timestamp() -> str:
    """Return the current time, with its time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """Return the commit of the source tree, with "+changes" if it has any; None outside one."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return result.stdout.strip()

    if not (root / ".git").exists():
        return None
    try:
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None
