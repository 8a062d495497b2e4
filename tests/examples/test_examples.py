"""Every example runs, and does what it says."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.serial import run_serial

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Import an example by its file name, as its own learners do."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == EXAMPLES
    return module


def test_learners_of_a_regression_agree_on_the_true_line() -> None:
    lines = load("01_regression").main()
    assert len(lines) == 4
    for slope, intercept in lines:
        assert slope == pytest.approx(3.0, abs=0.05)
        assert intercept == pytest.approx(-1.0, abs=0.05)


def test_better_connected_learners_agree_sooner() -> None:
    rounds = load("02_consensus").main(16)
    assert rounds["complete"] == 1
    assert rounds["rotating_exponential"] == 4  # exact after log2(16) rounds
    assert rounds["exponential"] < rounds["directed_ring"]


def test_a_topology_of_ones_own_trains(tmp_path: Path) -> None:
    summary = load("03_own_topology").main(steps=4_000, folder=str(tmp_path))
    assert summary["agent_steps"] >= 4_000
    assert summary["mixes"] > 0
    assert len(summary["learners"]) == 4


def test_an_environment_of_ones_own_is_learned(tmp_path: Path) -> None:
    summary = load("04_own_environment").main(steps=60_000, folder=str(tmp_path))
    assert summary["mean_return"] > 0.8  # at best 0.91


@pytest.mark.parametrize("learners", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_the_single_file_equals_the_library_for_50_updates(tmp_path: Path, learners: int) -> None:
    # Bit for bit, with a norm that is never reached.
    theirs = library_parameters(tmp_path, learners, updates=50, max_grad_norm=1e9)
    ours = example_parameters(learners, updates=50, max_grad_norm=1e9)
    for rank in range(learners):
        assert torch.equal(ours[rank], theirs[rank])


@pytest.mark.parametrize("learners", [1, 4])
def test_the_single_file_clips_gradients_as_the_library_does(tmp_path: Path, learners: int) -> None:
    # The library takes the norm of one vector, the file of each parameter first: the last bit of
    # the norm may differ, and every update makes that difference grow. A few updates, therefore.
    theirs = library_parameters(tmp_path, learners, updates=10, max_grad_norm=0.2)
    ours = example_parameters(learners, updates=10, max_grad_norm=0.2)
    unclipped = example_parameters(learners, updates=10, max_grad_norm=1e9)
    for rank in range(learners):
        torch.testing.assert_close(ours[rank], theirs[rank], rtol=0, atol=1e-5)
        assert (ours[rank] - unclipped[rank]).abs().max() > 1e-3


def test_the_single_file_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("05_gala_a2c")
    settings = example.Settings(learners=2, simulators=4)
    example.train(settings, updates=20)
    assert capsys.readouterr().out == ""
    example.train(settings, updates=20, report_every=8)
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"update 8 of 20: mean return \d+\.\d", first)
    assert re.fullmatch(r"update 16 of 20: mean return \d+\.\d", last)


SIMULATORS, SEED = 8, 7


def example_parameters(learners: int, updates: int, max_grad_norm: float) -> list[torch.Tensor]:
    """Parameters of all learners of the single file."""
    example = load("05_gala_a2c")
    settings = example.Settings(
        learners=learners, simulators=SIMULATORS, seed=SEED, max_grad_norm=max_grad_norm
    )
    return [
        torch.cat([p.detach().flatten() for p in learner.model.parameters()])
        for learner in example.train(settings, updates)
    ]


def library_parameters(
    tmp_path: Path, learners: int, updates: int, max_grad_norm: float
) -> list[torch.Tensor]:
    """Parameters of all learners after a serial run of the package, without padding."""
    config = resolve(
        TrainConfig(
            method="gala-a2c",
            env="CartPole-v1",
            learners=learners,
            simulators=SIMULATORS,
            steps=updates * learners * SIMULATORS * 5,
            seed=SEED,
            serial=True,
            algorithm=A2CSettings(max_grad_norm=max_grad_norm),
        )
    )
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    run_serial(
        config,
        folder,
        torch.device("cpu"),
        initial_parameters_of(config),
        None,
        lambda status: None,
    )
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    return [without_padding(saved.load(rank).tensors["parameters"]) for rank in range(learners)]


def without_padding(flat: torch.Tensor) -> torch.Tensor:
    """Every parameter starts at a multiple of 16 in the flat vector; cut the gaps out."""
    model = load("05_gala_a2c").ActorCritic(4, 2)
    pieces, offset = [], 0
    for parameter in model.parameters():
        pieces.append(flat[offset : offset + parameter.numel()])
        offset += -(-parameter.numel() // 16) * 16
    assert offset == flat.numel()
    return torch.cat(pieces)


def test_the_single_file_stays_a_short_read() -> None:
    assert len((EXAMPLES / "05_gala_a2c.py").read_text(encoding="utf-8").splitlines()) <= 300
