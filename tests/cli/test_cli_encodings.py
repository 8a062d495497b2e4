"""Output whose encoding lacks a character: it is printed as an escape and changes no exit code."""

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from gala_lab.main import main
from gala_rl.records.run_folder import RunFolder
from tests.support.run_folders import fake_run
from tests.support.run_records import newest

REPOSITORY = Path(__file__).parents[2]

TALKS = """
import gymnasium, numpy
class Talks(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        print("été")
        return numpy.zeros(3, numpy.float32), {}
    def step(self, action):
        print("été")
        return numpy.zeros(3, numpy.float32), 1.0, True, False, {}
gymnasium.register("Talks-v0", "talks:Talks")
"""

HELPS = [
    "--help",
    *(f"{name} --help" for name in ("train", "resume", "scale", "evaluate", "compare", "theory")),
    *(f"{name} --help" for name in ("plan", "simulate", "methods", "bench")),
    *(f"bench {what} --help" for what in ("throughput", "gossip", "scaling", "stragglers")),
    "bench faults --help",
]


@contextmanager
def ascii_streams() -> Iterator[io.BytesIO]:
    """Both streams take ASCII alone, as with PYTHONIOENCODING=ascii; what was printed."""
    taken = io.BytesIO()
    stream = io.TextIOWrapper(taken, encoding="ascii", errors="strict")
    with redirect_stdout(stream), redirect_stderr(stream):
        yield taken
        stream.detach()  # flushes, and leaves the buffer open


@pytest.mark.parametrize("line", HELPS)
def test_every_help_can_be_printed(line: str) -> None:
    with ascii_streams() as printed, pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 0
    assert printed.getvalue().startswith(b"usage: gala")


@pytest.mark.parametrize(
    ("line", "code", "printed"),
    [
        ("theory --learners 4", 0, r"\u03b2"),
        ("theory --learners 4 --plot ünï.png", 0, r"drawn: \xfcn\xef.png"),
        ("simulate --learners 4 --updates 3", 0, r"\u2013"),
        ("methods", 0, "gala-a2c"),
        ("train ppo --env ünï", 2, r"'\xfcn\xef' is unknown"),
        ("evaluate ünï", 2, r"\xfcn\xef holds no run"),
        ("scale ünï/run --learners 2", 2, r"run \xfcn\xef/run has"),
    ],
)
def test_every_command_prints_escapes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    code: int,
    printed: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_run(tmp_path / "ünï" / "run", agent_steps=200)
    with ascii_streams() as found:
        assert main(shlex.split(line)) == code
    assert printed in found.getvalue().decode("ascii")


def test_a_run_in_such_a_folder_of_such_an_environment_ends_well(tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text(TALKS, encoding="utf-8")
    paths = {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}", "PYTHONIOENCODING": "ascii"}
    settings = "--env talks:Talks-v0 --steps 200 --simulators 2 --out ünï"
    result = subprocess.run(
        [sys.executable, "-m", "gala_lab.main", "train", "a2c", *settings.split()],
        cwd=tmp_path,
        env=os.environ | paths,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert r"next: gala evaluate \xfcn\xef" in result.stdout
    log = tmp_path / "ünï" / "logs" / "learner_00.log"
    assert set(log.read_text(encoding="utf-8").split()) == {"été"}
    assert newest(RunFolder(tmp_path / "ünï")).agent_steps >= 200
