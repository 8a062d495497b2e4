"""The command line: one line for every mistake, which names it, and nothing written for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gala_lab.main import main
from tests.cli.mistakes import MISTAKES
from tests.support.run_folders import fake_run, tree

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bit of everything to get wrong; the working directory."""
    fake_run(tmp_path / "ended", agent_steps=400)
    fake_run(tmp_path / "unborn", agent_steps=None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    topologies = {
        "text.json": "not JSON",
        "object.json": '{"a": 1}',
        "triple.json": "[[0, 1, 2]]",
        "outside.json": "[[0, 1], [1, 9]]",
        "loop.json": "[[0, 0], [0, 1], [1, 0]]",
        "twice.json": "[[0, 1], [0, 1], [1, 0]]",
        "one-way.json": "[[0, 1]]",
    }
    for name, content in topologies.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gala_rl.checks.machine.cuda_devices", lambda: 0)
    return tmp_path


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=" ".join)
def test_a_mistake_gets_one_line_that_names_it_and_writes_nothing(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: tuple[str, ...],
) -> None:
    before = tree(place)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gala: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    for word in words:
        assert word in printed.err
    assert tree(place) == before


def run_program(program: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_help_and_mistakes_do_not_wait_for_torch(place: Path) -> None:
    # These few are found by looking into files that only torch's world can read, or write.
    late = ("is damaged", "cannot be written")
    lines = [arguments for arguments, words in MISTAKES if not set(late) & set(words)]
    helps = [
        ["--help"],
        *([name, "--help"] for name in ("train", "resume", "scale", "evaluate", "plan", "bench")),
    ]
    helps += [["bench", what, "--help"] for what in ("throughput", "gossip", "scaling")]
    helps += [["bench", "stragglers", "--help"]]
    program = f"""
import functools
import sys
from unittest import mock
from gala_lab.main import main
from gala_rl.cli import main as command_line
command_line._parser = functools.cache(command_line._parser)  # the same for all, and slow to build
for arguments in {helps!r}:
    try:
        main(arguments)
        raise AssertionError(arguments)
    except SystemExit as end:
        assert end.code == 0, arguments
    assert not {{"torch", "tensorboard", "gymnasium", "numpy"}} & set(sys.modules), arguments
assert main(["methods"]) == 0
assert "torch" not in sys.modules, "methods"
from gala_rl.checks import machine
with mock.patch.object(machine, "cuda_devices", lambda: 0):
    for arguments in {lines!r}:
        assert main(arguments) == 2, arguments
        assert "torch" not in sys.modules, arguments
print("all", len({lines!r}))
"""
    assert run_program(program, place).endswith(f"all {len(lines)}\n")
