"""A run on a cluster leaves behind what a run on one machine does."""

from pathlib import Path

from gala_rl.cli import main
from gala_rl.records.run_folder import RunFolder
from tests.cluster.machines import Machines, node_actors


def test_a_run_ends_is_evaluated_and_goes_on(machines: Machines, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    arguments = "train gala-a2c --env CartPole-v1 --learners 4 --simulators 2 --steps 6k"
    arguments += f" --cluster {machines.address} --log-every 20 --out {folder.path}"
    assert main(arguments.split()) == 0
    summary = folder.read_summary()
    assert summary["agent_steps"] >= 6_000
    assert not node_actors()
