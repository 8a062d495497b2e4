"""Counts the CPU cores that this process may use: its CPU set, within CPU quotas."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, at least 1.

    These are the cores of its CPU set (`taskset`), or fewer where a cgroup, of version 1 or 2, has
    a quota (`docker --cpus`, a limit of Kubernetes). A quota is rounded down: with one thread more
    than it allows, the kernel would stop all threads for the rest of each period.

    Args:
        root: root of the file system with the quotas.
    """
    has_sets = hasattr(os, "sched_getaffinity")
    in_set = len(os.sched_getaffinity(0)) if has_sets else os.cpu_count() or 1
    return max(1, min([in_set, *map(int, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota, in cores, of every cgroup that contains this process."""
    memberships = root / "proc/self/cgroup"
    if not memberships.is_file():
        return
    mounted = root / "sys/fs/cgroup"
    # Names of groups are bytes, as file names are.
    for line in os.fsdecode(memberships.read_bytes()).splitlines():
        _number, controllers, path = line.split(":", 2)
        within = Path(path.lstrip("/"))
        # A container may see its own cgroup at the root of the hierarchy, despite its path.
        for group in (within, *within.parents):
            # Where Linux is emulated, these files may be empty, or one of a pair missing.
            with suppress(OSError, ValueError, ZeroDivisionError):
                if not controllers:
                    yield from _quota_of_v2(mounted / group)
                elif "cpu" in controllers.split(","):
                    yield from _quota_of_v1(mounted / controllers / group)
                    yield from _quota_of_v1(mounted / "cpu" / group)


def _quota_of_v2(group: Path) -> Iterator[float]:
    file = group / "cpu.max"
    if file.is_file():
        quota, period = file.read_text(encoding="utf-8").split()
        if quota != "max":
            yield int(quota) / int(period)


def _quota_of_v1(group: Path) -> Iterator[float]:
    file = group / "cpu.cfs_quota_us"
    if file.is_file() and (quota := int(file.read_text(encoding="utf-8"))) > 0:
        yield quota / int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))
