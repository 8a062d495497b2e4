"""The same learning on a CUDA device: run with `make test-gpu` on a machine that has one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gala_rl.agent import Agent, build_agent
from gala_rl.config import TrainConfig
from gala_rl.experiment.evaluate import evaluate
from gala_rl.experiment.train import resume, train
from gala_rl.gossip import SharedMailboxes
from gala_rl.trajectory import Trajectory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
CONFIG = TrainConfig(learners=2, simulators=4, device="cuda")


def on(device: torch.device, trajectory: Trajectory) -> Trajectory:
    return Trajectory(**{name: x.to(device) for name, x in vars(trajectory).items()})


def pair(device: torch.device) -> tuple[Agent, Agent]:
    """Two learners of Pong that hear each other through shared memory."""
    size = len(build_agent(CONFIG, 0, SharedMailboxes(2, 1).transport(0), CPU, 0).gossip.parameters)
    mailboxes = SharedMailboxes(2, size)
    first, second = (
        build_agent(CONFIG, rank, mailboxes.transport(rank), device, seed=rank) for rank in range(2)
    )
    return first, second


def test_an_update_on_the_gpu_is_that_on_the_cpu() -> None:
    (host, _), (device, _) = pair(CPU), pair(CUDA)
    trajectory = host.actor.collect()
    expected = host.learner.update(trajectory, 1e-3)
    got = device.learner.update(on(CUDA, trajectory), 1e-3)
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(got, name).cpu(), value, rtol=1e-2, atol=1e-4)


def test_learners_on_the_gpu_mix_what_crosses_shared_memory() -> None:
    first, second = pair(CUDA)
    first.step(1e-3)
    sent = first.learner.flat.values.clone()
    trajectory = second.actor.collect()
    second.learner.update(trajectory, 1e-3)
    own = second.learner.flat.values.clone()
    assert second.gossip.exchange() == 1
    torch.testing.assert_close(second.learner.flat.values, (sent + own) / 2)
    assert second.learner.flat.values.is_cuda


@pytest.mark.parametrize("serial", [False, True])
def test_a_run_trains_resumes_and_is_evaluated(tmp_path: Path, serial: bool) -> None:
    protocol = replace(CONFIG.atari, max_episode_frames=400)
    run = str(tmp_path / "run")
    summary = train(replace(CONFIG, steps=2_000, serial=serial, out=run, atari=protocol))
    assert summary["mixes"] > 0
    assert resume(run, steps=4_000)["agent_steps"] >= 4_000
    (result,) = evaluate(run, episodes=1)["results"]
    assert len(result["returns"]) == 1
