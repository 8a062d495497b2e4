"""A node of one learner in the test's own process, without Ray, driven by direct calls.

python -m tests.cluster.lone_node (twice | silent)
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import psutil

from gala_rl.cluster import node as module
from gala_rl.cluster.node import Node
from gala_rl.cluster.protocol import HeartbeatRequest, NodeSpec, NodeStatus
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from tests.cluster.machines import CONFIG, learners_of, wait_until

REQUEST = HeartbeatRequest(stop=False, checkpoint=0, offsets={})


def set_up(node: Node, path: Path) -> None:
    """Have it start a learner."""
    folder = RunFolder(path)
    folder.create(resolve(dataclasses.replace(CONFIG, learners=1, learners_per_node=1)))
    files = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    spec = NodeSpec(0, 1, (range(1),), files, agent_steps=[0], updates=[0])
    node.set_up(spec, [node])


def report(node: Node) -> NodeStatus:
    """Its next report."""
    told = node.heartbeat(REQUEST)
    assert told is not None
    return told


def main(what: str, path: Path) -> None:
    """Set a node up, and tell on stdout what became of it."""
    node = Node()
    if what == "silent":
        module.DRIVER_SILENT_S = 1.0
    set_up(node, path / "run")
    wait_until(lambda: report(node).updates[0] > 10)
    (learner,) = learners_of(psutil.Process())
    print(learner.pid, flush=True)
    if what == "twice":
        set_up(node, path / "again")
    before = report(node)
    supervisor = node._supervisor
    assert supervisor is not None
    wait_until(lambda: supervisor.done)
    after = report(node)
    print(
        json.dumps(
            [before.driver_lost, after.driver_lost, sorted(node.checkpoint_part("final", 0) or {})]
        )
    )
    node.end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1], Path(folder))
