"""Messages in shared memory whose writer dies half-way, or overtakes a reader or a mix."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.multiprocessing  # registers how tensors are handed to other processes

from gala_rl.gossip import Gossip, Message, SharedMailboxes, directed_ring
from gala_rl.gossip.mixing import mix_
from gala_rl.gossip.transports import shared


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
