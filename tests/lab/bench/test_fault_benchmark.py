"""The cost of a fault is measured on a cluster too."""

import json
from pathlib import Path

import pytest

from gala_lab.main import main
from tests.cluster.machines import Machines, node_actors, wait_until


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kill", "kill-node"])
def test_a_fault_on_a_cluster_is_measured_as_on_one_machine(
    machines: Machines, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"bench faults --cluster {machines.address} --learners 2 --learners-per-node 1"
    arguments += " --env CartPole-v1 --simulators 2 --repeats 1 --json"
    # Ray needs seconds to start a node again, more on a busy machine.
    arguments += f" --seconds {20 if kind == 'kill-node' else 2}"
    if kind == "kill-node":
        file = tmp_path / "plan.json"
        fault = {"kind": "kill-node", "node": 1, "at_s": 2}
        file.write_text(json.dumps({"faults": [fault]}), encoding="utf-8")
        arguments += f" --plan {file}"
    assert main(arguments.split()) == 0
    result = json.loads(capsys.readouterr().out)
    (case,) = result["cases"]
    assert (case["method"], case["learners"], case["restarts"]) == ("gala-a2c", 2, 1.0)
    assert case["before_sps"] > 0
    assert case["resolution_s"] >= 0.05
    assert case["longest_pause_s"] is not None
    assert result["settings"]["learners_per_node"] == 1
    wait_until(lambda: not node_actors())
