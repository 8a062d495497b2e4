"""Runs that start from the parameters of another run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from gala_rl.app.evaluate import load_network
from gala_rl.app.train import resume, train
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.flat import FlatParameters
from gala_rl.methods.resolving import with_settings
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import children
from tests.support.run_records import newest

QUIET = Console(quiet=True)
SOURCE = TrainConfig(
    method="gala-a2c",
    env="tests.environments:Drifting-v0",
    learners=2,
    simulators=2,
    steps=400,
    serial=True,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("source") / "run"
    train(replace(SOURCE, out=str(run)), QUIET)
    return run


def vector(run: Path) -> torch.Tensor:
    """Averaged parameters of a run's newest checkpoint."""
    return FlatParameters(load_network(run)).values


@pytest.mark.parametrize(
    ("method", "serial"),
    [("gala-a2c", True), ("a2c", True), ("gala-a2c", False), ("a2c-async", False)],
)
def test_all_learners_start_from_the_mean_of_the_source(
    method: str, serial: bool, source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    learners = None if method == "a2c" else 2
    config = replace(SOURCE, method=method, learners=learners, serial=serial, steps=20)
    # So small a learning rate changes nothing.
    config = with_settings(
        replace(config, out=str(run), init_from=str(source), seed=5),
        {"learning_rate": 1e-30},
    )
    train(config, QUIET)
    assert torch.equal(load_file(RunFolder(run).initial_file)["parameters"], vector(source))
    saved = newest(RunFolder(run))
    for rank in saved.learners():
        parameters = saved.load(rank).tensors["parameters"]
        torch.testing.assert_close(parameters, vector(source), rtol=0.0, atol=1e-6)
    assert children() == []
    more = resume(run, 60, QUIET)
    assert more["agent_steps"] >= 60


def test_the_source_may_go_once_the_run_has_started(source: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    copy = tmp_path / "copy"
    source_of_copy = replace(SOURCE, steps=40, out=str(copy))
    train(source_of_copy, QUIET)
    train(replace(SOURCE, out=str(run), init_from=str(copy), steps=40), QUIET)
    copy.rename(tmp_path / "gone")
    assert resume(run, 80, QUIET)["agent_steps"] >= 80
    assert RunFolder(run).read_config().init_from == str(RunFolder(run).initial_file)


def test_the_optimizer_comes_along_on_request(source: Path, tmp_path: Path) -> None:
    states = []
    for with_optimizer in (False, True):
        run = tmp_path / str(with_optimizer)
        config = replace(SOURCE, steps=20, out=str(run), init_from=str(source))
        train(replace(config, init_optimizer=with_optimizer), QUIET)
        states.append(newest(RunFolder(run)).load(0).tensors["optimizer"])
    mean = load_file(RunFolder(tmp_path / "True").initial_file)["optimizer"]
    saved = checkpoint.newest(RunFolder(source).checkpoints)
    assert saved is not None
    both = [saved.load(rank).tensors["optimizer"] for rank in saved.learners()]
    assert torch.equal(mean, torch.stack(both).mean(dim=0))
    # One update keeps most of RMSprop's average, if there is one.
    assert states[1].sum() > 2.0 * states[0].sum()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"env": "CartPole-v1"}, "does not fit: its observation shape is"),
        ({"lstm_size": 8}, "does not fit: its lstm_size is 0, this run's 8"),
        ({"hidden": (8,)}, "does not fit: its hidden is (64, 64), this run's (8,)"),
        (
            {"method": "dqn", "learners": None, "steps": 100_000},
            "its network's output is a policy and values",
        ),
        ({"init_checkpoint": "7"}, "has no checkpoint of 7 agent steps"),
        ({"init_from": "nowhere"}, "nowhere holds no run"),
        ({"init_from": None, "init_optimizer": True}, "init_optimizer is of no use without"),
        ({"method": "a2c-async", "serial": False, "init_optimizer": True}, "share one optimizer"),
    ],
)
def test_what_does_not_fit_is_one_line_and_starts_nothing(
    changes: dict[str, Any], line: str, source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError) as refused:
        train(replace(SOURCE, out=str(run), **{"init_from": str(source), **changes}), QUIET)
    assert line in str(refused.value)
    assert not run.exists()
