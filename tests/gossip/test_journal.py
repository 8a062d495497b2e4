"""The journal gives back what was written, in its order, and says when it could not."""

import itertools
import time

import numpy as np
import pytest
from torch import multiprocessing

from gala_rl.gossip.journal import Journal, JournalWriter, Kind, OverrunError


def test_entries_come_back_in_the_order_of_their_times() -> None:
    journal = Journal(learners=2, in_degree=3)
    reader, first, second = journal.reader(), journal.writer(0), journal.writer(1)
    first.update(1, 0.5)
    second.update(1, 0.25)
    first.mix(1, [(1, 1)])
    second.mix(1, [(0, 1), (2, 7), (3, 2**40)])
    second.adopt(1, (0, 1))
    first.adopt(1, None)
    entries = reader.new_entries()
    assert [(e.learner, e.kind, e.version, e.norm, e.messages) for e in entries] == [
        (0, Kind.UPDATE, 1, 0.5, ()),
        (1, Kind.UPDATE, 1, 0.25, ()),
        (0, Kind.MIX, 1, 0.0, ((1, 1),)),
        (1, Kind.MIX, 1, 0.0, ((0, 1), (2, 7), (3, 2**40))),
        (1, Kind.ADOPT, 1, 0.0, ((0, 1),)),
        (0, Kind.ADOPT, 1, 0.0, ()),
    ]
    assert all(a.time_s <= b.time_s for a, b in itertools.pairwise(entries))
    assert reader.new_entries() == []


def test_a_reader_begins_where_the_writers_are() -> None:
    journal = Journal(learners=1, in_degree=1)
    journal.writer(0).update(1, 1.0)
    reader = journal.reader()
    journal.writer(0).update(2, 1.0)
    assert [entry.version for entry in reader.new_entries()] == [2]


def test_rings_go_round() -> None:
    journal = Journal(learners=1, in_degree=300)
    reader, writer = journal.reader(), journal.writer(0)
    for version in range(1, 1000):
        writer.update(version, float(version))
        if version % 100 == 0:
            versions = [entry.version for entry in reader.new_entries()]
            assert versions == list(range(version - 99, version + 1))


def test_a_slow_reader_gets_an_overrun_error_and_continues_after_the_gap() -> None:
    journal = Journal(learners=2, in_degree=300)
    reader, writer = journal.reader(), journal.writer(1)
    for version in range(1, 1000):
        writer.update(version, 1.0)
    with pytest.raises(OverrunError, match="learner 1 wrote 256 entries"):
        reader.new_entries()
    writer.update(1000, 1.0)
    assert [entry.version for entry in reader.new_entries()] == [1000]


def test_an_entry_that_is_not_there_yet_is_read_later() -> None:
    """As where a processor lets the count be seen before the entry."""
    journal = Journal(learners=1, in_degree=1)
    reader = journal.reader()
    ring, written = np.zeros((4, 8)), np.zeros(1, dtype=np.int64)
    JournalWriter(ring, written, 0).update(1, 1.0)
    whole = journal._rings.numpy()[0]
    journal._written[0] = 1
    whole[0, :] = ring[0]
    whole[0, 2] = 5.0
    assert reader.new_entries() == []
    whole[0, :] = ring[0]
    assert [entry.version for entry in reader.new_entries()] == [1]


def _write(journal: Journal, learner: int, count: int) -> None:
    writer = journal.writer(learner)
    for version in range(1, count + 1):
        writer.update(version, float(version))
        writer.mix(version, [(1 - learner, version)])


def test_processes_write_while_another_reads() -> None:
    journal, count = Journal(learners=2, in_degree=1), 3000
    reader = journal.reader()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(journal, i, count)) for i in (0, 1)]
    for process in processes:
        process.start()
    entries = []
    while any(process.is_alive() for process in processes):
        entries += reader.new_entries()
    entries += reader.new_entries()
    for learner in (0, 1):
        own = [entry for entry in entries if entry.learner == learner]
        updates = [entry for entry in own if entry.kind == Kind.UPDATE]
        assert [entry.norm for entry in updates] == list(range(1, count + 1))
        assert [entry.version for entry in own[1::2]] == list(range(1, count + 1))


def test_what_was_adopted_is_placed_where_it_was_known_to_be_new() -> None:
    journal = Journal(learners=2, in_degree=1)
    reader, sender, joiner = journal.reader(), journal.writer(0), journal.writer(1)
    sender.update(1, 1.0)
    at_s = time.monotonic()
    for version in range(2, 20):
        sender.update(version, 1.0)
    joiner.adopt(0, (0, 1), at_s)
    kinds = [(entry.learner, entry.version) for entry in reader.new_entries()]
    assert kinds[:3] == [(0, 1), (1, 0), (0, 2)]


def test_what_comes_while_rings_are_read_waits_until_what_led_to_it_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = Journal(learners=2, in_degree=1)
    reader, sender, receiver = journal.reader(), journal.writer(0), journal.writer(1)
    now, clock = time.monotonic(), itertools.count()

    def begin_to_read() -> float:
        if next(clock) == 0:
            receiver.mix(1, [(0, 1)], now + 0.2)
        return now

    sender.mix(1, [(1, 1)], now - 0.1)
    monkeypatch.setattr("gala_rl.gossip.journal.time.monotonic", begin_to_read)
    assert [entry.learner for entry in reader.new_entries()] == [0]
    assert reader.new_entries() == []
    now += 0.3
    assert [entry.learner for entry in reader.new_entries()] == [1]


def test_an_entry_whose_count_is_seen_first_is_waited_for() -> None:
    journal = Journal(1, 1)
    reader = journal.reader()
    journal._written[0] = 1
    assert reader.new_entries() == []
    journal._written[0] = 0
    journal.writer(0).update(1, 0.5)
    assert [entry.version for entry in reader.new_entries()] == [1]
