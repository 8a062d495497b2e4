"""A replay and its literal twin, fed with the same rollouts; and drawn settings of both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gala_rl.replay import ReplaySettings, SampleKeys, SequenceReplay, TransitionReplay
from gala_rl.spaces import ObservationSpec
from tests.support.replay_oracle import Item, LiteralRing
from tests.support.replay_tapes import Episode, Start, Steps, Tape, rollout

STEPS = 60
"""Steps that are added, at most."""
VECTOR, IMAGES = ObservationSpec((3,), False), ObservationSpec((4, 2, 2), True)
STARTS: list[Start] = ["zero", "repeat", "no-ops", "continue"]


@dataclass
class Twins:
    """Adds the same rollouts to both; `gaps` are the rollouts that get lost."""

    replay: SequenceReplay | TransitionReplay
    tapes: Sequence[Steps]
    steps: int
    gaps: frozenset[int] = frozenset()
    with_errors: bool = False
    rings: list[LiteralRing] = field(init=False, repr=False)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.pretty((self.replay.settings, self.tapes, self.steps, self.gaps, self.with_errors))

    def __post_init__(self) -> None:
        self.rings = [LiteralRing(self.replay.settings) for _ in self.tapes]

    def __iter__(self) -> Iterator[int]:
        """Add rollout after rollout."""
        is_gap = True
        for turn in range((STEPS - 1) // self.steps):
            if turn in self.gaps:
                is_gap = True
                continue
            start = turn * self.steps
            trajectory, errors = rollout(self.tapes, start, self.steps)
            self.replay.add(trajectory, errors if self.with_errors else None)
            for ring, tape in zip(self.rings, self.tapes, strict=True):
                for t in range(start, start + self.steps):
                    ring.append(tape[t], tape[t + 1].observation, is_gap=is_gap and t == start)
            is_gap = False
            yield turn

    def keys(self) -> SampleKeys:
        """Keys of all items that can be sampled."""
        items, ring = self.replay._items, self.replay._ring
        leaves = np.flatnonzero(items.tree.leaves)
        simulators, slots = np.divmod(leaves, self.replay.settings.slots)
        newest = ring.cursor.heads[simulators] - 1
        positions = newest - (newest - slots) % self.replay.settings.slots
        return SampleKeys(simulators, positions, leaves)

    def expected(self) -> dict[tuple[int, int], Item]:
        """The same of the literal twin."""
        return {(b, p): x for b, ring in enumerate(self.rings) for p, x in ring.items().items()}


def pairs(keys: SampleKeys) -> list[tuple[int, int]]:
    return list(zip(keys.simulator.tolist(), keys.position.tolist(), strict=True))


@st.composite
def settings(draw: st.DrawFn, *, sequences: bool, images: bool = False) -> ReplaySettings:
    burn_in = draw(st.integers(0, 5)) if sequences else 0
    learned = draw(st.integers(2, 5)) if sequences else 1
    n_steps, simulators = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    stack = 4 if images else 1
    least = burn_in + learned + n_steps + stack + 1
    return ReplaySettings(
        size=simulators * (least + draw(st.integers(0, 3) | st.integers(0, 40)))
        + draw(st.integers(0, simulators - 1)),
        simulators=simulators,
        observation=IMAGES if images else VECTOR,
        frame_stack=stack,
        state_size=2 if sequences else 0,
        burn_in=burn_in,
        learned_steps=learned,
        n_steps=n_steps,
        discount=draw(st.floats(0.1, 1.0)),
    )


@st.composite
def tapes(draw: st.DrawFn, of: ReplaySettings, has_resets: bool) -> list[Steps]:
    """Episodes of 1 step to 3 sequences that often end at the edges of a sequence."""
    burn_in, length = of.burn_in, of.burn_in + of.learned_steps
    edges = [x + 1 for x in (0, burn_in - 1, burn_in, length - 1, length, 2 * length) if x >= 0]
    episode = st.builds(
        Episode,
        st.sampled_from(edges) | st.integers(1, 3 * length),
        st.booleans(),
        st.sampled_from(STARTS),
    )
    found = []
    for _ in range(of.simulators):
        episodes = draw(st.lists(episode, min_size=1, max_size=12))
        # The last one goes on where others have more steps.
        whole = [*episodes, Episode(STEPS)]
        found.append(Tape(whole, of.frame_stack, has_resets, draw(st.integers(0, 99))).steps)
    return found


@st.composite
def twins(draw: st.DrawFn, *, sequences: bool, images: bool = False) -> Twins:
    chosen = draw(settings(sequences=sequences, images=images))
    made = draw(tapes(chosen, draw(st.booleans())))
    replay = SequenceReplay(chosen) if sequences else TransitionReplay(chosen)
    # The longest rollout that surely fits: padding may follow and precede every step.
    longest = min(9, chosen.slots // (1 + chosen.frame_stack))
    gaps = draw(st.frozensets(st.integers(0, 20), max_size=3))
    return Twins(replay, made, draw(st.integers(1, longest)), gaps, draw(st.booleans()))
