"""Shared memory for one step of B simulators in worker processes, without locks.

A worker owns its rows from a command until its answer; at all other times the process that sends
the commands owns them. A command and its answer are one byte each, through a socket, which also
orders memory: what was written before the byte was sent is visible to the process that has
received it. So a half-written row of a killed worker is never read.

Neither this module nor the workers import PyTorch, so workers are small and start fast.
"""

from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gala_rl.spaces import ActionSpec, ObservationSpec


class Step(NamedTuple):
    """Views of some rows of the shared memory.

    Attributes:
        observations, rewards, terminated, truncated: see `Transition`.
        final_observations: last observations of truncated simulators, in their rows.
        actions: [B] or [B, A] actions of the next step.
        failures: [B] number of times that each simulator was rebuilt.
        failures_in_a_row: [B] failures since its last good step.
        seed: [B] seed of the latest reset, the same in all rows.
        stagger: [B] most random steps after the next reset, the same in all rows.
        heartbeat: [B] heartbeat of each worker, in the first of its rows.
    """

    observations: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observations: NDArray[Any]
    actions: NDArray[Any]
    failures: NDArray[np.int64]
    failures_in_a_row: NDArray[np.int64]
    seed: NDArray[np.int64]
    stagger: NDArray[np.int64]
    heartbeat: NDArray[np.int64]


class StepMemory:
    """Shared memory of all simulators; pass it to each worker as an argument.

    It has no name in the file system: the kernel frees it with the last process that maps it.

    Args:
        count: B.
        observation: observation of one simulator.
        action: action of one simulator.
    """

    def __init__(self, count: int, observation: ObservationSpec, action: ActionSpec) -> None:
        observations = (observation.shape, np.uint8 if observation.is_image else np.float32)
        is_one = action.is_discrete and not action.sizes
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "observations": observations,
            "rewards": ((), np.float32),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
            "final_observations": observations,
            "actions": (
                () if is_one else (action.size,),
                np.int64 if action.is_discrete else np.float32,
            ),
            "failures": ((), np.int64),
            "failures_in_a_row": ((), np.int64),
            "seed": ((), np.int64),
            "stagger": ((), np.int64),
            "heartbeat": ((), np.int64),
        }
        self._fields = {
            name: (_allocate(count, shape, dtype), (count, *shape), dtype)
            for name, (shape, dtype) in layout.items()
        }

    def rows(self, rows: slice) -> Step:
        """Return views of some rows."""
        return Step(
            **{
                name: np.frombuffer(memory, dtype).reshape(shape)[rows]
                for name, (memory, shape, dtype) in self._fields.items()
            }
        )


def _allocate(count: int, shape: tuple[int, ...], dtype: Any) -> Any:
    make: Callable[..., Any] = RawArray
    return make("B", count * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
