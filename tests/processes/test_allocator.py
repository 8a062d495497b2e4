"""Freed memory is used again instead of being fetched anew from the kernel."""

import multiprocessing
import resource
import sys
from multiprocessing.connection import Connection

import pytest
import torch

from gala_rl.agent import build_agent
from gala_rl.config.train import TrainConfig
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.resolving import resolve
from gala_rl.processes.allocator import keep_freed_memory

JOIN_S = 60.0
WARM_UP, UPDATES = 2, 2


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def faults_of_updates(answer: Connection) -> None:
    """Page faults per update of the network for images at the papers' sizes, before and after."""
    config = resolve(TrainConfig(method="a2c", env="PongNoFrameskip-v4", network_threads=1))
    transport = MemoryNetwork(1).transport(0)
    agent = build_agent(config, 0, transport, torch.device("cpu"), seed=0)

    def measure() -> float:
        for _ in range(WARM_UP):
            agent.step(7e-4)
        before = page_faults()
        for _ in range(UPDATES):
            agent.step(7e-4)
        return (page_faults() - before) / UPDATES

    default = measure()
    answer.send((default, measure() if keep_freed_memory() else None))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is on Linux")
def test_an_update_causes_next_to_no_page_faults() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=faults_of_updates, args=(theirs,))
    process.start()
    assert ours.poll(JOIN_S)
    default, kept = ours.recv()
    process.join(JOIN_S)
    if kept is None:
        pytest.skip("the C library has no mallopt")
    assert kept < default / 10, "or the C library keeps memory by itself: this is needless then"
