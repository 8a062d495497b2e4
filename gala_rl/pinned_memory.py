"""Pinned host memory, through which simulators' answers are uploaded to a GPU without waiting."""

from dataclasses import replace

import torch
from torch import Tensor

from gala_rl.trajectory import Trajectory


def host_twin(storage: Trajectory) -> Trajectory:
    """Return where simulators' answers go first: the storage itself, or its pinned twin on a GPU.

    Every step has a place of its own, so that no upload is overwritten before it is done.
    """
    if not storage.rewards.is_cuda:
        return storage

    def twin(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device="cpu", pin_memory=True)

    return replace(
        storage,
        observations=twin(storage.observations),
        rewards=twin(storage.rewards),
        terminated=twin(storage.terminated),
        truncated=twin(storage.truncated),
        is_first=twin(storage.is_first),
    )
