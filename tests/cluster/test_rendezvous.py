"""Replicas of two machines find one another by what relays exchange, also after a death."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.coupling import GradientAverage, PeerLost, Rendezvous
from tests.support.threads import meet

RANKS = (range(2), range(2, 3))
DEADLINE_S = 5.0


class Machine:
    """One of two; what it has to tell goes to the other for as long as both are introduced."""

    def __init__(self, folder: Path, node: int) -> None:
        self.node, self.rendezvous = node, Rendezvous(3, folder, DEADLINE_S)
        self.cluster_rendezvous = ClusterRendezvous(self.rendezvous, node, RANKS)


@contextmanager
def introduced(first: Machine, second: Machine) -> Iterator[None]:
    """Run relays between two machines."""
    over = threading.Event()

    def carry() -> None:
        while not over.wait(0.002):
            for here, there in ((first, second), (second, first)):
                there.cluster_rendezvous.receive(
                    here.node, here.cluster_rendezvous.local_addresses()
                )

    relay = threading.Thread(target=carry)
    relay.start()
    yield
    over.set()
    relay.join()


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


def test_replicas_meet_and_meet_again_with_those_of_a_new_machine(tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", 0), Machine(tmp_path / "second", 1)
    left = [GradientAverage(first.rendezvous, rank) for rank in range(2)]
    with introduced(first, second):
        lost = GradientAverage(second.rendezvous, 2)
        assert all((mean == 1.0).all() for mean in average_all(*left, lost))
    lost._group = None
    for average in left:
        with pytest.raises(PeerLost):
            average.average(torch.zeros(5))

    third = Machine(tmp_path / "third", 1)
    third.cluster_rendezvous.receive(0, first.cluster_rendezvous.local_addresses())
    third.cluster_rendezvous.restore_rounds()
    assert third.rendezvous.rounds[2] == 1, "as the others knew it"
    with introduced(first, third):
        means = average_all(*left, GradientAverage(third.rendezvous, 2))
        assert all((mean == 1.0).all() for mean in means)
    assert third.rendezvous.rounds.tolist() == [2, 2, 2]


def test_who_ends_is_seen_to_end_elsewhere_and_nothing_is_sent_back(tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", 0), Machine(tmp_path / "second", 1)
    first.rendezvous.rounds[:2] = -1
    here, there = (GradientAverage(m.rendezvous, 2) for m in (first, second))
    assert not there.has_ended()
    second.cluster_rendezvous.receive(0, first.cluster_rendezvous.local_addresses())
    assert there.has_ended()
    assert not here.can_connect()
    second.rendezvous.round_folder(1).mkdir()
    (second.rendezvous.round_folder(1) / "own").write_bytes(b"here")
    second.rendezvous.rounds[2] = 1
    first.cluster_rendezvous.receive(1, second.cluster_rendezvous.local_addresses())
    first.rendezvous.rounds[0] = 1
    assert first.cluster_rendezvous.local_addresses().addresses == {}
    assert (first.rendezvous.round_folder(1) / "own").read_bytes() == b"here"
