"""An environment in a file of the current folder: every command and every process finds it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MY_ENV = """
import gymnasium, numpy as np
class X(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self):
        print("built by hand")
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}
    def step(self, action):
        self.t += 1
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), 1.0, False, self.t >= 20, {}
gymnasium.register("X-v0", X)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with the environment in a file, and files named as installed modules are."""
    (tmp_path / "my_env.py").write_text(MY_ENV, encoding="utf-8")
    for name in ("torch.py", "random.py"):
        (tmp_path / name).write_text("raise SystemExit('not the installed one')", encoding="utf-8")
    return tmp_path


IN_TURN = """
import json, sys
import gymnasium
from gala_lab.main import main
before = list(sys.path)
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0, arguments
    assert "my_env" in sys.modules, arguments
    sys.path[:] = before
    del sys.modules["my_env"], gymnasium.registry["X-v0"]
"""
"""Each command finds the file itself: none before it has."""


def output_of(folder: Path, command: list[str]) -> str:
    """What a program prints on its standard output."""
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_training_resuming_and_evaluating_in_one_process_find_the_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A script whose folder is not the current one, as that of the installed command.
    script = tmp_path_factory.mktemp("bin") / "in_turn.py"
    script.write_text(IN_TURN, encoding="utf-8")
    options = ["--env", "my_env:X-v0", "--simulators", "2", "--out", "run"]
    commands = [
        ["train", "a2c", *options, "--steps", "40", "--serial"],
        ["resume", "run", "--steps", "80"],
        ["evaluate", "run", "--episodes", "2", "--json"],
    ]
    printed = output_of(folder, [sys.executable, str(script), json.dumps(commands)])
    assert json.loads(printed[printed.index("{\n") :])["results"][0]["returns"] == [20.0, 20.0]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gala-a2c", ["--learners", "2", "--simulators", "2", "--simulator-processes", "1"]),
        pytest.param("impala", ["--simulators", "2", "--actors", "2"], marks=pytest.mark.slow),
    ],
)
def test_learners_actors_and_simulators_in_processes_find_the_file(
    folder: Path, method: str, options: list[str]
) -> None:
    arguments = ["--env", "my_env:X-v0", "--steps", "200", "--out", "run", *options]
    installed = str(Path(sys.executable).with_name("gala"))
    output_of(folder, [installed, "train", method, *arguments])
    summary = json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["agent_steps"] >= 200
    assert summary["restarts"] == 0
