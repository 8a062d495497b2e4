"""A literal replay: lists of slots, in which every item is looked for step by step."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gala_rl.replay import ReplaySettings
from tests.support.replay_tapes import Step


class Slot(NamedTuple):
    """A step, or padding; `images` are the slots of its stack, newest last."""

    step: Step | None
    images: list[int]


class Row(NamedTuple):
    """One row of a sequence; without a step it shows only an observation, or nothing."""

    step: Step | None = None
    observation: NDArray[Any] | None = None
    previous: Step | None = None


@dataclass
class Segment:
    """Steps of an episode without a gap, and the final observation if it was truncated."""

    steps: list[int] = field(default_factory=list)
    is_whole: bool = True
    ended: bool = False
    final: NDArray[Any] | None = None
    final_slot: int = -1


@dataclass(frozen=True)
class Item:
    """Steps to learn from: their segment and the index of the first."""

    segment: Segment
    start: int


class LiteralRing:
    """Slots of one simulator from the very first one on."""

    def __init__(self, settings: ReplaySettings) -> None:
        self.settings = settings
        self.slots: list[Slot] = []
        self.segments: list[Segment] = []
        self._stack: list[int] = []
        self._seen: NDArray[Any] | None = None

    def append(self, step: Step, following: NDArray[Any], *, is_gap: bool = False) -> None:
        """Append the next step, or one before which steps are missing."""
        if is_gap and self.segments and not self.segments[-1].ended:
            assert self._seen is not None
            self._finish(self._seen)
        if step.is_reset:
            self._stack = []
            return
        if step.is_first or is_gap or not self.segments:
            self.segments.append(Segment(is_whole=step.is_first))
            self._start_stack(step)
        segment = self.segments[-1]
        segment.steps.append(len(self.slots))
        self._stack = [*self._stack, len(self.slots)][-self.settings.frame_stack :]
        self.slots.append(Slot(step, self._stack))
        self._seen = following
        segment.ended = step.terminated
        if step.truncated:
            self._finish(step.final)

    def _finish(self, final: NDArray[Any]) -> None:
        """Truncate the last segment."""
        segment = self.segments[-1]
        last = segment.steps[-1]
        step = self.slots[last].step
        assert step is not None
        self.slots[last] = Slot(replace(step, truncated=True), self.slots[last].images)
        segment.ended, segment.final, segment.final_slot = True, final, len(self.slots)
        images = [*self.slots[last].images, len(self.slots)][-self.settings.frame_stack :]
        self.slots.append(Slot(None, images))
        self._stack = []

    def _start_stack(self, step: Step) -> None:
        """Append those older images of a stack that are neither the last slots' nor zero."""
        count = self.settings.frame_stack
        if count == 1:
            return
        if self._stack:
            newest = self.slots[self._stack[-1]].step
            assert newest is not None
            if (newest.observation[1:] == step.observation[:-1]).all():
                return
        self._stack = []
        for image in step.observation[:-1]:
            if self._stack or image.any():
                self._stack.append(len(self.slots))
                self.slots.append(Slot(None, []))

    def step(self, slot: int) -> Step:
        found = self.slots[slot].step
        assert found is not None
        return found

    def items(self) -> dict[int, Item]:
        """All items that have ever been whole and of which nothing is overwritten, by position."""
        length, tail = self.settings.learned_steps, len(self.slots) - self.settings.slots
        found = {}
        for segment in self.segments:
            first = 0 if segment.is_whole else length + self.settings.burn_in - 1
            for start in range(first, len(segment.steps), length):
                item = Item(segment, start)
                is_complete = segment.ended or start + length + self.settings.n_steps <= len(
                    segment.steps
                )
                if is_complete and min(self.needed(item)) >= tail:
                    found[segment.steps[start]] = item
        return found

    def needed(self, item: Item) -> list[int]:
        steps, start = item.segment.steps, item.start
        first = max(0, start - self.settings.burn_in)
        shown = [steps[i] for i in range(first, start + 1)]
        has_previous = self.settings.learned_steps > 1 and first > 0
        previous = [steps[first - 1]] if has_previous else []
        return previous + [image for slot in shown for image in self.slots[slot].images]

    def learned(self, item: Item) -> list[int]:
        stop = item.start + self.settings.learned_steps
        return item.segment.steps[item.start : stop]

    def rows(self, item: Item) -> list[Row]:
        segment, settings = item.segment, self.settings
        rows = []
        for i in range(
            item.start - settings.burn_in, item.start + settings.learned_steps + settings.n_steps
        ):
            previous = self.step(segment.steps[i - 1]) if 0 < i <= len(segment.steps) else None
            if 0 <= i < len(segment.steps):
                step = self.step(segment.steps[i])
                rows.append(Row(step, step.observation, previous))
            elif i == len(segment.steps) and segment.final is not None:
                rows.append(Row(None, segment.final, previous))
            else:
                rows.append(Row())
        return rows

    def state(self, item: Item) -> NDArray[np.float32]:
        first = item.start - self.settings.burn_in
        if first <= 0 and item.segment.is_whole:
            return np.zeros(2, np.float32)
        return self.step(item.segment.steps[first]).state

    def transition(self, item: Item, discount: float) -> tuple[float, float, NDArray[Any] | None]:
        """Return the n-step return, its discount and the observation to bootstrap from."""
        segment, total = item.segment, 0.0
        for j in range(self.settings.n_steps):
            step = self.step(segment.steps[item.start + j])
            total += discount**j * step.reward
            if step.terminated:
                return total, 0.0, None
            if step.truncated:
                return total, discount ** (j + 1), segment.final
        following = segment.steps[item.start + self.settings.n_steps]
        return total, discount**self.settings.n_steps, self.step(following).observation
