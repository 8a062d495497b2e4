"""One parameter vector and one optimiser for all learners, in shared memory, stepped by each.

Each learner computes its gradient at its own copy of the parameters, applies it to those of all,
and copies the result back, which is what it acts with next. Two forms:

* Without locks ("Hogwild"): "Asynchronous Methods for Deep Reinforcement Learning", Mnih et al.
  2016, with RMSprop's statistics shared. Steps of two learners at the same numbers at the same
  time may lose one of them; nobody ever waits.
* Chunk by chunk under a lock for each chunk: "Accelerated Methods for Deep Reinforcement
  Learning", Stooke and Abbeel 2018. No step is lost, and a chunk is never read half-way.

Running moments, behind the parameters that learn, are brought up to date in the same two ways.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.coupling.locks import FileLocks
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.learners.optimizers import Optimizer, make_optimizer, state_size

LOCKED_CHUNKS = 3
"""As in the paper's release: others may work on the chunks that one is done with."""
_ALIGNMENT = 64
"""Chunks begin at multiples of so many floats: no two share a cache line, and vector
instructions cut them up as they would cut the whole."""


class SharedParameters:
    """The shared memory; pass it to each learner's process as an argument. A `Coupling`.

    Args:
        initial: [P] parameters to begin with.
        settings: of the optimiser.
        lock_file: for the locks of the chunks; None: one chunk and no lock.
        deadline_s: longest wait for a lock, seconds.
        learned: length of the first part of the parameters, which gradients change; None: all.

    Attributes:
        parameters: [P] of all learners.
        optimizer_state: [S] of all learners; each chunk's own, one behind the other.
        learned: as given.
    """

    def __init__(
        self,
        initial: Tensor,
        settings: AlgorithmSettings,
        lock_file: Path | None,
        deadline_s: float,
        learned: int | None = None,
    ) -> None:
        size = initial.numel()
        self.learned = size if learned is None else learned
        chunk = -(-size // (1 if lock_file is None else LOCKED_CHUNKS))
        chunk = -(-chunk // _ALIGNMENT) * _ALIGNMENT
        self._places = [slice(start, start + chunk) for start in range(0, size, chunk)]
        self.parameters = shared_zeros((size,), torch.float32).copy_(initial)
        states = sum(state_size(settings, len(part)) for part in self.chunks(initial))
        self.optimizer_state = shared_zeros((states,), torch.float32)
        self._lock_file, self._deadline_s = lock_file, deadline_s
        self._locks: FileLocks | None = None
        self._optimizers(settings, fresh=True)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` told; before any learner starts."""
        self.parameters.copy_(tensors["parameters"])
        self.optimizer_state.copy_(tensors["optimizer"])

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it."""
        return {"parameters": self.parameters, "optimizer": self.optimizer_state}

    def average(self, grads: Tensor) -> None:
        """Gradients stay their learner's own; see `Coupling`."""

    def make_optimizer(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor
    ) -> Optimizer:
        """One learner's hand on the optimiser of all; see `Coupling`.

        Args:
            parameters: [P] the learner's own copy.
            settings: of the optimiser.
            memory: left alone, since statistics are shared.
        """
        if self._lock_file is not None:
            self._locks = FileLocks(self._lock_file, self._deadline_s)
        return SharedOptimizer(self, self._optimizers(settings), parameters)

    @contextmanager
    def hold(self, chunk: int) -> Iterator[None]:
        """Keep other learners' processes from a chunk, if there are locks.

        Raises:
            TimeoutError: when another learner holds it for too long.
        """
        if self._locks is None:
            yield
            return
        with self._locks.hold(chunk):
            yield

    @contextmanager
    def counting(self, moments: Tensor) -> Iterator[None]:
        """Lend the running moments [M] of all learners, and take them back; see `Coupling`.

        Raises:
            TimeoutError: when another learner holds them for too long.
        """
        shared = self.parameters[-len(moments) :]
        begin = len(self.parameters) - len(moments)
        with ExitStack() as held:
            for chunk, place in enumerate(self._places):
                if place.stop > begin:
                    held.enter_context(self.hold(chunk))
            moments.copy_(shared)
            yield
            shared.copy_(moments)

    def chunks(self, vector: Tensor) -> list[Tensor]:
        """The parts of a vector [P] that are stepped one after the other."""
        return [vector[place] for place in self._places]

    def _optimizers(self, settings: AlgorithmSettings, fresh: bool = False) -> list[Optimizer]:
        """One for each chunk, all on the shared memory."""
        optimizers, start = [], 0
        for part in self.chunks(self.parameters):
            end = start + state_size(settings, len(part))
            state, start = self.optimizer_state[start:end], end
            optimizers.append(make_optimizer(part, settings, state, fresh=fresh))
        return optimizers

    def close(self) -> None:
        """Remove the file of the locks, once all learners have ended."""
        if self._lock_file is not None:
            self._lock_file.unlink(missing_ok=True)


class SharedOptimizer:
    """Steps the parameters of all learners along one learner's gradient; an `Optimizer`.

    Args:
        shared: the parameters of all.
        optimizers: of its chunks.
        parameters: [P] the learner's own copy, brought up to date here and, what learns, by each
            step.
    """

    def __init__(
        self,
        shared: SharedParameters,
        optimizers: list[Optimizer],
        parameters: Tensor,
    ) -> None:
        self.state = shared.optimizer_state
        self._shared, self._optimizers, self._parameters = shared, optimizers, parameters
        parameters.copy_(shared.parameters)

    def step(
        self, grads: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Tensor:
        """See `Optimizer`; always in place.

        Raises:
            FloatingPointError: when the gradient is not finite; the parameters are as they were.
            TimeoutError: when another learner holds a chunk for too long.
        """
        if out is not None:
            raise ValueError("shared parameters are updated in place")
        if not torch.isfinite(grads.sum()):
            raise FloatingPointError("the gradient is not finite: it is not shared")
        # Running moments are taken over by `counting` alone, so that none of the steps of an update
        # changes what those before it have seen.
        learned = (v[: self._shared.learned] for v in (self._shared.parameters, self._parameters))
        chunks = zip(
            self._optimizers, *map(self._shared.chunks, (grads.cpu(), *learned)), strict=True
        )
        norms = []
        for number, (optimizer, grad, shared, own) in enumerate(chunks):
            with self._shared.hold(number):
                norms.append(optimizer.step(grad, learning_rate))
                own.copy_(shared)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm
