"""Off the GPU a captured function is the function itself; what it does there: test_gpu.py."""

import torch

from gala_rl.cuda_graphs import Captured


def test_on_the_cpu_every_call_is_a_call() -> None:
    calls: list[int] = []

    def count() -> int:
        calls.append(1)
        return len(calls)

    captured = Captured(count, torch.device("cpu"))
    assert [captured() for _ in range(10)] == list(range(1, 11))
