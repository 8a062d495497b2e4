"""Gossip: the cost of sending, polling and mixing for a learner, compared with a plain copy.

One process plays one learner of a directed ring, and between its exchanges its in-neighbour,
which sends it a new message each time: so each exchange mixes, and no other process disturbs.
Everything runs on one thread, as gossip does with one learner per core.

Bytes are those that the arithmetic needs, each read and each written one counted once, for P
float32 parameters: copy and send 8 P (read P, write P), poll 4 P (the soundness check reads P),
mix 12 P (read both vectors, write one), a whole exchange 24 P; 16 P where the optimiser has written
into the outbox, as a learner's does, so that nothing is copied. Lines that a processor fetches
before it overwrites them are not counted, as in the STREAM benchmark.
"""

import ctypes
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gala_lab.bench import benchmark_plans
from gala_lab.bench.results import case, result
from gala_rl.gossip import Gossip, GossipNode, Message, SharedMailboxes, directed_ring
from gala_rl.gossip.mixing import mix_
from gala_rl.gossip.node import Mix

_BYTES_PER_PARAMETER = {
    "copy": 8,
    "send": 8,
    "poll": 4,
    "mix": 12,
    "exchange": 24,
    "outbox_exchange": 16,
}
_BASE = 2
"""Learners that the cost of more of them is compared with: with 1 there is no gossip."""
_MIN_TURNS = 5

RATIOS = {
    f"{part}_over_copy": (f"{part}_gb_per_s", "copy_gb_per_s")
    for part in ("send", "mix", "exchange", "outbox_exchange")
}
RATIOS[f"exchange_over_{_BASE}_learners"] = ("exchange_ms", f"exchange_{_BASE}_learners_ms")


def bench_gossip(
    learners: int, parameters: Sequence[int], seconds: float, repeats: int
) -> dict[str, Any]:
    """Measure gossip for 1, 2, 4, … learners and several sizes of network.

    Args:
        learners: largest number of learners.
        parameters: P of each network.
        seconds: length of each measurement.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; a case for each P and number of learners, with the median cost of a turn in
        `ms` and the bytes moved in `gb_per_s` (10⁹ bytes); cases that do not fit into memory
        are `skipped`, with the reason.
    """
    plan = [(p, n) for p in parameters for n in benchmark_plans.powers_of_two(learners)]
    skipped = {pair: benchmark_plans.memory_lacking(pair[1], pair[0]) for pair in plan}
    rounds: dict[tuple[int, int], list[dict[str, float | None]]] = {pair: [] for pair in plan}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repeats):
            base: dict[int, float | None] = {}
            for size, count in plan:
                if skipped[size, count] is None:
                    measured = _measure(count, size, seconds)
                    if count == _BASE:
                        base[size] = measured["exchange_ms"]
                    measured[f"exchange_{_BASE}_learners_ms"] = base.get(size)
                    rounds[size, count].append(measured)
    finally:
        torch.set_num_threads(threads)
    cases = []
    for size, count in plan:
        labels = {"parameters": size, "learners": count, "skipped": skipped[size, count]}
        done = rounds[size, count]
        cases.append(case(labels, done, RATIOS) if done else labels)
    settings = {"learners": learners, "parameters": list(parameters)}
    settings |= {"seconds": seconds, "repeats": repeats}
    return result("gossip", settings, {"cases": cases}, [])


def _measure(learners: int, size: int, seconds: float) -> dict[str, float | None]:
    """Return median milliseconds and gigabytes per second of each part of a learner's turn."""
    turn = _Turn(learners, size)
    turn.run()
    turn.times.clear()
    end, turns = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turns < _MIN_TURNS:
        turn.run()
        turns += 1
    measured: dict[str, float | None] = {}
    for part, per_parameter in _BYTES_PER_PARAMETER.items():
        times = turn.times[part]
        median_s = statistics.median(times) if times else None
        moves = learners > 1 or part == "copy"
        measured[f"{part}_ms"] = None if median_s is None else 1e3 * median_s
        measured[f"{part}_gb_per_s"] = (
            per_parameter * size / median_s / 1e9 if median_s and moves else None
        )
    return measured


class _Turn:
    """A learner, its in-neighbour and their timed operations.

    Args:
        learners: number of learners in the ring.
        size: P.

    Attributes:
        times: seconds of each turn so far, by what was done.
    """

    def __init__(self, learners: int, size: int) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        topology = directed_ring(learners)
        mailboxes = SharedMailboxes(learners, size)
        self._neighbour = learners - 1
        self._parameters, self._others = torch.rand(size), torch.rand(size)
        self._source, self._target = torch.rand(size), torch.rand(size)
        self._own = mailboxes.transport(0)
        self._others_end = mailboxes.transport(self._neighbour)
        self._gossip = Gossip(self._parameters, mailboxes.transport(0), 0, topology)
        self._node = GossipNode(0, topology, size=size)
        self._version = 0

    def run(self) -> None:
        """Copy, exchange piece by piece, and exchange as a whole, each with a new message."""
        # The C library's copy: for large vectors it is up to twice as fast as torch's copy_.
        size = self._source.numel() * self._source.element_size()
        to, source = self._target.data_ptr(), self._source.data_ptr()
        self._timed("copy", lambda: ctypes.memmove(to, source, size))
        if self._node.topology.learners > 1:
            self._receive()
            self._exchange_in_pieces()
            self._receive()
        self._exchange("exchange")
        if (outbox := self._gossip.outbox()) is not None:
            outbox.copy_(self._parameters)
            self._receive()
            self._exchange("outbox_exchange")

    def _exchange(self, name: str) -> None:
        self._version += 1
        self._timed(name, lambda: self._gossip.exchange(self._version))

    def _receive(self) -> None:
        """Send a new message from the in-neighbour."""
        self._version += 1
        self._others_end.send(Message(self._neighbour, self._version, self._others), (0,))

    def _exchange_in_pieces(self) -> None:
        """Do what `Gossip.exchange` does."""
        node, own = self._node, self._own
        send = node.on_update(self._version)
        message = Message(0, send.version, self._parameters)
        self._timed("send", lambda: own.send(message, send.receivers))
        self._timed("poll", self._poll)
        decision = node.decide()
        assert isinstance(decision, Mix)
        self._timed("mix", lambda: self._mix(decision))
        node.on_mixed(decision)

    def _mix(self, decision: Mix) -> None:
        mix_(self._parameters, [message.parameters for message in decision.messages])
        assert all(message.is_whole() for message in decision.messages)

    def _poll(self) -> None:
        for event in self._own.poll(self._node.listening_to):
            assert isinstance(event, Message)
            self._node.on_message(event)

    def _timed(self, name: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        self.times[name].append(time.perf_counter() - start)
