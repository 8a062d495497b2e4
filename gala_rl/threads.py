"""Chooses CPU threads for a network's passes: more than one only if the pass is large enough.

A pass on small matrices waits longer for its second thread than the thread saves: with 64 units and
16 observations it takes five times as long on two threads as on one, and longer still beside other
programs. The threshold is measured by `python -m benchmarks.threads`; docs/performance.md has the
table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.models.network import Network
from gala_rl.spaces import ObservationSpec

FLOP_PER_THREAD = 15e6
"""Floating-point operations of a forward pass per thread."""


class Threads(NamedTuple):
    """PyTorch's threads while a network acts and while it learns.

    Attributes:
        acting: threads of a pass on one observation per simulator.
        learning: threads of a gradient step.
        forward_flop: floating-point operations of the network per observation.
    """

    acting: int
    learning: int
    forward_flop: float


def forward_flop(network: Network, observation: ObservationSpec) -> float:
    """Return floating-point operations of a forward pass per observation: two per multiply-add.

    Args:
        network: network in which each dense layer is used once per observation.
        observation: spec of its input.
    """
    dtype = torch.uint8 if observation.is_image else torch.float32
    device = next(network.parameters()).device
    example = torch.zeros((1, *observation.shape), dtype=dtype, device=device)
    counted = [2.0 * p.numel() for p in network.parameters() if p.dim() == 2]

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counted.append(2.0 * layer.weight.numel() * output.shape[-2:].numel())

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network.values(example, network.initial_state(1))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def threads_for(flop: float, cores: int) -> int:
    """Return the threads for a forward pass with this many floating-point operations."""
    return max(1, min(cores, int(flop / FLOP_PER_THREAD)))


def learner_threads(config: ResolvedConfig, flop: float, device: torch.device) -> Threads:
    """Return the threads of a learner, given `forward_flop` of its network."""
    if config.network_threads is not None:
        return Threads(config.network_threads, config.network_threads, flop)
    cores, algorithm = config.threads_per_learner(), config.algorithm
    if device.type != "cpu":
        return Threads(cores, cores, flop)
    batch = algorithm.minibatch_size(config.update_agent_steps)
    return Threads(
        threads_for(flop * config.simulators, cores),
        threads_for(flop * batch, cores),
        flop,
    )


def actor_threads(config: ResolvedConfig, flop: float, simulators: int) -> int:
    """Return the threads of an actor process; actors share the cores that their learner leaves."""
    if config.network_threads is not None:
        return config.network_threads
    cores = (config.threads_per_learner() - 1) * simulators // config.simulators
    return threads_for(flop * simulators, cores)


@contextmanager
def threads_set_to(count: int) -> Iterator[None]:
    """Set PyTorch's number of threads within a `with` block, and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
