"""Proves that shared mailboxes deliver only whole messages, even from writers that are killed.

Real processes publish vectors in which every number tells the version, as fast as they can, and
are killed with SIGKILL at random moments; a vector put together from two messages would show, in
what is read and in what is mixed. All of it with checksums, which only processors that reorder
their stores need, and without.
"""

import contextlib
import itertools
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

from gala_rl.gossip import Gossip, Message, SharedMailboxes, Topology, directed_ring
from gala_rl.gossip.mixing import mix_
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


@pytest.fixture(params=[False, True], ids=["ordered", "checksums"])
def checksums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(shared, "_USES_CHECKSUMS", request.param)
    return bool(request.param)


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


@pytest.mark.parametrize("size", [15, 200_000])
def test_killed_writers_never_tear_a_message_nor_stop_a_reader(size: int, checksums: bool) -> None:
    assert_survives(size, 30, checksums)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 1001, 300_001])
def test_a_hundred_killed_writers_never_tear_a_message_nor_stop_a_reader(
    size: int, checksums: bool
) -> None:
    assert_survives(size, 100, checksums)


# The same, one step at a time.


class KilledError(Exception):
    """Stands for SIGKILL."""


@contextlib.contextmanager
def dying_half_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A writer dies when its numbers are copied and their checksum is not yet there."""

    def die(parameters: torch.Tensor) -> int:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(shared, "_USES_CHECKSUMS", True)
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


def test_numbers_that_do_not_match_their_checksum_are_not_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "_USES_CHECKSUMS", True)
    mailboxes = SharedMailboxes(2, 3)
    write(mailboxes, 1, [1.0, 2.0, 3.0])
    slot = int(mailboxes._latest[0])
    for position in range(3):
        kept = float(mailboxes._parameters[0, slot, position])
        mailboxes._parameters[0, slot, position] = 2.5
        assert polled(mailboxes.transport(1)) == []
        mailboxes._parameters[0, slot, position] = kept
    assert polled(mailboxes.transport(1)) == [(1, [1.0, 2.0, 3.0])]


def test_a_reader_detects_that_the_writer_has_begun_to_overwrite_a_message(
    monkeypatch: pytest.MonkeyPatch, checksums: bool
) -> None:
    mailboxes = SharedMailboxes(2, 3)
    write(mailboxes, 1, [1.0] * 3)
    (held,) = mailboxes.transport(1).poll([0])
    assert isinstance(held, Message)
    for version in range(2, shared.SLOTS + 1):
        write(mailboxes, version, [1.0 * version] * 3)
        assert held.is_whole()
    with dying_half_way(monkeypatch), pytest.raises(KilledError):
        write(mailboxes, shared.SLOTS + 1, [99.0] * 3)
    assert not held.is_whole()
    write(mailboxes, shared.SLOTS + 1, [4.0] * 3)
    assert not held.is_whole()


class Overtaken(Gossip):
    """A learner whose first mixes last so long that the sender laps them."""

    laps = 0

    def lap_while_mixing(self, monkeypatch: pytest.MonkeyPatch, lap: Callable[[], None]) -> None:
        def slow_mix(
            parameters: torch.Tensor, received: list[torch.Tensor], start: torch.Tensor
        ) -> None:
            half = len(parameters) // 2
            mix_(parameters[:half], [message[:half] for message in received], start[:half])
            if self.laps:
                self.laps -= 1
                lap()
            mix_(parameters[half:], [message[half:] for message in received], start[half:])

        monkeypatch.setattr("gala_rl.gossip.gossip.mix_", slow_mix)


def overtaken(
    laps: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[torch.Tensor, Overtaken, SharedMailboxes]:
    """Learner 1, all zeros, about to mix with learner 0, which is faster `laps` times."""
    mailboxes, mine = SharedMailboxes(2, 6), torch.zeros(6)
    learner = Overtaken(mine, mailboxes.transport(1), 1, directed_ring(2))
    learner.laps = laps

    def lap() -> None:
        for _ in range(shared.SLOTS):
            version = mailboxes.version(0) + 1
            write(mailboxes, version, [float(version)] * 6)

    learner.lap_while_mixing(monkeypatch, lap)
    lap()
    return mine, learner, mailboxes


def test_a_mix_that_was_overtaken_is_undone_and_the_newest_message_mixed_instead(
    monkeypatch: pytest.MonkeyPatch, checksums: bool
) -> None:
    mine, learner, mailboxes = overtaken(2, monkeypatch)
    assert learner.exchange() == 1
    assert mailboxes.version(0) == 3 * shared.SLOTS
    assert mine.tolist() == [1.5 * shared.SLOTS] * 6
    assert learner.node.mixes == 1
    assert learner.node.mixed_versions == {0: 3 * shared.SLOTS}


def test_a_learner_that_is_overtaken_at_every_try_goes_on_unmixed_and_mixes_later(
    monkeypatch: pytest.MonkeyPatch, checksums: bool
) -> None:
    mine, learner, mailboxes = overtaken(10**6, monkeypatch)
    mine.fill_(0.5)
    assert learner.exchange() == 0
    assert mine.tolist() == [0.5] * 6
    assert (learner.node.mixes, learner.node.staleness_updates) == (0, 1)
    assert 1 < 10**6 - learner.laps < 100
    learner.laps = 0
    assert learner.exchange() == 1
    assert mine.tolist() == [0.25 + mailboxes.version(0) / 2] * 6
