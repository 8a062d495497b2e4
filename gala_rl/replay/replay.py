"""Replays of n-step transitions, and of sequences for recurrent networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.replay.batches import SampleKeys, SequenceBatch, TransitionBatch
from gala_rl.replay.item_index import ItemIndex
from gala_rl.replay.placement import rollout_of
from gala_rl.replay.priority_tree import PriorityTree
from gala_rl.replay.settings import ReplaySettings
from gala_rl.replay.step_ring import StepRing, memory_bytes
from gala_rl.trajectory import Trajectory


class Replay:
    """Stores the last steps of all simulators, with a priority for every item of them.

    Args:
        settings: size and content.
        needs_previous: whether an item needs the step before its first row too.

    Attributes:
        settings: size and content.
        importance_exponent: exponent of importance weights; may be changed between samples.
    """

    def __init__(self, settings: ReplaySettings, *, needs_previous: bool) -> None:
        self.settings = settings
        self.importance_exponent = settings.importance_exponent
        self._ring = StepRing(settings)
        self._items = ItemIndex(self._ring, needs_previous=needs_previous)

    @staticmethod
    def memory_bytes(settings: ReplaySettings) -> int:
        """Return the memory that a replay of these settings will take."""
        tree = PriorityTree.memory_bytes(settings.simulators * settings.slots)
        return memory_bytes(settings) + tree

    @property
    def bytes_per_step(self) -> float:
        """Memory per agent step."""
        return self.memory_bytes(self.settings) / self.settings.size

    @property
    def size_agent_steps(self) -> int:
        """Agent steps that are stored."""
        return self._ring.steps

    @property
    def items(self) -> int:
        """Number of items that can be sampled."""
        return self._items.count

    def add(
        self,
        trajectory: Trajectory,
        priorities: Tensor | None = None,
        simulators: NDArray[np.int64] | None = None,
    ) -> None:
        """Store a rollout, in place of the oldest steps of its simulators.

        A rollout that does not begin where its simulator's last one stopped begins a new part of
        an episode: the one before is treated as truncated.

        Args:
            trajectory: rollout [T, b] with integer actions, with `final_observations`, and with
                `states` if the network is recurrent.
            priorities: [T, b] |TD error| of its steps, NaN where unknown. Items of which none is
                known get the highest priority so far; default: all.
            simulators: [b] simulator per column; one that is repeated has made its rollouts in
                this order. Default: 0 … b - 1.

        Raises:
            UserError: if the rollout is longer than the replay.
        """
        rollout = rollout_of(trajectory, self.settings)
        errors = None if priorities is None else priorities.detach().cpu().numpy()
        if simulators is None:
            simulators = np.arange(rollout.rewards.shape[1])
        turns = np.array([(simulators[:b] == s).sum() for b, s in enumerate(simulators)])
        for turn in range(turns.max() + 1):
            columns = np.flatnonzero(turns == turn)
            rings, part = simulators[columns], rollout.columns(columns)
            if len(broken := self._ring.broken(part, rings)) > 0:
                self._items.leave(broken, self._ring.cursor.heads[broken] + 1)
                self._ring.end(broken)
                self._items.enter(broken)
            placement = self._ring.place(part, rings)
            self._items.leave(rings, placement.cursor.heads)
            self._ring.write(part, placement, None if errors is None else errors[:, columns])
            self._items.enter(rings)

    def ages(self, keys: SampleKeys) -> NDArray[np.int64]:
        """Return [N]: how many agent steps ago, of all simulators, sampled items began.

        Final observations of truncated episodes count as steps.
        """
        newest = self._ring.cursor.heads[keys.simulator]
        return (newest - keys.position) * self.settings.simulators

    def update_priorities(self, keys: SampleKeys, priorities: Tensor) -> None:
        """Set the priorities of sampled items, before the exponent.

        Items that have been overwritten meanwhile are left out, and so are priorities that are not
        finite. Where an item is repeated, its last priority counts.

        Args:
            keys: of a batch.
            priorities: [N] not negative.
        """
        self._items.update(keys, priorities.detach().cpu().double().numpy())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything stored as views by name; save them before the next `add`.

        Each is small enough to be saved on its own: images are split by simulator.
        """
        used = min(int(self._ring.cursor.heads.max()), self.settings.slots)
        tree = self._items.tree.leaves.reshape(self.settings.simulators, -1)
        return dict(self._ring.parts(used)) | {
            "items.entered": self._items.entered,
            "items.highest": self._items.highest,
            "items.priorities": tree[:, :used],
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the state of a replay with the same settings; it is read array by array.

        Raises:
            ValueError: if an array is missing, or cannot be that of such a replay.
        """
        heads = self._ring.cursor.heads
        self._check_alike(arrays, {"cursor.heads": heads})
        heads[:] = arrays["cursor.heads"]
        self._check_alike(arrays, self.state())
        for name, mine in self.state().items():
            mine[...] = arrays[name]
        cursor, entered = self._ring.cursor, self._items.entered
        priorities = self._items.tree.leaves
        if not (
            ((cursor.closed >= 0) & (cursor.closed <= heads)).all()
            and ((entered >= 0) & (entered <= heads)).all()
            and np.isfinite(priorities).all()
            and (priorities >= 0.0).all()
        ):
            raise ValueError("the saved replay has positions or priorities that are impossible")
        self._ring.recount()
        self._items.recount()

    @staticmethod
    def _check_alike(arrays: Mapping[str, NDArray[Any]], like: Mapping[str, NDArray[Any]]) -> None:
        for name, mine in like.items():
            saved = arrays.get(name)
            if saved is None or (saved.shape, saved.dtype) != (mine.shape, mine.dtype):
                raise ValueError(f"the saved replay has no {name} of shape {mine.shape}")


class TransitionReplay(Replay):
    """Replay of n-step transitions; every step is the first of one.

    Args:
        settings: size and content; without burn-in, with one learned step.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        super().__init__(settings, needs_previous=False)
        self._powers = settings.discount ** np.arange(settings.n_steps + 1)

    def sample(self, count: int, rng: np.random.Generator) -> TransitionBatch:
        """Draw N transitions in proportion to their priorities.

        Raises:
            ValueError: if there are none.
        """
        keys, weights = self._items.sample(count, rng, self.importance_exponent)
        rings, first = keys.simulator, keys.position
        rows = first + np.arange(self.settings.n_steps)[:, None]
        everywhere = np.broadcast_to(rings, rows.shape)
        alive = self._ring.alive(rings, first, self.settings.n_steps)
        rewards = np.where(alive, self._ring.read("rewards", everywhere, rows), np.float32(0.0))
        terminated = (alive & self._ring.read("terminated", everywhere, rows)).any(axis=0)
        steps = alive.sum(axis=0)
        returns = self._powers[:-1] @ rewards
        discounts = np.where(terminated, 0.0, self._powers[steps])
        return TransitionBatch(
            observations=self._ring.observations(rings, first),
            actions=torch.from_numpy(self._ring.read("actions", rings, first)).long(),
            returns=torch.from_numpy(returns).float(),
            discounts=torch.from_numpy(discounts).float(),
            next_observations=self._ring.observations(
                rings, np.where(terminated, first, first + steps)
            ),
            weights=torch.from_numpy(weights),
            keys=keys,
        )


class SequenceReplay(Replay):
    """Replay of sequences with burn-in and stored states.

    "Recurrent Experience Replay in Distributed Reinforcement Learning", Kapturowski et al. 2019.
    Sequences of an episode overlap by their burn-in and by the n steps that returns need.

    Args:
        settings: size and content.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        super().__init__(settings, needs_previous=True)

    def sample(self, count: int, rng: np.random.Generator) -> SequenceBatch:
        """Draw N sequences in proportion to their priorities.

        Raises:
            ValueError: if there are none.
        """
        settings, ring = self.settings, self._ring
        keys, weights = self._items.sample(count, rng, self.importance_exponent)
        simulators, first = keys.simulator, keys.position
        burn_in = np.minimum(ring.read("offsets", simulators, first), settings.burn_in)
        length = settings.learned_steps + settings.n_steps
        rows = np.arange(-settings.burn_in, length)[:, None]
        positions, rings = first + rows, np.broadcast_to(simulators, (len(rows), count))
        is_step = rows >= -burn_in
        is_step[settings.burn_in :] = ring.alive(simulators, first, length)
        truncated = is_step & ring.read("truncated", rings, positions)
        is_final = np.zeros_like(is_step)
        is_final[1:] = truncated[:-1]
        offsets = ring.read("offsets", rings, positions)
        has_previous = is_final | (is_step & (offsets > 0))

        def field(name: str, shown: NDArray[np.bool_], back: int = 0, other: int = 0) -> Tensor:
            values = ring.read(name, rings, positions - back)
            return torch.from_numpy(np.where(shown, values, values.dtype.type(other)))

        return SequenceBatch(
            observations=ring.observations(rings, positions, is_step | is_final),
            actions=field("actions", is_step).long(),
            rewards=field("rewards", is_step),
            previous_actions=field("actions", has_previous, back=1, other=-1).long(),
            previous_rewards=field("rewards", has_previous, back=1),
            terminated=field("terminated", is_step),
            truncated=torch.from_numpy(truncated),
            is_first=torch.from_numpy(is_step & (offsets == 0)),
            is_learned=torch.from_numpy(is_step[settings.burn_in :][: settings.learned_steps]),
            state=torch.from_numpy(ring.states(simulators, first - burn_in)),
            weights=torch.from_numpy(weights),
            keys=keys,
        )
