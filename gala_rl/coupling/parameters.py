"""Shares one parameter vector and one optimiser among all learners, in shared memory.

Each learner computes its gradient at its own copy of the parameters, applies it to the shared ones,
and copies the result back, with which it acts next. Two forms:

* Without locks ("Hogwild"): "Asynchronous Methods for Deep Reinforcement Learning", Mnih et al.
  2016, with RMSprop's statistics shared. If two learners step the same parameters at the same
  time, one of the steps may be lost; no learner ever waits.
* Chunk by chunk with a lock per chunk: "Accelerated Methods for Deep Reinforcement Learning",
  Stooke and Abbeel 2018. No step is lost, and a chunk is never read half-way.

Running moments, behind the learned parameters, are updated in the same two ways.
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
"""As in the paper's code: while a learner steps a chunk, others can step the rest."""
_ALIGNMENT = 64
"""Chunks begin at multiples of this many floats: no two share a cache line, and vector
instructions split them as they would split the whole."""


class SharedParameters:
    """Shared parameters; pass them to each learner's process as an argument. A `Coupling`.

    Args:
        initial: [P] parameters at the start.
        settings: settings of the optimiser.
        lock_file: file for the locks of the chunks; None for one chunk without a lock.
        deadline_s: longest wait for a lock, seconds.
        learned: number of learned parameters, which come first; None for all.

    Attributes:
        parameters: [P] of all learners.
        optimizer_state: [S] of all learners: the states of the chunks, one behind the other.
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
        self._slices = [slice(start, start + chunk) for start in range(0, size, chunk)]
        self.parameters = shared_zeros((size,), torch.float32).copy_(initial)
        states = sum(state_size(settings, len(part)) for part in self.chunks(initial))
        self.optimizer_state = shared_zeros((states,), torch.float32)
        self._lock_file, self._deadline_s = lock_file, deadline_s
        self._locks: FileLocks | None = None
        self._optimizers(settings, fresh=True)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned; before any learner starts."""
        self.parameters.copy_(tensors["parameters"])
        self.optimizer_state.copy_(tensors["optimizer"])

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint."""
        return {"parameters": self.parameters, "optimizer": self.optimizer_state}

    def average(self, grads: Tensor) -> None:
        """Leave the gradient as it is; see `Coupling`."""

    def make_optimizer(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor
    ) -> Optimizer:
        """Return an optimizer that steps the shared parameters; see `Coupling`.

        Args:
            parameters: [P] the learner's own copy.
            settings: settings of the optimiser.
            memory: not used, since statistics are shared.
        """
        if self._lock_file is not None:
            self._locks = FileLocks(self._lock_file, self._deadline_s)
        return SharedOptimizer(self, self._optimizers(settings), parameters)

    @contextmanager
    def lock(self, chunk: int) -> Iterator[None]:
        """Lock a chunk, if there are locks.

        Raises:
            TimeoutError: when another learner holds it for too long.
        """
        if self._locks is None:
            yield
            return
        with self._locks.acquire(chunk):
            yield

    @contextmanager
    def counting(self, moments: Tensor) -> Iterator[None]:
        """Copy the shared running moments [M] in, and back afterwards; see `Coupling`.

        Raises:
            TimeoutError: when another learner holds them for too long.
        """
        shared = self.parameters[-len(moments) :]
        begin = len(self.parameters) - len(moments)
        with ExitStack() as locks:
            for chunk, part in enumerate(self._slices):
                if part.stop > begin:
                    locks.enter_context(self.lock(chunk))
            moments.copy_(shared)
            yield
            shared.copy_(moments)

    def chunks(self, vector: Tensor) -> list[Tensor]:
        """Split a vector [P] into the parts that are stepped one after the other."""
        return [vector[part] for part in self._slices]

    def _optimizers(self, settings: AlgorithmSettings, fresh: bool = False) -> list[Optimizer]:
        """Return an optimizer per chunk, all on the shared memory."""
        optimizers, start = [], 0
        for part in self.chunks(self.parameters):
            end = start + state_size(settings, len(part))
            state, start = self.optimizer_state[start:end], end
            optimizers.append(make_optimizer(part, settings, state, fresh=fresh))
        return optimizers

    def close(self) -> None:
        """Remove the lock file, once all learners have ended."""
        if self._lock_file is not None:
            self._lock_file.unlink(missing_ok=True)


class SharedOptimizer:
    """Steps the shared parameters along one learner's gradient; an `Optimizer`.

    Args:
        shared: parameters of all learners.
        optimizers: optimizers of its chunks.
        parameters: [P] the learner's own copy, overwritten here; each step overwrites its learned
            part.
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
            FloatingPointError: when the gradient is not finite; the parameters are then unchanged.
            TimeoutError: when another learner holds a chunk for too long.
        """
        if out is not None:
            raise ValueError("shared parameters are updated in place")
        if not torch.isfinite(grads.sum()):
            raise FloatingPointError("the gradient is not finite: it is not shared")
        # Only `counting` copies running moments, so that all steps of an update see the same ones.
        learned = (v[: self._shared.learned] for v in (self._shared.parameters, self._parameters))
        chunks = zip(
            self._optimizers, *map(self._shared.chunks, (grads.cpu(), *learned)), strict=True
        )
        norms = []
        for number, (optimizer, grad, shared, own) in enumerate(chunks):
            with self._shared.lock(number):
                norms.append(optimizer.step(grad, learning_rate))
                own.copy_(shared)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm
