"""Lock-free shared-memory transport between processes: one writer and many readers per mailbox.

Each learner owns SLOTS slots. It writes each message into the next slot and only then points
`latest` to it. It clears the slot's version before it writes and sets it afterwards. A message may
be a copy or, without any copy, the optimizer's own output. Readers read a message in place and
check the slot's version again afterwards, as in a seqlock. So

* a writer never waits, and one that is killed while writing leaves `latest` at the previous,
  complete message;
* a reader neither waits nor copies, and detects that a message was overwritten while it was read,
  which takes a writer that sends SLOTS - 1 further messages in that time;
* there is no lock that a killed process could leave locked.

This relies on other processors seeing the stores, and making the loads, of one processor in program
order, which x86 guarantees. On other processors a checksum of the bits is written too, and verified
whenever the version is.
"""

import functools
import math
import platform
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.gossip.message import Event, Message, PeerDown

SLOTS = 3
_VERSION, _CHECKSUM = 0, 1
_BEING_WRITTEN = -1
_TRIES = 4
_USES_CHECKSUMS = platform.machine() not in ("x86_64", "AMD64")


def shared_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return zeros in memory shared with every process that receives the tensor at its start.

    PyTorch reserves all of it at once, and the system may refuse that. Pages are only used once
    they are written: rows of learners that never join take no memory.
    """
    size = math.prod(shape) * dtype.itemsize
    storage: torch.UntypedStorage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


class _Words(NamedTuple):
    """Numbers of all mailboxes beside the parameters; see `SharedMailboxes`."""

    headers: NDArray[np.int64]
    latest: NDArray[np.int64]
    down: NDArray[np.int64]


class SharedMailboxes:
    """Shared memory of all learners' mailboxes; pass it to each process as an argument.

    The memory has no name in the file system: it is freed with the last process that maps it,
    however that process ends.

    Args:
        learners: number of learners.
        size: P, length of a parameter vector.
    """

    def __init__(self, learners: int, size: int) -> None:
        # Rows have an even length, since the checksum reads eight bytes at a time.
        rows = shared_zeros((learners, SLOTS, size + size % 2), torch.float32)
        self._parameters = rows[:, :, :size]
        self._headers = shared_zeros((learners, SLOTS, 2), torch.int64)
        self._latest = shared_zeros((learners,), torch.int64)
        self._down = shared_zeros((learners,), torch.int64)
        self._map()

    def _map(self) -> None:
        """View the numbers as arrays, which NumPy reads and writes ten times as fast."""
        self._words = _Words(self._headers.numpy(), self._latest.numpy(), self._down.numpy())

    def __getstate__(self) -> dict[str, Any]:
        # Pickled arrays would be copies: only tensors stay shared with other processes.
        return {name: value for name, value in vars(self).items() if name != "_words"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map()

    @property
    def learners(self) -> int:
        """Number of mailboxes."""
        return len(self._latest)

    @property
    def size(self) -> int:
        """P."""
        return self._parameters[0, 0].numel()

    def transport(self, rank: int) -> "SharedTransport":
        """Return the transport of learner `rank`; at most one live process may use it."""
        return SharedTransport(self, rank)

    def set_down(self, learner: int, down: bool) -> None:
        """Mark a learner as dead, or as alive again, for all others; only the supervisor does."""
        self._words.down[learner] = int(down)

    def is_down(self, learner: int) -> bool:
        """Return whether the supervisor has marked a learner as dead."""
        return bool(self._words.down[learner])

    def outbox(self, sender: int) -> Tensor:
        """Return the memory [P] of a sender's next message; only the sender's process may write.

        Readers no longer consider the message that was there complete.
        """
        slot = self._next_slot(sender)
        self._words.headers[sender, slot, _VERSION] = _BEING_WRITTEN
        return self._parameters[sender, slot]

    def write(self, message: Message) -> Message:
        """Publish a message as the latest of its sender; only the sender's process may call it.

        The message is copied unless it was written into the outbox.

        Returns:
            The message in shared memory.
        """
        parameters, sender = message.parameters, message.sender
        if parameters.shape != (self.size,):
            raise ValueError(f"expected [{self.size}] parameters, got {tuple(parameters.shape)}")
        target = self.outbox(sender)
        if parameters.data_ptr() != target.data_ptr():
            target.copy_(parameters.detach())
        slot = self._next_slot(sender)
        header = self._words.headers[sender, slot]
        if _USES_CHECKSUMS:
            header[_CHECKSUM] = _checksum(target)
        header[_VERSION] = message.version
        self._words.latest[sender] = slot
        return self._lend(sender, slot, message.version)

    def version(self, learner: int) -> int:
        """Return the version of a learner's latest complete message; 0 if there is none."""
        return max(0, int(self._words.headers[learner, self._latest_slot(learner), _VERSION]))

    def lend(self, learner: int) -> Message | None:
        """Return the latest message of a learner in shared memory, without a copy.

        Returns:
            None if there is none yet, or if the writer overtook every attempt.
        """
        for _ in range(_TRIES):
            slot = self._latest_slot(learner)
            version = int(self._words.headers[learner, slot, _VERSION])
            if version == 0:
                return None
            message = self._lend(learner, slot, version)
            if version > 0 and message.is_whole():
                return message
        return None

    def latest(self, learner: int) -> Message | None:
        """Return a copy of a learner's latest message; None as `lend`."""
        for _ in range(_TRIES):
            message = self.lend(learner)
            if message is None:
                return None
            copy = message.parameters.clone()
            if message.is_whole():
                return Message(learner, message.version, copy)
        return None

    def _latest_slot(self, sender: int) -> int:
        # The modulus makes a slot of any value that a faulty process may have written.
        return int(self._words.latest[sender]) % SLOTS

    def _next_slot(self, sender: int) -> int:
        return (self._latest_slot(sender) + 1) % SLOTS

    def _lend(self, learner: int, slot: int, version: int) -> Message:
        is_whole = functools.partial(self._is_whole, learner, slot, version)
        return Message(learner, version, self._parameters[learner, slot], is_whole)

    def _is_whole(self, learner: int, slot: int, version: int) -> bool:
        header = self._words.headers[learner, slot]
        if _USES_CHECKSUMS and _checksum(self._parameters[learner, slot]) != header[_CHECKSUM]:
            return False
        return int(header[_VERSION]) == version


