"""With --json the document is alone on standard output, whatever environments print."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from tests.support.games import YES, make_run

LOUD_ENV = """
import atexit, ctypes, os, subprocess
import gymnasium, numpy as np
c = ctypes.CDLL(None)
print("imported by hand")
atexit.register(c.puts, b"unloaded in C")
class Loud(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self):
        print("built by hand")
        c.puts(b"built in C")
        os.write(1, b"written to descriptor 1\\n")
        subprocess.run(["echo", "printed by a program"])
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}
    def step(self, action):
        c.puts(b"stepped in C")
        return np.zeros(3, np.float32), 1.0, True, False, {}
gymnasium.register("Loud-v0", Loud)
"""
QUIET = "tests.environments:Counting-v0"
LOUD = (
    *("imported by hand", "built by hand", "built in C", "written to descriptor 1"),
    *("printed by a program", "stepped in C", "unloaded in C"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with an environment that prints in every way."""
    (tmp_path / "loud_env.py").write_text(LOUD_ENV, encoding="utf-8")
    return tmp_path


def document_of(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The document of a command, and what went to standard error."""
    command = [sys.executable, "-m", "gala_lab.main", *arguments]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document, result.stderr


def test_evaluate_gives_json_alone(folder: Path) -> None:
    make_run(folder / "run", YES, env=QUIET, observations=3)
    # An environment with the same spaces, so that the run need not be trained.
    file = folder / "run" / "config.json"
    config = file.read_text(encoding="utf-8")
    assert QUIET in config
    file.write_text(config.replace(QUIET, "loud_env:Loud-v0"), encoding="utf-8")
    document, told = document_of(folder, "evaluate", "run", "--episodes", "2", "--json")
    assert document["results"][0]["returns"] == [1.0, 1.0]
    for words in LOUD:
        assert words in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "a2c", "--seeds", "1", "--steps", "64", "--serial", "--out", "compared"],
        ["plan", "--seconds", "0.1"],
        pytest.param(
            ["bench", "throughput", "--seconds", "0.1", "--repeats", "1", "--learners", "1"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["compare", "plan", "bench"],
)
def test_so_do_the_others_that_build_environments(folder: Path, arguments: list[str]) -> None:
    _, told = document_of(folder, *arguments, "--env", "loud_env:Loud-v0", "--json")
    assert "built in C" in told


@pytest.mark.parametrize(
    "arguments", [["theory", "--learners", "4"], ["simulate", "--learners", "4"]]
)
def test_documents_of_commands_without_environments_are_whole(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_a_mistake_leaves_standard_output_empty_and_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "nowhere", "--json"]) == 2
    assert main(["methods"]) == 0
    told = capfd.readouterr()
    assert "gala-a2c" in told.out
    assert told.err.startswith("gala: ")


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_reader_that_has_gone_is_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gala_lab.main", "theory", "--learners", "4", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == (141 if arguments else 1)
    assert done.stderr == ""
