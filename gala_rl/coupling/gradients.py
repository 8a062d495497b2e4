"""Gradients averaged over all learners by all-reduce: replicas that stay equal bit for bit.

Replicas form a process group of `torch.distributed` (gloo, over the loopback interface unless they
are on several machines; addresses are told through files). It breaks when one of them dies or is
silent; then those that are left, and whoever is started instead, meet again and form the next one.
Where they meet there is no leader:

* Everyone who needs a group writes down the number of a round, larger than any it took part in
  and as large as any that is written there.
* When all numbers are equal, that is the round, and all connect.

A replica that dies while it waits comes back with a larger number, which all others take over.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.coupling.rendezvous import RendezvousStore
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.learners.optimizers import Optimizer, make_optimizer

LOOPBACK = "127.0.0.1"
_ENDED = -1


class PeerLost(Exception):
    """A replica is dead or silent: the group is no more, and the update in the making neither."""


@dataclass(frozen=True)
class ReplicaVotes:
    """What replicas decide together, since they must all do it after the same update.

    Attributes:
        stop: whether to stop.
        checkpoint: number of the newest checkpoint that is asked for.
    """

    stop: bool = False
    checkpoint: int = 0


class Rendezvous:
    """Where replicas find one another; pass it to each process as an argument.

    Args:
        replicas: number of learners, each a replica of all others.
        folder: for the files through which they connect; emptied.
        deadline_s: longest wait of a connected replica for the others, seconds.
        address: at which replicas of this machine take connections.
    """

    def __init__(
        self, replicas: int, folder: Path, deadline_s: float, address: str = LOOPBACK
    ) -> None:
        self.replicas, self.folder, self.deadline_s = replicas, folder, deadline_s
        self.address = address
        self.rounds = shared_zeros((replicas,), torch.int64)
        self.close()
        folder.mkdir()

    def round_folder(self, number: int) -> Path:
        """Where addresses of one round are."""
        return self.folder / f"round-{number}"

    def close(self) -> None:
        """Remove the folder, once all replicas have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


class GradientAverage:
    """One replica's part in averaging; a `Coupling`.

    Args:
        meeting: of all replicas.
        rank: of this one.

    Attributes:
        wishes: of this replica, carried by its next gradient.
        agreed: what all replicas wished at the last.
    """

    def __init__(self, meeting: Rendezvous, rank: int) -> None:
        self.wishes = self.agreed = ReplicaVotes()
        self._meeting, self._rank = meeting, rank
        self._group: Any = None
        self._store: RendezvousStore | None = None  # which C++ calls as long as there is a group
        self._buffer: Tensor | None = None

    def come(self) -> None:
        """Say that this replica needs a group; it has none from now on."""
        self._group = None
        rounds = self._meeting.rounds
        rounds[self._rank] = torch.maximum(rounds.max(), rounds[self._rank] + 1)

    def all_here(self) -> bool:
        """Whether all replicas need a group, so that it can be formed."""
        rounds = self._meeting.rounds
        newest = rounds.max()
        rounds[self._rank] = newest
        return bool((rounds == newest).all())

    def somebody_ended(self) -> bool:
        """Whether a replica has ended as all agreed: nobody will come to a group any more."""
        return bool((self._meeting.rounds == _ENDED).any())

    def connect(self) -> None:
        """Form the group that all are here for.

        Raises:
            PeerLost: when one of them does not.
        """
        meeting = self._meeting
        number = int(meeting.rounds[self._rank])
        folder, deadline_s = meeting.round_folder(number), meeting.deadline_s
        store = RendezvousStore(folder, deadline_s, lambda: bool((meeting.rounds > number).any()))
        # `ProcessGroupGloo`, whose stubs lack what says where to listen.
        gloo: Any = torch.distributed.ProcessGroupGloo
        options = gloo._Options()
        options._timeout = timedelta(seconds=deadline_s)
        # By default it would listen at whatever address the machine's name has.
        options._devices = [gloo.create_device(hostname=meeting.address)]
        try:
            self._group = gloo(store, self._rank, meeting.replicas, options)
            self._store = store
        except (RuntimeError, TimeoutError) as error:
            raise PeerLost("a replica did not connect") from error

    def level(self, state: Tensor, updates: int) -> int:
        """Give all replicas the state of the one that has made the most updates.

        Args:
            state: [P + S] of this replica, overwritten.
            updates: that this replica has made.

        Returns:
            The number of updates that all have made now.

        Raises:
            PeerLost: when one of them is gone; the state is as it was.
        """
        made = torch.zeros(self._meeting.replicas, dtype=torch.int64)
        made[self._rank] = updates
        self._finish(self._connected.allreduce([made]))
        most_advanced = int(made.argmax())
        host = _own_copy(state)
        self._finish(self._connected.broadcast(host, root=most_advanced))
        state.copy_(host)
        return int(made[most_advanced])

    def average(self, grads: Tensor) -> None:
        """Replace a gradient [P] by its mean over all replicas; see `Coupling`.

        Raises:
            FloatingPointError: when it is not finite; the others never see it.
            PeerLost: when a replica is gone.
        """
        if not torch.isfinite(grads.sum()):
            raise FloatingPointError("the gradient is not finite: it is not averaged")
        size, replicas = grads.numel(), self._meeting.replicas
        if self._buffer is None:
            self._buffer = torch.empty(size + 2)
        self._buffer[:size].copy_(grads)
        self._buffer[size:] = torch.tensor([self.wishes.stop, self.wishes.checkpoint])
        self._finish(self._connected.allreduce([self._buffer]))
        grads.copy_(self._buffer[:size].div_(replicas))
        stop, checkpoint = self._buffer[size:].tolist()
        # Everybody has seen a checkpoint asked for, or nobody saves it yet.
        self.agreed = ReplicaVotes(stop > 0, int(checkpoint // replicas))

    @contextmanager
    def counting(self, moments: Tensor) -> Iterator[None]:
        """Replace running moments [M] by their mean over all replicas, once each has counted.

        Raises:
            PeerLost: when a replica is gone; the moments are what this one has counted.
        """
        yield
        host = _own_copy(moments)
        self._finish(self._connected.allreduce([host]))
        moments.copy_(host.div_(self._meeting.replicas))

    def part(self) -> None:
        """End, once all replicas want to.

        Raises:
            PeerLost: when one of them may have missed the last update.
        """
        self._finish(self._connected.barrier())
        self._meeting.rounds[self._rank] = _ENDED

    def make_optimizer(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor
    ) -> Optimizer:
        """Each replica has its own: equal gradients make equal steps. See `Coupling`."""
        return make_optimizer(parameters, settings, memory)

    @property
    def _connected(self) -> Any:
        if self._group is None:
            raise ValueError("this replica has no group: connect first")
        return self._group

    def _finish(self, work: torch.distributed.Work) -> None:
        """Wait for a collective operation."""
        try:
            work.wait(timedelta(seconds=self._meeting.deadline_s))
        except RuntimeError as error:
            self._group = None
            raise PeerLost("a replica is dead or silent") from error


def _own_copy(tensor: Tensor) -> Tensor:
    """Return a copy on the host; what is cut off in a collective leaves the tensor as it was."""
    return tensor.to("cpu", copy=True)
