"""Learners of a user's loop: a process each, one that dies goes on from its last message."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch

from gala_rl.errors import LearnerFailure
from gala_rl.gossip import Gossip, LearnerProcesses, MemoryNetwork, SharedMailboxes, directed_ring
from tests.support import foreign_loops


def starts_of(folder: Path, rank: int) -> list[tuple[int, float]]:
    """Version and parameter with which a learner's processes began."""
    texts = [path.read_text(encoding="utf-8").split() for path in folder.glob(f"{rank}-*")]
    return sorted((int(version), float(value)) for version, value in texts)


def test_a_learner_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    mailboxes = SharedMailboxes(2, 3)
    killed_at = 0
    with LearnerProcesses(foreign_loops.count, mailboxes, 10**9, str(tmp_path)) as learners:
        first = learners.pids
        while mailboxes.version(1) < 100:
            time.sleep(0.01)
        os.kill(first[1], signal.SIGKILL)
        while learners.pids[1] == first[1]:
            assert learners.poll()
            killed_at = mailboxes.version(1)
        assert learners.pids[0] == first[0]
        before = mailboxes.version(0)
        while mailboxes.version(1) < killed_at + 100:
            assert learners.poll()
            time.sleep(0.01)
        assert mailboxes.version(0) > before, "it has not waited"
        assert learners.restarts == [0, 1]
        assert not mailboxes.is_down(1)
    (new, again), (only,) = starts_of(tmp_path, 1), starts_of(tmp_path, 0)
    assert new == only == (0, 0.0)
    assert again[0] == killed_at
    assert again[1] > 0.0, "it has the parameters of its last message"


def test_learners_that_are_done_end_and_are_not_started_again(tmp_path: Path) -> None:
    mailboxes = SharedMailboxes(2, 3)
    with LearnerProcesses(foreign_loops.count, mailboxes, 50, str(tmp_path)) as learners:
        learners.wait()
        assert learners.restarts == [0, 0]
    assert min(mailboxes.version(rank) for rank in (0, 1)) >= 50
    first, second = (float(values[0]) for values in foreign_loops.parameters_of(mailboxes))
    assert min(first, second) > 25.0, "they have mixed what both have learned"


def test_leaving_the_block_ends_all_learners(tmp_path: Path) -> None:
    with LearnerProcesses(
        foreign_loops.count, SharedMailboxes(2, 3), 10**9, str(tmp_path)
    ) as learners:
        pids = learners.pids
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_learner_that_always_dies_ends_the_others() -> None:
    mailboxes = SharedMailboxes(2, 3)
    with (
        pytest.raises(LearnerFailure, match=r"learner . ended with exit code 3 after 1 restarts"),
        LearnerProcesses(foreign_loops.fail, mailboxes, max_restarts=1) as learners,
    ):
        learners.wait()


def test_neighbours_accept_a_learner_that_resumes_from_its_last_message() -> None:
    network, ring = MemoryNetwork(2), directed_ring(2)

    def make(rank: int) -> Gossip:
        return Gossip(torch.full((4,), float(rank)), network.transport(rank), rank, ring)

    one, other = make(0), make(1)
    for _ in range(5):
        one.exchange()
        other.exchange()
    last = network.latest(1)
    assert last is not None
    one.exchange()
    make(1).exchange()
    assert one.exchange() == 0, "its version is old"
    again = make(1)
    again.resume(last)
    assert torch.equal(again.parameters, last.parameters)
    again.exchange()
    assert again.node.version == last.version + 1
    assert one.exchange() == 1
