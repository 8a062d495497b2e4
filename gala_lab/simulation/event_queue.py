"""The discrete events of learners that never wait for one another, in the order of time."""

import heapq

from gala_lab.simulation.world import World

FAILED, RETURNED, PORT_FREE, APPLIED, UPDATED = range(5)
"""What can happen to a learner, in the order in which it does within one instant."""


class EventQueue:
    """What is going to happen. Begins with the first update of everybody who is there.

    Args:
        world: whose clocks and learners they are.
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
        """Something will happen to a learner."""
        heapq.heappush(self._events, (time_s, kind, learner))

    def start_update(self, learner: int, start_s: float) -> None:
        """The learner begins an update, or will; it ends, or the learner fails first."""
        end_s, has_failed = self._world.clocks.finish(learner, start_s)
        self.add(max(self._now_s, end_s), FAILED if has_failed else UPDATED, learner)

    def fail(self, learner: int, now_s: float) -> None:
        """The learner is dead and will come back."""
        self._world.fail(learner)
        self.add(self._world.clocks.come_back(learner, now_s), RETURNED, learner)

    def next_instant(self) -> tuple[float, list[tuple[int, int]]]:
        """The time of what happens next, and all that happens then as (what, learner)."""
        events = self._events
        now_s, kind, learner = heapq.heappop(events)
        self._now_s = now_s
        happening = [(kind, learner)]
        while events and events[0][0] == now_s:
            happening.append(heapq.heappop(events)[1:])
        return now_s, happening
