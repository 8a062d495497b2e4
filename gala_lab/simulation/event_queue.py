"""The discrete events of learners that never wait for one another, in order of time."""

import heapq

from gala_lab.simulation.world import World

FAILED, RETURNED, PORT_FREE, APPLIED, UPDATED = range(5)
"""Kinds of events of a learner, in the order in which they happen within one instant."""


class EventQueue:
    """Future events. It starts with the first update of every learner that is present.

    Args:
        world: clocks and learners.
    """

    def __init__(self, world: World) -> None:
        self._events: list[tuple[float, int, int]] = []
        self._now_s = 0.0
        self._world = world
        for learner, is_present in enumerate(world.is_present):
            if is_present:
                self.start_update(learner, 0.0)
            else:
                self.add(world.config.join_at_s, RETURNED, learner)

    def add(self, time_s: float, kind: int, learner: int) -> None:
        """Add an event of a learner."""
        heapq.heappush(self._events, (time_s, kind, learner))

    def start_update(self, learner: int, start_s: float) -> None:
        """Add the end of an update begun at `start_s`, or the failure that comes before it."""
        end_s, has_failed = self._world.clocks.finish(learner, start_s)
        self.add(max(self._now_s, end_s), FAILED if has_failed else UPDATED, learner)

    def fail(self, learner: int, now_s: float) -> None:
        """Mark a learner as failed and add its return."""
        self._world.fail(learner)
        self.add(self._world.clocks.recover(learner, now_s), RETURNED, learner)

    def next_instant(self) -> tuple[float, list[tuple[int, int]]]:
        """Remove and return the next time, and all its events as (kind, learner)."""
        events = self._events
        now_s, kind, learner = heapq.heappop(events)
        self._now_s = now_s
        events_now = [(kind, learner)]
        while events and events[0][0] == now_s:
            events_now.append(heapq.heappop(events)[1:])
        return now_s, events_now
