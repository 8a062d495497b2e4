"""Memory of one step of B simulators that their processes and their owner share, without locks.

A row belongs to one process while that process has a command, and to the owner before and after. A
command and its answer are a byte each through a socket between the two, which also orders memory:
what was written before the byte was sent is seen by whoever has received it. So what a process that
is killed has half written was never handed over.

There is no PyTorch in it, nor in the processes: they are small, and there soon.
"""

from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gala_rl.spaces import ActionSpec, ObservationSpec


class Step(NamedTuple):
    """Rows of the shared memory.

    Attributes:
        observations, rewards, terminated, truncated: see `Transition`.
        final_observations: rows of truncated simulators hold their last observation.
        actions: [B] or [B, A] to be made.
        failures: [B] how often each simulator was built anew.
        failures_in_a_row: [B] of these, since its last good step.
        seed: [B] the same for all, of the last reset.
        heartbeat: [B] where the first of a process shows its signs of life.
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
    heartbeat: NDArray[np.int64]


class StepMemory:
    """The shared memory; pass it to each process as an argument.

    It has no name in the file system: it goes with the last process that maps it.

    Args:
        count: B.
        observation: of one simulator.
        action: of one simulator.
    """

    def __init__(self, count: int, observation: ObservationSpec, action: ActionSpec) -> None:
        seen = (observation.shape, np.uint8 if observation.is_image else np.float32)
        is_one = action.is_discrete and not action.sizes
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "observations": seen,
            "rewards": ((), np.float32),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
            "final_observations": seen,
            "actions": (
                () if is_one else (action.size,),
                np.int64 if action.is_discrete else np.float32,
            ),
            "failures": ((), np.int64),
            "failures_in_a_row": ((), np.int64),
            "seed": ((), np.int64),
            "heartbeat": ((), np.int64),
        }
        self._fields = {
            name: (_allocate(count, shape, dtype), (count, *shape), dtype)
            for name, (shape, dtype) in layout.items()
        }

    def rows(self, rows: slice) -> Step:
        """Views of some simulators' rows."""
        return Step(
            **{
                name: np.frombuffer(memory, dtype).reshape(shape)[rows]
                for name, (memory, shape, dtype) in self._fields.items()
            }
        )


def _allocate(count: int, shape: tuple[int, ...], dtype: Any) -> Any:
    make: Callable[..., Any] = RawArray
    return make("B", count * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
