"""docs/own-method.md, followed to the letter on a copy of the package without REINFORCE."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "own-method.md").read_text(encoding="utf-8")
LIST = "gala_rl/methods/__init__.py"


def new_files() -> dict[str, str]:
    """Text of each new file, by its path: the block that follows its name."""
    found = re.findall(
        r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE
    )
    return dict(found)


def edits() -> list[tuple[str, str]]:
    """Text before and after each edit of the list of methods."""
    found = []
    for diff in re.findall(r"^```diff\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE):
        lines = diff.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] == " ")
        found.append((before, "".join(line[1:] for line in lines)))
    return found


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gala_lab.main", *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was before the tutorial."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("gala_rl", "gala_lab"):
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for name in new_files():
        (folder / name).unlink()
    methods = (folder / LIST).read_text(encoding="utf-8")
    for before, after in edits():
        assert after in methods
        methods = methods.replace(after, before)
    (folder / LIST).write_text(methods, encoding="utf-8")
    word = re.compile(r"\breinforce\b", re.IGNORECASE)
    mentions = [p for p in folder.rglob("*.py") if word.search(p.read_text(encoding="utf-8"))]
    assert mentions == [], "nothing else of the package knows the method"
    return folder


def test_it_takes_two_new_files_and_three_lines() -> None:
    assert list(new_files()) == ["gala_rl/methods/reinforce.py", "gala_rl/learners/reinforce.py"]
    added = [line for before, after in edits() for line in after.splitlines() if line not in before]
    assert len(added) == 3


def test_the_files_of_the_tutorial_are_those_of_the_package() -> None:
    for name, text in new_files().items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name


def test_the_steps_of_the_tutorial_make_a_method_that_trains(copy: Path) -> None:
    arguments = ("train", "gala-reinforce", "--env", "CartPole-v1", "--steps", "2k")
    options = ("--learners", "2", "--serial", "--returns", "truncated", "--out", "run")
    before = run(copy, *arguments, "--serial")
    assert before.returncode == 2
    assert "method 'gala-reinforce' is unknown" in before.stderr
    for name, text in new_files().items():
        (copy / name).write_text(text, encoding="utf-8")
    methods = (copy / LIST).read_text(encoding="utf-8")
    for old, new in edits():
        assert methods.count(old) == 1
        methods = methods.replace(old, new)
    (copy / LIST).write_text(methods, encoding="utf-8")
    after = run(copy, *arguments, *options)
    assert after.returncode == 0, after.stderr
    assert run(copy, "evaluate", "run", "--episodes", "2").returncode == 0
