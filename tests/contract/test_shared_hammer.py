"""Proves that shared mailboxes deliver only whole messages, even from writers that are killed.

Real processes publish vectors in which every number tells the version, as fast as they can, and
are killed with SIGKILL at random moments; a vector put together from two messages would show.
"""

import contextlib
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch
import torch.multiprocessing  # registers how tensors are handed to other processes

from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.transports import shared
from gala_rl.gossip.transports.shared import shared_zeros

WRITERS = (0, 1)
READERS = (2, 3)
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
        mine.fill_(telling(rank, version))
        transport.send(Message(rank, version, mine), READERS)


def read_until_over(hammering: Hammering, rank: int, goes_on: Callable[[], bool]) -> None:
    transport = hammering.mailboxes.transport(rank)
    while not hammering.over[0] and goes_on():
        for message in transport.poll(WRITERS):
            assert isinstance(message, Message)
            whole = message.parameters == telling(message.sender, message.version)
            newer = message.version > hammering.last_version[rank, message.sender]
            hammering.torn[rank] += int(not whole.all())
            hammering.backwards[rank] += int(not newer)
            hammering.last_version[rank, message.sender] = message.version


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
    chance = random.Random(hammering.seed)
    reader = fork(read_until_over, hammering, READERS[1])
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


def assert_survives(size: int, kills: int, seed: int) -> None:
    hammering = Hammering(SharedMailboxes(4, size), kills, seed)
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


@pytest.mark.parametrize("size", [15, 200_000])
def test_killed_writers_never_tear_a_message_nor_stop_a_reader(size: int) -> None:
    assert_survives(size, kills=30, seed=size)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 1001, 300_001])
def test_a_hundred_killed_writers_never_tear_a_message_nor_stop_a_reader(size: int) -> None:
    assert_survives(size, kills=100, seed=size)


# The same, one step at a time.


class KilledError(Exception):
    """Stands for SIGKILL."""


@contextlib.contextmanager
def dying_half_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A writer dies when its numbers are copied and their checksum is not yet there."""

    def die(parameters: torch.Tensor) -> int:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(shared, "_checksum", die)
        yield


def write(mailboxes: SharedMailboxes, version: int, numbers: list[float]) -> None:
    mailboxes.write(Message(0, version, torch.tensor(numbers)))


def polled(transport: shared.SharedTransport) -> list[tuple[int, list[float]]]:
    events = transport.poll([0])
    return [(e.version, e.parameters.tolist()) for e in events if isinstance(e, Message)]


@pytest.mark.parametrize("written_before", [1, 2, 3, 4])
def test_after_a_writer_died_half_way_the_message_before_is_still_there(
    written_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailboxes = SharedMailboxes(2, 3)
    for version in range(1, written_before + 1):
        write(mailboxes, version, [1.0 * version] * 3)
    with dying_half_way(monkeypatch), pytest.raises(KilledError):
        write(mailboxes, 99, [99.0] * 3)
    assert mailboxes.version(0) == written_before
    reader = mailboxes.transport(1)
    assert polled(reader) == [(written_before, [1.0 * written_before] * 3)]
    assert polled(reader) == []
    # The restarted writer goes on from what was published.
    write(mailboxes, mailboxes.version(0) + 1, [7.0] * 3)
    assert polled(reader) == [(written_before + 1, [7.0] * 3)]


def test_after_a_writer_died_in_its_first_message_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mailboxes = SharedMailboxes(2, 3)
    with dying_half_way(monkeypatch), pytest.raises(KilledError):
        write(mailboxes, 1, [1.0] * 3)
    assert mailboxes.version(0) == 0
    assert mailboxes.latest(0) is None
    write(mailboxes, 1, [2.0] * 3)
    assert polled(mailboxes.transport(1)) == [(1, [2.0] * 3)]


def test_a_reader_never_sees_the_slot_that_is_being_written() -> None:
    mailboxes = SharedMailboxes(2, 3)
    write(mailboxes, 1, [1.0] * 3)
    slot = (int(mailboxes._latest[0]) + 1) % shared.SLOTS
    mailboxes._headers[0, slot, shared._VERSION] = shared._BEING_WRITTEN
    mailboxes._parameters[0, slot, :2] = 99.0
    assert polled(mailboxes.transport(1)) == [(1, [1.0] * 3)]


def test_numbers_that_do_not_match_their_checksum_are_not_delivered() -> None:
    mailboxes = SharedMailboxes(2, 3)
    write(mailboxes, 1, [1.0, 2.0, 3.0])
    slot = int(mailboxes._latest[0])
    for position in range(3):
        kept = float(mailboxes._parameters[0, slot, position])
        mailboxes._parameters[0, slot, position] = 2.5
        assert polled(mailboxes.transport(1)) == []
        mailboxes._parameters[0, slot, position] = kept
    assert polled(mailboxes.transport(1)) == [(1, [1.0, 2.0, 3.0])]


def reading_while_overtaken(
    overtake: Callable[[], None], times: int
) -> tuple[torch.Tensor, list[int]]:
    """Memory to read into, and which copies to it the writer interrupted after two numbers."""
    overtaken: list[int] = []

    class Interrupted(torch.Tensor):
        def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> "Interrupted":
            plain = self.as_subclass(torch.Tensor)
            plain[:2] = source[:2]
            if len(overtaken) < times:
                overtaken.append(len(overtaken))
                overtake()
            plain[2:] = source[2:]
            return self

    return torch.empty(6).as_subclass(Interrupted), overtaken


FIRST_LAP, SECOND_LAP = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [9.0, 9.0, 3.0, 3.0, 2.0, 2.0]
"""The start of the first and the rest of the second add up to the checksum of the first."""


def overtaking_writer(mailboxes: SharedMailboxes) -> Callable[[], None]:
    """Laps the reader: writes to every slot."""

    def lap() -> None:
        for _ in range(shared.SLOTS):
            version = mailboxes.version(0) + 1
            odd = (version - 1) // shared.SLOTS % 2
            write(mailboxes, version, SECOND_LAP if odd else FIRST_LAP)

    return lap


def test_a_reader_that_was_overtaken_reads_the_newest_whole_message_instead() -> None:
    mailboxes = SharedMailboxes(2, 6)
    lap = overtaking_writer(mailboxes)
    lap()
    into, overtaken = reading_while_overtaken(lap, times=1)
    assert mailboxes.read(0, into) == 2 * shared.SLOTS
    assert into.tolist() == SECOND_LAP
    assert len(overtaken) == 1


def test_a_reader_that_is_overtaken_at_every_try_returns_without_a_message() -> None:
    mailboxes = SharedMailboxes(2, 6)
    lap = overtaking_writer(mailboxes)
    lap()
    into, overtaken = reading_while_overtaken(lap, times=10**6)
    assert mailboxes.read(0, into) is None
    assert 1 < len(overtaken) < 100


def test_a_read_that_fails_leaves_the_message_before_intact() -> None:
    mailboxes = SharedMailboxes(2, 3)
    reader = mailboxes.transport(1)
    write(mailboxes, 1, [1.0] * 3)
    (held,) = reader.poll([0])
    write(mailboxes, 2, [2.0] * 3)
    mailboxes._parameters[0, int(mailboxes._latest[0]), 1] = 5.0
    assert polled(reader) == []
    assert isinstance(held, Message)
    assert held.parameters.tolist() == [1.0] * 3
