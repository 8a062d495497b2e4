"""For all tests: one torch thread, since a second only gets in the way of tiny networks."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)
