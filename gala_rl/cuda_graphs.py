"""Records a computation on fixed memory as a CUDA graph, and replays it."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

_CALLS_BEFORE_CAPTURE = 3
"""cuDNN and cuBLAS choose and allocate in their first calls, which must not be recorded."""

_Result = TypeVar("_Result")


class Captured(Generic[_Result]):
    """Calls a function; on a GPU its kernels are recorded once and replayed from then on.

    At the sizes of reinforcement learning a launch costs more than its kernel: one launch for all
    of them spares most of an update's time.

    Args:
        function: function that reads and writes only fixed memory, never waits for the device,
            and returns the same tensors each time.
        device: device of the computation; on the CPU the function is simply called.
        generator: generator that it draws from, if any.
    """

    def __init__(
        self,
        function: Callable[[], _Result],
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        self._function = function
        self._is_cuda = device.type == "cuda"
        self._generator = generator
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: _Result | None = None

    def __call__(self) -> _Result:
        """Run the function, or replay its kernels; on a GPU returns the same tensors each time."""
        if not self._is_cuda or self._calls < _CALLS_BEFORE_CAPTURE:
            self._calls += 1
            return self._function()
        if self._graph is None:
            self._graph, self._result = self._capture()
        self._graph.replay()
        return self._result  # type: ignore[return-value]

    def _capture(self) -> tuple[torch.cuda.CUDAGraph, _Result]:
        """Record the kernels; recording executes nothing."""
        graph = torch.cuda.CUDAGraph()
        if self._generator is not None:
            graph.register_generator_state(self._generator)
        torch.cuda.synchronize()
        # Other threads, such as those that upload, may call CUDA meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = self._function()
        return graph, result
