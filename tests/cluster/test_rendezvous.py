"""Replicas of two machines find one another by what couriers carry, again after a death too."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.coupling import GradientAverage, PeerLost, Rendezvous
from tests.coupling.threads import meet

RANKS = (range(2), range(2, 3))
DEADLINE_S = 5.0


class Machine:
    """One of two; what it has to tell goes to the other for as long as both are introduced."""

    def __init__(self, folder: Path, node: int) -> None:
        self.node, self.meeting = node, Rendezvous(3, folder, DEADLINE_S)
        self.introductions = ClusterRendezvous(self.meeting, node, RANKS)


@contextmanager
def introduced(first: Machine, second: Machine) -> Iterator[None]:
    """Couriers between two machines."""
    over = threading.Event()

    def carry() -> None:
        while not over.wait(0.002):
            for here, there in ((first, second), (second, first)):
                there.introductions.take(here.node, here.introductions.make())

    courier = threading.Thread(target=carry)
    courier.start()
    yield
    over.set()
    courier.join()


def average_all(*averages: GradientAverage) -> list[Tensor]:
    """What each gets when replica i averages a gradient of all i."""
    gradients = [torch.full((5,), float(rank)) for rank in range(3)]

    def life(rank: int) -> None:
        meet(averages[rank]).average(gradients[rank])

    threads = [threading.Thread(target=life, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return gradients


def test_replicas_meet_and_meet_whoever_a_new_machine_has_instead(tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", 0), Machine(tmp_path / "second", 1)
    left = [GradientAverage(first.meeting, rank) for rank in range(2)]
    with introduced(first, second):
        lost = GradientAverage(second.meeting, 2)
        assert all((mean == 1.0).all() for mean in average_all(*left, lost))
    lost._group = None
    for average in left:
        with pytest.raises(PeerLost):
            average.average(torch.zeros(5))

    third = Machine(tmp_path / "third", 1)
    third.introductions.take(0, first.introductions.make())
    third.introductions.catch_up()
    assert third.meeting.rounds[2] == 1, "as the others knew it"
    with introduced(first, third):
        means = average_all(*left, GradientAverage(third.meeting, 2))
        assert all((mean == 1.0).all() for mean in means)
    assert third.meeting.rounds.tolist() == [2, 2, 2]


def test_who_ends_is_seen_to_end_elsewhere_and_nothing_is_sent_back(tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", 0), Machine(tmp_path / "second", 1)
    first.meeting.rounds[:2] = -1
    here, there = (GradientAverage(m.meeting, 2) for m in (first, second))
    assert not there.somebody_ended()
    second.introductions.take(0, first.introductions.make())
    assert there.somebody_ended()
    assert not here.all_here()
    second.meeting.round_folder(1).mkdir()
    (second.meeting.round_folder(1) / "own").write_bytes(b"here")
    second.meeting.rounds[2] = 1
    first.introductions.take(1, second.introductions.make())
    first.meeting.rounds[0] = 1
    assert first.introductions.make().cards == {}
    assert (first.meeting.round_folder(1) / "own").read_bytes() == b"here"
