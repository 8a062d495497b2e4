"""docs/own-method.md, followed to the letter: its file is a method outside of the package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gala_rl
from gala_rl.records.run_folder import RunFolder
from tests.support.checkpoints import newest

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "own-method.md").read_text(encoding="utf-8")
NAME, GALA_NAME = "my_reinforce:METHOD", "my_reinforce:GALA_METHOD"


def files() -> dict[str, str]:
    """Text of each file that the tutorial writes: the block that follows its name."""
    shown = r"^`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)^```"
    return dict(re.findall(shown, TUTORIAL, re.DOTALL | re.MULTILINE))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the file of the tutorial."""
    for name, text in files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def gala(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gala_lab.main", *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_tutorial_writes_one_file() -> None:
    assert list(files()) == ["my_reinforce.py"]


def test_its_loss_is_that_of_the_package() -> None:
    package = (ROOT / "gala_rl" / "learners" / "reinforce.py").read_text(encoding="utf-8")
    loss = package[package.index("def reinforce_loss") : package.index("make_learner")]
    assert loss in files()["my_reinforce.py"]


def test_it_trains_is_resumed_and_evaluated_by_its_name(place: Path) -> None:
    options = ("--env", "CartPole-v1", "--learners", "2", "--returns", "truncated")
    trained = gala(place, "train", GALA_NAME, *options, "--steps", "2k", "--out", "run")
    assert trained.returncode == 0, trained.stderr
    config = json.loads((place / "run" / "config.json").read_text())["config"]
    assert config["method"] == GALA_NAME
    assert config["algorithm"]["name"] == "my-reinforce"
    assert config["algorithm"]["returns"] == "truncated"
    assert gala(place, "resume", "run", "--steps", "5k").returncode == 0
    assert gala(place, "evaluate", "run", "--episodes", "2").returncode == 0
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    failed = gala(elsewhere, "evaluate", "../run")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert f"method '{GALA_NAME}' cannot be imported" in failed.stderr


def test_it_learns_what_the_method_of_the_package_learns(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(place)
    parameters = []
    for method in (NAME, "reinforce"):
        out = place / method.partition(":")[0]
        gala_rl.train(
            gala_rl.TrainConfig(
                method=method, env="CartPole-v1", steps=4_000, serial=True, out=str(out)
            )
        )
        saved = newest(RunFolder(out).checkpoints)
        parameters.append(saved.load(0).tensors["parameters"])
    assert torch.equal(*parameters)


def test_its_settings_are_options_with_their_own_types_and_help(place: Path) -> None:
    path = place / "my_reinforce.py"
    text = path.read_text()
    assert text.count('returns: Literal["episode", "truncated"]') == 1
    text = text.replace('Literal["episode", "truncated"]', 'Literal["episode", "other"]')
    more = '    depth: int = setting(3, "how deep")\n    returns:'
    path.write_text(text.replace("    returns:", more))
    shown = gala(place, "train", NAME, "--help").stdout
    assert "--depth N" in shown
    assert "how deep (default: 3)" in shown
    options = ("--env", "CartPole-v1", "--depth", "5", "--steps", "1k", "--dry-run", "--json")
    for arguments in ((NAME, *options), (*options, "--returns", "other", NAME)):
        tried = gala(place, "train", *arguments)
        assert tried.returncode == 0, tried.stderr
    wrong = gala(place, "train", NAME, "--returns", "truncated")
    assert "--returns 'truncated' is unknown: choose one of episode, other" in wrong.stderr
    unknown = gala(place, "train", "a2c", "--depth", "5")
    assert "option --depth is unknown" in unknown.stderr


def test_it_is_compared_with_others(place: Path) -> None:
    options = ("--env", "CartPole-v1", "--steps", "1k", "--seeds", "1", "--serial", "--json")
    arguments = ("compare", NAME, "a2c", "--returns", "truncated", "--out", "both", *options)
    for _ in range(2):  # The second call reads what the first has written.
        compared = gala(place, *arguments)
        assert compared.returncode == 0, compared.stderr
        assert list(json.loads(compared.stdout)["methods"]) == [NAME, "a2c"]
