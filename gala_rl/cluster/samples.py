"""Combines samples that nodes take of their learners' progress, to measure the cost of faults.

Heartbeats come a few times per second, but the cost of a fault is measured in twentieths of a
second. So nodes take samples by their own clocks, and send them with their current time. The
smallest difference between that time and the driver's, when an answer arrives, is the offset of the
clocks plus the travel time of the answer, which is less than the duration of the call.
"""

import math
import threading
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from gala_rl.cluster.protocol import HEARTBEATS, ProgressSamples
from gala_rl.faults.sampler import ProgressSample

_REQUEST_EVERY_S = 0.2
_WAIT_S = 0.005


@dataclass
class NodeSamples:
    """Samples of one node, in one of its incarnations.

    Attributes:
        taken: samples, by the node's clock.
        ahead_s: driver's clock minus node's clock; too large by at most `error_s`.
        error_s: duration of the shortest call.
    """

    taken: list[ProgressSample] = field(default_factory=list)
    ahead_s: float = math.inf
    error_s: float = math.inf

    def add(self, answer: ProgressSamples, called_s: float, answered_s: float) -> None:
        """Add an answer, with the driver's times of call and answer."""
        self.taken += answer.samples
        self.ahead_s = min(self.ahead_s, answered_s - answer.now_s)
        self.error_s = min(self.error_s, answered_s - called_s)

    def samples(self) -> list[ProgressSample]:
        """Return the samples by the driver's clock."""
        return [
            ProgressSample(time_s + self.ahead_s, agent_steps) for time_s, agent_steps in self.taken
        ]


class ClusterSampler:
    """Collects the samples of all nodes in threads.

    Args:
        nodes: Ray actors, by index.
        ranks: ranks of the learners of each node.
    """

    def __init__(self, nodes: Sequence[Any], ranks: Sequence[range]) -> None:
        self._ranks = ranks
        self._incarnations: list[dict[int, NodeSamples]] = [{} for _ in nodes]
        self._answers = [False] * len(nodes)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._collect, args=pair, name="sampler", daemon=True)
            for pair in enumerate(nodes)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def samples(self) -> list[ProgressSample]:
        """Return samples of all learners; the last sample of a dead node is carried forward."""
        nodes = [list(incarnations.values()) for incarnations in self._incarnations]
        return merged(nodes, self._answers)

    def resolution_s(self) -> float:
        """Return the longest time between two samples of a node plus the clocks' error."""
        nodes = [node for incarnations in self._incarnations for node in incarnations.values()]
        gaps = [b.time_s - a.time_s for node in nodes for a, b in pairwise(node.taken)]
        return max(gaps, default=0.0) + max((node.error_s for node in nodes), default=0.0)

    def affected(self, row: Mapping[str, Any]) -> tuple[float, Collection[int]]:
        """Return the time of a logged fault by the driver's clock, and the affected learners."""
        if "node" in row:
            return row["time"], self._ranks[row["node"]]
        rank = row["learner"]
        node = next(index for index, ranks in enumerate(self._ranks) if rank in ranks)
        first = next(iter(self._incarnations[node].values()), NodeSamples(ahead_s=0.0))
        return row["time"] + first.ahead_s, [rank]

    def _collect(self, index: int, node: Any) -> None:
        began_ns, count, incarnations = 0, 0, self._incarnations[index]
        samples = node.progress_samples.options(concurrency_group=HEARTBEATS)
        while not self._over.wait(_REQUEST_EVERY_S):
            called_s = time.time()
            call: Future[ProgressSamples | None] = samples.remote(began_ns, count).future()
            while not call.done() and not self._over.is_set():
                time.sleep(_WAIT_S)
            if not call.done():
                return
            answered_s = time.time()
            self._answers[index] = call.exception() is None
            if not self._answers[index] or (answer := call.result()) is None:
                continue
            began_ns = answer.began_ns
            incarnations.setdefault(began_ns, NodeSamples()).add(answer, called_s, answered_s)
            count = len(incarnations[began_ns].taken)


def merged(nodes: Sequence[Sequence[NodeSamples]], answers: Sequence[bool]) -> list[ProgressSample]:
    """Return samples of all learners, one for each time at which any node took a sample.

    Args:
        nodes: samples of each incarnation of each node.
        answers: whether each node answered its last request; samples after the last one of any
            node that did are left out.

    Returns:
        Samples in order of time, from the first time at which every node has a sample.
    """
    all_samples = [sorted(sample for one in node for sample in one.samples()) for node in nodes]
    if not all(all_samples):
        return []
    begin = max(samples[0].time_s for samples in all_samples)
    ends = [s[-1].time_s for s, there in zip(all_samples, answers, strict=True) if there]
    end = min(ends, default=math.inf)
    times = sorted({s.time_s for samples in all_samples for s in samples})
    rows: list[ProgressSample] = []
    for time_s in (t for t in times if begin <= t <= end):
        row: list[int] = []
        for samples in all_samples:
            row += samples[bisect_right(samples, time_s, key=lambda s: s.time_s) - 1].agent_steps
        # A restarted learner may report less than before.
        before = rows[-1].agent_steps if rows else row
        rows.append(ProgressSample(time_s, list(map(max, before, row))))
    return rows
