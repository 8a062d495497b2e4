"""Cores that may be kept busy: of the CPU set, and within quotas of cgroups of both versions."""

import os
from pathlib import Path

import pytest

from gala_rl.cores import usable_cores

POD = "kubepods/pod7/container"


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def machine(root: Path, memberships: str, files: dict[str, str]) -> Path:
    """A file system as a process of a machine sees it."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(memberships)
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.mark.parametrize(
    ("path", "files", "cores"),
    [
        ("/", {"cpu.max": "800000 100000\n"}, 8),
        ("/", {"cpu.max": "max 100000\n"}, 64),
        ("/", {}, 64),
        (
            f"/{POD}",
            {f"{POD}/cpu.max": "max 100000\n", "kubepods/pod7/cpu.max": "300000 100000"},
            3,
        ),
        (f"/{POD}", {f"{POD}/cpu.max": "250000 100000\n", "kubepods/cpu.max": "900000 100000"}, 2),
        # The path is the host's, and what is mounted the container's own.
        ("/docker/0123", {"cpu.max": "150000 50000\n"}, 3),
        ("/", {"cpu.max": "50000 100000\n"}, 1),
        ("/", {"cpu.max": "12800000 100000\n"}, 64),
    ],
)
def test_quotas_of_version_2(tmp_path: Path, path: str, files: dict[str, str], cores: int) -> None:
    assert usable_cores(machine(tmp_path, f"0::{path}\n", files)) == cores


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(
    ("path", "group", "quota", "cores"),
    [("/", "", 800000, 8), (f"/{POD}", f"{POD}/", 250000, 2), ("/docker/0123", "", -1, 64)],
)
def test_quotas_of_version_1(
    tmp_path: Path, controllers: str, path: str, group: str, quota: int, cores: int
) -> None:
    files = {
        f"{controllers}/{group}cpu.cfs_quota_us": f"{quota}\n",
        f"{controllers}/{group}cpu.cfs_period_us": "100000\n",
    }
    memberships = f"5:memory:{path}\n4:{controllers}:{path}\n3:cpuset:{path}\n0::/\n"
    assert usable_cores(machine(tmp_path, memberships, files)) == cores


@pytest.mark.parametrize("content", ["", "max", "800000", "many 100000", "800000 0"])
def test_a_file_that_tells_no_quota_sets_none(tmp_path: Path, content: str) -> None:
    files = {"cpu.max": content, "cpu/cpu.cfs_quota_us": "800000"}
    assert usable_cores(machine(tmp_path, "0::/\n4:cpu:/\n", files)) == 64


def test_names_of_groups_need_not_be_utf_8(tmp_path: Path) -> None:
    root = machine(tmp_path, "", {"cpu.max": "800000 100000"})
    (root / "proc/self/cgroup").write_bytes(b"0::/caf\xe9\n")
    assert usable_cores(root) == 8


def test_without_cgroups_there_are_those_of_the_cpu_set(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 64


def test_a_cpu_set_smaller_than_the_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(machine(tmp_path, "0::/\n", {"cpu.max": "800000 100000\n"})) == 2
