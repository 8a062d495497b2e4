"""Proves that shared mailboxes deliver only whole messages, even from writers that are killed.

Real processes publish vectors in which every number tells the version, as fast as they can, and
are killed with SIGKILL at random moments; a vector put together from two messages would show, in
what is read and in what is mixed. All of it with checksums, which only processors that reorder
their stores need, and without.
"""

import itertools
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
import torch.multiprocessing  # registers how tensors are handed to other processes

from gala_rl.gossip import Gossip, Message, SharedMailboxes, Topology
from gala_rl.gossip.transports import shared
from gala_rl.gossip.transports.shared import shared_zeros

WRITERS = (0, 1)
READERS = (2, 3)
GRAPH = Topology("writers and readers", (((), (), WRITERS, WRITERS),))
GUARD_S = 90.0
"""Only against hanging: what it guards takes milliseconds."""


def counter(*shape: int) -> torch.Tensor:
    return shared_zeros(shape, torch.int64)


@dataclass(frozen=True)
class Hammering:
    """What the processes of one test share; counts by rank, or by reader and writer."""

    mailboxes: SharedMailboxes
    kills: int
    seed: int
    checksums: bool
    killed: torch.Tensor = field(default_factory=lambda: counter(1))
    killed_half_way: torch.Tensor = field(default_factory=lambda: counter(1))
    stuck: torch.Tensor = field(default_factory=lambda: counter(1))
    over: torch.Tensor = field(default_factory=lambda: counter(1))
    process: torch.Tensor = field(default_factory=lambda: counter(4))
    torn: torch.Tensor = field(default_factory=lambda: counter(4))
    backwards: torch.Tensor = field(default_factory=lambda: counter(4))
    last_version: torch.Tensor = field(default_factory=lambda: counter(4, 2))


def telling(sender: int, version: int) -> float:
    """What every number of a message is: another one for each version and sender."""
    return float(2 * version + sender)


def write_for_ever(hammering: Hammering, rank: int, goes_on: Callable[[], bool]) -> None:
    mailboxes = hammering.mailboxes
    transport, mine = mailboxes.transport(rank), torch.empty(mailboxes.size)
    version = mailboxes.version(rank)
    while goes_on():
        version += 1
        # Copied when sent, or written where it is sent from.
        vector = mine if version % 2 else transport.outbox()
        vector.fill_(telling(rank, version))
        transport.send(Message(rank, version, vector), READERS)


def read_until_over(hammering: Hammering, rank: int, goes_on: Callable[[], bool]) -> None:
    transport = hammering.mailboxes.transport(rank)
    while not hammering.over[0] and goes_on():
        for message in transport.poll(WRITERS):
            assert isinstance(message, Message)
            told = message.parameters == telling(message.sender, message.version)
            if not message.is_whole():
                continue
            newer = message.version > hammering.last_version[rank, message.sender]
            hammering.torn[rank] += int(not told.all())
            hammering.backwards[rank] += int(not newer)
            hammering.last_version[rank, message.sender] = message.version


def mix_until_over(hammering: Hammering, rank: int, goes_on: Callable[[], bool]) -> None:
    """Every vector has only one number in it, so every mix of whole ones has."""
    mine = torch.zeros(hammering.mailboxes.size)
    gossip = Gossip(mine, hammering.mailboxes.transport(rank), rank, GRAPH, when="any")
    for in_place in itertools.cycle((False, True)):
        if hammering.over[0] or not goes_on():
            break
        if in_place and (outbox := gossip.outbox()) is not None:
            outbox.copy_(mine)
        gossip.exchange()
        low, high = torch.aminmax(mine)
        hammering.torn[rank] += int(high - low > 1e-6 * high)
        for sender, version in gossip.node.mixed_versions.items():
            hammering.backwards[rank] += int(version < hammering.last_version[rank, sender])
            hammering.last_version[rank, sender] = version


def fork(work: Callable[..., None], hammering: Hammering, rank: int) -> int:
    """A child within milliseconds: hundreds can be killed where each spawn takes seconds."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        exit_code = 1
        try:
            work(hammering, rank, lambda: os.getppid() == parent)
            exit_code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(exit_code)
    hammering.process[rank] = child
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def all_hear_news(hammering: Hammering, sender: int, version: int) -> bool:
    """Wait until every reader has received something newer than the version."""
    give_up = time.monotonic() + GUARD_S
    while any(hammering.last_version[reader, sender] <= version for reader in READERS):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.001)
    return True


def hammer(hammering: Hammering) -> None:
    """Run both writers and one of the readers; kill and restart the writers at random."""
    torch.set_num_threads(1)
    shared._USES_CHECKSUMS = hammering.checksums
    chance = random.Random(hammering.seed)
    reader = fork(mix_until_over, hammering, READERS[1])
    writers = {rank: fork(write_for_ever, hammering, rank) for rank in WRITERS}
    try:
        while hammering.killed[0] < hammering.kills and not hammering.stuck[0]:
            time.sleep(chance.uniform(0, 0.02))
            rank = chance.choice(WRITERS)
            kill(writers[rank])
            versions = hammering.mailboxes._headers[rank, :, shared._VERSION]
            hammering.killed_half_way[0] += int((versions == shared._BEING_WRITTEN).any())
            hammering.killed[0] += 1
            version = hammering.mailboxes.version(rank)
            writers[rank] = fork(write_for_ever, hammering, rank)
            hammering.stuck[0] += int(not all_hear_news(hammering, rank, version))
    finally:
        hammering.over.fill_(1)
        for child in writers.values():
            kill(child)
        _, status = os.waitpid(reader, 0)
    assert status == 0


def assert_survives(size: int, kills: int, checksums: bool) -> None:
    hammering = Hammering(SharedMailboxes(4, size), kills, seed=size, checksums=checksums)
    process = multiprocessing.get_context("spawn").Process(target=hammer, args=(hammering,))
    process.start()
    try:
        read_until_over(hammering, READERS[0], process.is_alive)
        process.join(GUARD_S)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == 0
    assert hammering.torn.tolist() == [0] * 4
    assert hammering.backwards.tolist() == [0] * 4
    assert hammering.stuck.item() == 0
    assert hammering.killed.item() == kills
    # Else nothing was proved: most of a writer's time goes into writing.
    assert hammering.killed_half_way.item() > 0
    for rank in (*WRITERS, READERS[1]):
        with pytest.raises(ProcessLookupError):
            os.kill(int(hammering.process[rank]), 0)


# With checksums, tests of single steps prove the same: test_shared_writers.
@pytest.mark.parametrize(
    ("checksums", "size"),
    [
        pytest.param(checksums, size, marks=[pytest.mark.slow] * (checksums or size > 15))
        for checksums in (False, True)
        for size in (15, 200_000)
    ],
    indirect=["checksums"],
)
def test_killed_writers_never_tear_a_message_nor_stop_a_reader(size: int, checksums: bool) -> None:
    assert_survives(size, 30, checksums)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 1001, 300_001])
def test_a_hundred_killed_writers_never_tear_a_message_nor_stop_a_reader(
    size: int, checksums: bool
) -> None:
    assert_survives(size, 100, checksums)


# The same, one step at a time.
