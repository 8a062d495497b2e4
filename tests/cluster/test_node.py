"""One node by itself, in a process of its own: set up twice, and left alone by its driver."""

import json
import subprocess
import sys

import psutil

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
