"""Environments of other packages by the command line: train, Ctrl-C, resume, evaluate."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import GIVE_UP_S, ROOT, start_command
from tests.support.run_records import newest

pytestmark = pytest.mark.environments

SHORT = ("--rollout-steps", "4", "--minibatches", "1", "--epochs", "1")
RUNS = [
    ("popgym:popgym-AutoencodeEasy-v0", "gala-a2c", ("--lstm-size", "16")),
    ("popgym:popgym-BattleshipEasy-v0", "gala-impala", ()),
    ("popgym:popgym-RepeatPreviousEasy-v0", "gala-a2c", ("--simulator-processes", "2")),
    ("tests.packages:Summed-breakable-bottles-v0", "a2c-allreduce", ()),
    ("tests.packages:Summed-water-reservoir-v0", "gala-a2c", ()),
    ("panda_gym:PandaReach-v3", "gala-ppo", SHORT),
    ("highway_env:highway-fast-v0", "gala-a2c", ()),
    ("highway_env:parking-v0", "ppo-async", SHORT),
    ("flappy_bird_gymnasium:FlappyBird-v0", "gala-a2c", ()),
    ("minigrid:MiniGrid-Empty-5x5-v0", "gala-a2c", ()),
    ("CarRacing-v3", "gala-ppo", SHORT),
    ("LunarLander-v3", "ppo-allreduce", SHORT),
    ("HalfCheetah-v5", "gala-ppo", SHORT),
    ("Ant-v5", "a3c", ()),
]


def gala(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gala_lab.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
        check=False,
    )


@pytest.mark.parametrize(("env", "method", "options"), RUNS, ids=[env for env, _, _ in RUNS])
def test_it_is_trained_interrupted_resumed_and_evaluated(
    env: str, method: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    process = start_command(path, method, env=env, options=options)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal tells all of a job
    assert process.wait(GIVE_UP_S) == 130
    saved = newest(RunFolder(path))
    resumed = gala("resume", str(path), "--steps", str(saved.agent_steps + 40))
    assert resumed.returncode == 0, resumed.stderr
    summary = read_json(path / "summary.json")
    assert summary["agent_steps"] >= saved.agent_steps + 40
    assert summary["restarts"] == 0
    evaluated = gala(*["evaluate", "--episodes", "1", "--max-steps", "50", "--json"], str(path))
    assert evaluated.returncode == 0, evaluated.stderr
    (result,) = json.loads(evaluated.stdout)["results"]
    assert result["simulator_failures"] == 0
