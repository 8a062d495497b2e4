"""How far the learners of a cluster are when, put together by the driver from what nodes have seen.

Reports come a few times a second; what a fault costs is seen in twentieths. So nodes look for
themselves, each by its own clock, and tell their time with what they have seen. The least by which
the driver's clock is ahead of that when an answer arrives is how far the clocks are apart, but for
the time that the answer was under way: less than from question to answer.
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

from gala_rl.cluster.node import REPORTS
from gala_rl.cluster.protocol import ProgressSamples
from gala_rl.faults.costs import ProgressSample

_ASK_EVERY_S = 0.2
_WAIT_S = 0.005


@dataclass
class NodeSamples:
    """What one node has told, in one of its lives.

    Attributes:
        taken: its looks, by its own clock.
        ahead_s: how far the driver's clock is ahead of the node's, too large by `error_s` at most.
        error_s: least time from question to answer.
    """

    taken: list[ProgressSample] = field(default_factory=list)
    ahead_s: float = math.inf
    error_s: float = math.inf

    def add(self, looks: ProgressSamples, asked_s: float, answered_s: float) -> None:
        """Take an answer in, with the driver's times of question and answer."""
        self.taken += looks.taken
        self.ahead_s = min(self.ahead_s, answered_s - looks.told_s)
        self.error_s = min(self.error_s, answered_s - asked_s)

    def samples(self) -> list[ProgressSample]:
        """The looks by the driver's clock."""
        return [
            ProgressSample(time_s + self.ahead_s, agent_steps) for time_s, agent_steps in self.taken
        ]


class ClusterSampler:
    """Asks all nodes from a thread.

    Args:
        nodes: actors, by index.
        ranks: of the learners of each.
    """

    def __init__(self, nodes: Sequence[Any], ranks: Sequence[range]) -> None:
        self._ranks = ranks
        self._lives: list[dict[int, NodeSamples]] = [{} for _ in nodes]
        self._is_there = [False] * len(nodes)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=pair, name="sampler", daemon=True)
            for pair in enumerate(nodes)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def samples(self) -> list[ProgressSample]:
        """Of all learners; where a node was dead, the last that is known of its own."""
        return merged([list(lives.values()) for lives in self._lives], self._is_there)

    def resolution_s(self) -> float:
        """Longest time between two looks at a learner, and by which two clocks may be mistaken."""
        seen = [life for lives in self._lives for life in lives.values()]
        gaps = [b.time_s - a.time_s for life in seen for a, b in pairwise(life.taken)]
        return max(gaps, default=0.0) + max((life.error_s for life in seen), default=0.0)

    def struck(self, row: Mapping[str, Any]) -> tuple[float, Collection[int]]:
        """When a fault came that has a row in the log, by the driver's clock; to which learners."""
        if "node" in row:
            return row["time"], self._ranks[row["node"]]
        rank = row["learner"]
        node = next(index for index, ranks in enumerate(self._ranks) if rank in ranks)
        first_life = next(iter(self._lives[node].values()), NodeSamples(ahead_s=0.0))
        return row["time"] + first_life.ahead_s, [rank]

    def _ask(self, index: int, node: Any) -> None:
        life_ns, seen, lives = 0, 0, self._lives[index]
        look = node.looks.options(concurrency_group=REPORTS)
        while not self._over.wait(_ASK_EVERY_S):
            asked_s = time.time()
            answer: Future[ProgressSamples | None] = look.remote(life_ns, seen).future()
            while not answer.done() and not self._over.is_set():
                time.sleep(_WAIT_S)
            if not answer.done():
                return
            answered_s = time.time()
            self._is_there[index] = answer.exception() is None
            if not self._is_there[index] or (looks := answer.result()) is None:
                continue
            life_ns = looks.life_ns
            lives.setdefault(life_ns, NodeSamples()).add(looks, asked_s, answered_s)
            seen = len(lives[life_ns].taken)


def merged(
    lives: Sequence[Sequence[NodeSamples]], is_there: Sequence[bool]
) -> list[ProgressSample]:
    """Samples of all learners at each time at which one of their nodes has looked.

    Args:
        lives: of each node, what it has told in each of its lives.
        is_there: whether each node answered in the end; what is newer than its last answer is
            left out then.

    Returns:
        In order; from when each node has been seen.
    """
    nodes = [sorted(sample for life in node for sample in life.samples()) for node in lives]
    if not all(nodes):
        return []
    begin = max(samples[0].time_s for samples in nodes)
    ends = [s[-1].time_s for s, there in zip(nodes, is_there, strict=True) if there]
    end = min(ends, default=math.inf)
    times = sorted({s.time_s for samples in nodes for s in samples if begin <= s.time_s <= end})
    rows: list[ProgressSample] = []
    for time_s in times:
        row: list[int] = []
        for samples in nodes:
            row += samples[bisect_right(samples, time_s, key=lambda s: s.time_s) - 1].agent_steps
        # Whoever is started again may have been told less than was seen.
        before = rows[-1].agent_steps if rows else row
        rows.append(ProgressSample(time_s, list(map(max, before, row))))
    return rows
