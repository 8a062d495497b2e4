"""Runs whose torsos are the user's: in processes and serially, resumed, evaluated and loaded."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import gala_rl
from gala_rl.config.train import TrainConfig
from gala_rl.envs import read_environment
from gala_rl.models.own_torso import OwnTorso
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import ObservationSpec
from tests.environments import networks

QUIET = Console(quiet=True)
NAME = f"{networks.__name__}:mlp"


def config(tmp_path: Path, **settings: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "method": "gala-a2c",
        "env": "CartPole-v1",
        "network": networks.mlp,
        "learners": 2,
        "simulators": 2,
        "steps": 400,
        "serial": True,
        "out": str(tmp_path / "run"),
    }
    return TrainConfig(**values | settings)


def written(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "config.json").read_text())["config"]
    return content


def test_learners_in_processes_have_it_and_so_have_those_that_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = gala_rl.train(config(tmp_path, serial=False), QUIET)
    assert not summary["failed"]
    assert written(run)["network"] == NAME
    assert gala_rl.resume(run, steps=800, console=QUIET)["agent_steps"] >= 800
    assert gala_rl.evaluate(run, episodes=1, console=QUIET)["results"]


@pytest.mark.parametrize(
    "settings",
    [
        {"lstm_size": 8},
        {"shared_torso": True, "method": "gala-ppo"},
        {"method": "r2d2", "learners": 1, "steps": 2_500},
        {"method": "impala", "learners": 1, "network": networks.Torso},
        {"env": "tests.environments:Parts-v0"},
    ],
    ids=str,
)
def test_it_trains_by_every_kind_of_method(tmp_path: Path, settings: dict[str, Any]) -> None:
    gala_rl.train(config(tmp_path, **settings), QUIET)
    network: Any = gala_rl.load_network(tmp_path / "run")
    assert isinstance(network.torso, OwnTorso)
    state = network.initial_state(2)
    shape = read_environment(RunFolder(tmp_path / "run").read_config().source).observation.shape
    with torch.no_grad():
        actions = network.greedy(torch.zeros(2, *shape), state)
    assert len(actions) == 2


def test_what_it_learns_is_checkpointed_and_what_is_fixed_stays(tmp_path: Path) -> None:
    gala_rl.train(config(tmp_path, network=networks.Torso), QUIET)
    loaded: Any = gala_rl.load_network(tmp_path / "run")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        first = networks.Torso(ObservationSpec((4,), False))
    assert torch.equal(loaded.torso.module.fixed.weight, first.fixed.weight)
    assert not torch.equal(loaded.torso.module.learned.weight, first.learned.weight)


def test_a_run_with_other_layers_is_evaluated_with_them(tmp_path: Path) -> None:
    settings = {"network": "auto", "hidden": (12, 7), "activation": "relu"}
    gala_rl.train(config(tmp_path, **settings), QUIET)
    assert written(tmp_path / "run")["hidden"] == [12, 7]
    network: Any = gala_rl.load_network(tmp_path / "run")
    assert network.torso.features == 7
    assert isinstance(network.torso.layers[1], torch.nn.ReLU)


def test_a_function_that_has_changed_since_is_named(tmp_path: Path) -> None:
    gala_rl.train(config(tmp_path), QUIET)
    file = tmp_path / "run" / "config.json"
    file.write_text(file.read_text().replace(":mlp", ":Torso"))
    with pytest.raises(gala_rl.UserError, match="or the network changed since"):
        gala_rl.evaluate(tmp_path / "run", console=QUIET)
    file.write_text(file.read_text().replace(":Torso", ":gone"))
    with pytest.raises(gala_rl.UserError, match="has no gone"):
        gala_rl.resume(tmp_path / "run", steps=800, console=QUIET)


def test_a_wrong_one_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    wrong = replace(config(tmp_path), network=networks.with_dropout, serial=False)
    with pytest.raises(gala_rl.UserError, match="such as Dropout"):
        gala_rl.train(wrong, QUIET)
    assert list(tmp_path.iterdir()) == []