def _checksum(parameters: Tensor) -> int:
    """Return the sum of the bit patterns, eight bytes at a time: exact in any order."""
    even = parameters.numel() // 2 * 2
    total = int(parameters[:even].view(torch.int64).sum())
    return total if even == parameters.numel() else total ^ int(parameters[even:].view(torch.int32))


class SharedTransport:
    """The transport of one learner of `SharedMailboxes`."""

    def __init__(self, mailboxes: SharedMailboxes, rank: int) -> None:
        self._mailboxes: SharedMailboxes | None = mailboxes
        self._rank = rank
        self._seen_version: dict[int, int] = {}
        self._told_down: set[int] = set()

    def outbox(self) -> Tensor:
        """See `Transport.outbox`."""
        return self._open.outbox(self._rank)

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        """See `Transport.send`. At most one copy for any number of receivers."""
        if message.sender != self._rank:
            raise ValueError(f"learner {self._rank} cannot send for learner {message.sender}")
        return self._open.write(message)

    def poll(self, senders: Collection[int]) -> list[Event]:
        """See `Transport.poll`. Nothing is copied."""
        events: list[Event] = []
        for sender in senders:
            if self._open.is_down(sender):
                if sender not in self._told_down:
                    self._told_down.add(sender)
                    events.append(PeerDown(sender))
                continue
            self._told_down.discard(sender)
            if (message := self._receive(sender)) is not None:
                events.append(message)
        return events

    def _receive(self, sender: int) -> Message | None:
        seen = self._seen_version.get(sender, 0)
        if self._open.version(sender) <= seen:
            return None
        message = self._open.lend(sender)
        if message is None or message.version <= seen:
            return None
        self._seen_version[sender] = message.version
        return message

    @property
    def _open(self) -> SharedMailboxes:
        if self._mailboxes is None:
            raise ValueError("the transport is closed")
        return self._mailboxes

    def close(self) -> None:
        """See `Transport.close`; unmaps the memory."""
        self._mailboxes = None
