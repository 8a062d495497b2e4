"""One node by itself, in a process of its own: set up twice, and left alone by its driver."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import psutil

from gala_rl.cluster.node import Node
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from tests.cluster.machines import GIVE_UP_S, ROOT, wait_until


def run_alone(what: str) -> tuple[int, list[str]]:
    """Exit code and lines of a node's process."""
    command = [sys.executable, "-m", "tests.cluster.lone_node", what]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines()


def test_one_that_is_set_up_twice_ends_at_once_and_its_learners_with_it() -> None:
    exit_code, lines = run_alone("twice")
    assert exit_code == 1
    (learner,) = lines
    wait_until(lambda: not psutil.pid_exists(int(learner)))


def test_one_whose_driver_is_silent_ends_its_learners_keeps_their_parts_and_says_so() -> None:
    exit_code, lines = run_alone("silent")
    assert exit_code == 0
    assert json.loads(lines[1]) == [False, True, ["learner_00.json", "learner_00.safetensors"]]


def test_counters_of_a_status_are_as_new_as_the_rows_that_it_brings() -> None:
    counters = SharedCounters(1, 1, 1)

    def appended(offsets: dict[str, int]) -> dict[str, bytes]:
        counters.set(0, LearnerCounter.UPDATES, 7)
        return {"metrics/learner_00.jsonl": b'{"updates": 7}\n'}

    nothing = SimpleNamespace(take_notices=list)
    supervisor = SimpleNamespace(
        failure=None,
        done=False,
        alive=lambda count: [True] * count,
        restarts=lambda count: [0] * count,
        all_ended_from=lambda first: True,
    )
    node: Any = object.__new__(Node)
    node._counters, node._ranks, node._rollout_server = counters, range(1), None
    node._state, node._driver_lost = SimpleNamespace(faults=None), False
    node._joining = SimpleNamespace(is_waiting=False, number=0, rejected=None)
    node._run_folder = SimpleNamespace(appended=appended)
    supervisor.take_notices = nothing.take_notices
    status = cast(Node, node)._status({}, cast(Any, supervisor), cast(Any, nothing))
    assert status.updates == [7]
