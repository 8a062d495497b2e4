"""Runs on graphs of the user: what they write, and what happens when learners join and leave."""

import json
from dataclasses import replace
from pathlib import Path

import networkx  # type: ignore[import-untyped]
import pytest
from rich.console import Console

import gala_rl
from gala_rl.app import preflight
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import why_not_scaled
from gala_rl.records.run_folder import RunFolder
from tests.environments import graphs
from tests.run.scaled import TWO, Script, check_consensus
from tests.support.run_processes import make_local_run
from tests.support.run_records import sizes

STAR, EVEN = (GossipSettings(topology=function) for function in (graphs.star, graphs.even))


def test_a_graph_of_networkx_trains_and_its_run_needs_no_file(tmp_path: Path) -> None:
    graph = networkx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    config = TrainConfig(
        env="CartPole-v1",
        learners=3,
        simulators=2,
        steps=600,
        serial=True,
        out=str(tmp_path / "run"),
        gossip=GossipSettings(topology=graph),
    )
    quiet = Console(quiet=True)
    assert gala_rl.train(config, quiet)["mixes"] > 0
    folder = RunFolder(tmp_path / "run")
    assert not folder.topology_file.exists()
    content = json.loads(folder.config_file.read_text())["config"]
    assert content["gossip"]["topology"] == "[[0, 1], [0, 2], [1, 2], [2, 0]]"
    assert gala_rl.resume(folder.path, steps=1_200, console=quiet)["agent_steps"] >= 1_200
    assert "own number of learners alone" in str(why_not_scaled(replace(config, serial=False)))


def test_learners_that_join_and_leave_get_the_graph_of_their_number(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    script = Script(folder, ("scale", 4), ("scale", 3))
    outcome = script.run(make_local_run(replace(TWO, gossip=STAR), folder))
    assert outcome.failure is None
    assert sizes(folder) == [(2, 4), (4, 3)]
    assert not [n for n in script.notices if "bounds" in n or "DEFECT" in n]
    check_consensus(folder, {2, 3, 4})


def test_a_number_without_a_graph_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(replace(TWO, gossip=EVEN, out=str(folder.path)))
    with folder.lock():
        assert preflight.check_scale(folder.path, 4).learners == 2
        with pytest.raises(gala_rl.UserError, match="an even number, please"):
            preflight.check_scale(folder.path, 3)
