"""Averages gradients over all learners by all-reduce: replicas stay bitwise equal.

Replicas form a process group of `torch.distributed` (gloo, over the loopback interface unless they
are on several machines; they exchange addresses through files). A group breaks when a replica dies
or is silent; then the others and its replacement form the next group. The rendezvous has no
leader:

* Each replica that needs a group publishes the number of a round: larger than that of any round it
  took part in, and at least as large as any published number.
* Each replica adopts the largest published number. When all are equal, all connect.

A replica that dies while it waits returns with a larger number, which all others adopt.
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
    """Raised when a replica is dead or silent: the group and the current update are lost."""


@dataclass(frozen=True)
class ReplicaVotes:
    """Decisions that all replicas have to take after the same update.

    Attributes:
        stop: whether to stop.
        checkpoint: number of the newest requested checkpoint.
    """

    stop: bool = False
    checkpoint: int = 0


class Rendezvous:
    """Shared memory in which replicas agree on a round; pass it to each process as an argument.

    Args:
        replicas: number of replicas, one per learner.
        folder: folder for files with addresses; emptied.
        deadline_s: longest wait of a connected replica for the others, seconds.
        address: address at which replicas of this machine accept connections.
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
        """Return the folder with the addresses of one round."""
        return self.folder / f"round-{number}"

    def close(self) -> None:
        """Remove the folder, once all replicas have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


class GradientAverage:
    """Averages one replica's gradients with all others; a `Coupling`.

    Args:
        rendezvous: rendezvous of all replicas.
        rank: rank of this replica.

    Attributes:
        votes: votes of this replica, sent with its next gradient.
        agreed: decision of all replicas by their latest votes.
    """

    def __init__(self, rendezvous: Rendezvous, rank: int) -> None:
        self.votes = self.agreed = ReplicaVotes()
        self._rendezvous, self._rank = rendezvous, rank
        self._group: Any = None
        self._store: RendezvousStore | None = None  # Kept alive: the group's C++ calls it.
        self._buffer: Tensor | None = None

    def request_group(self) -> None:
        """Announce that this replica needs a group, and drop its former group."""
        self._group = None
        rounds = self._rendezvous.rounds
        rounds[self._rank] = torch.maximum(rounds.max(), rounds[self._rank] + 1)

    def can_connect(self) -> bool:
        """Return whether all replicas need a group, so that it can be formed."""
        rounds = self._rendezvous.rounds
        newest = rounds.max()
        rounds[self._rank] = newest
        return bool((rounds == newest).all())

    def has_ended(self) -> bool:
        """Return whether a replica has ended normally, so that no further group is formed."""
        return bool((self._rendezvous.rounds == _ENDED).any())

    def connect(self) -> None:
        """Form the group that all replicas need.

        Raises:
            PeerLost: when one of them does not connect.
        """
        rendezvous = self._rendezvous
        number = int(rendezvous.rounds[self._rank])
        folder, deadline_s = rendezvous.round_folder(number), rendezvous.deadline_s
        store = RendezvousStore(
            folder, deadline_s, lambda: bool((rendezvous.rounds > number).any())
        )
        # The stubs of `ProcessGroupGloo` lack the option for the address to listen at.
        gloo: Any = torch.distributed.ProcessGroupGloo
        options = gloo._Options()
        options._timeout = timedelta(seconds=deadline_s)
        # By default it would listen at the address of the machine's host name.
        options._devices = [gloo.create_device(hostname=rendezvous.address)]
        try:
            self._group = gloo(store, self._rank, rendezvous.replicas, options)
            self._store = store
        except (RuntimeError, TimeoutError) as error:
            raise PeerLost("a replica did not connect") from error

    def synchronize(self, state: Tensor, updates: int) -> int:
        """Broadcast the state of the replica that has made the most updates.

        Args:
            state: [P + S] of this replica, overwritten.
            updates: updates that this replica has made.

        Returns:
            The number of updates that this state has been through.

        Raises:
            PeerLost: when a replica is lost; the state is then unchanged.
        """
        made = torch.zeros(self._rendezvous.replicas, dtype=torch.int64)
        made[self._rank] = updates
        self._wait(self._connected.allreduce([made]))
        most_advanced = int(made.argmax())
        host = _own_copy(state)
        self._wait(self._connected.broadcast(host, root=most_advanced))
        state.copy_(host)
        return int(made[most_advanced])

    def average(self, grads: Tensor) -> None:
        """Replace a gradient [P] by its mean over all replicas; see `Coupling`.

        Raises:
            FloatingPointError: when it is not finite; the other replicas never see it.
            PeerLost: when a replica is lost.
        """
        if not torch.isfinite(grads.sum()):
            raise FloatingPointError("the gradient is not finite: it is not averaged")
        size, replicas = grads.numel(), self._rendezvous.replicas
        if self._buffer is None:
            self._buffer = torch.empty(size + 2)
        self._buffer[:size].copy_(grads)
        self._buffer[size:] = torch.tensor([self.votes.stop, self.votes.checkpoint])
        self._wait(self._connected.allreduce([self._buffer]))
        grads.copy_(self._buffer[:size].div_(replicas))
        stop, checkpoint = self._buffer[size:].tolist()
        # The mean, rounded down: no replica saves a checkpoint before all have seen the request.
        self.agreed = ReplicaVotes(stop > 0, int(checkpoint // replicas))

    @contextmanager
    def counting(self, moments: Tensor) -> Iterator[None]:
        """Replace running moments [M] by their mean over all replicas, once each has updated them.

        Raises:
            PeerLost: when a replica is lost; the moments are then those of this replica.
        """
        yield
        host = _own_copy(moments)
        self._wait(self._connected.allreduce([host]))
        moments.copy_(host.div_(self._rendezvous.replicas))

    def leave(self) -> None:
        """Leave the group for good, once all replicas are ready to.

        Raises:
            PeerLost: when one of them may have missed the last update.
        """
        self._wait(self._connected.barrier())
        self._rendezvous.rounds[self._rank] = _ENDED

    def make_optimizer(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor
    ) -> Optimizer:
        """Return this replica's own optimizer: equal gradients give equal steps. See `Coupling`."""
        return make_optimizer(parameters, settings, memory)

    @property
    def _connected(self) -> Any:
        if self._group is None:
            raise ValueError("this replica has no group: connect first")
        return self._group

    def _wait(self, work: torch.distributed.Work) -> None:
        """Wait for a collective operation."""
        try:
            work.wait(timedelta(seconds=self._rendezvous.deadline_s))
        except RuntimeError as error:
            self._group = None
            raise PeerLost("a replica is dead or silent") from error


def _own_copy(tensor: Tensor) -> Tensor:
    """Return a copy on the host, so that a broken collective leaves the tensor unchanged."""
    return tensor.to("cpu", copy=True)
