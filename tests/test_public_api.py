"""What the package offers by name is there, typed, and costs nothing until it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gala_rl
import gala_rl.gossip

LAZY = [gala_rl, gala_rl.gossip]


def typed_imports(module: ModuleType) -> dict[str, str]:
    """Name to home of everything imported under TYPE_CHECKING."""
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: node.module or ""
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("module", LAZY)
def test_every_public_name_resolves_to_its_home(module: ModuleType) -> None:
    homes = {name: home for home, names in module._HOMES.items() for name in names}
    for name in module.__all__:
        assert getattr(module, name) is getattr(importlib.import_module(homes[name]), name)


@pytest.mark.parametrize("module", LAZY)
def test_type_checkers_and_programs_see_the_same_names(module: ModuleType) -> None:
    homes = {name: home for home, names in module._HOMES.items() for name in names}
    seen = typed_imports(module)
    assert set(seen) == set(homes) == set(module.__all__)
    assert list(module.__all__) == sorted(module.__all__)
    for name, home in seen.items():
        # The front page may name a package as home and the package names the module.
        assert homes[name].startswith(home) or home.startswith(homes[name])


@pytest.mark.parametrize("module", LAZY)
def test_a_name_that_does_not_exist_is_an_attribute_error(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(gala_rl.__file__).with_name("py.typed").is_file()


def test_a_program_without_a_guard_is_told_so_in_one_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import gala_rl\n"
        "config = gala_rl.TrainConfig(env='CartPole-v1', learners=2, steps=1000, out='run')\n"
        "gala_rl.train(config)\n"
    )
    run = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.count("Traceback") == 1, "none of a learner's"
    assert "UserError: a learner that imported the program" in run.stderr.splitlines()[-1]
    assert "if __name__ == '__main__':" in run.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"], "the folder is unused"


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, gala_rl, gala_rl.gossip\n"
        "from gala_rl import TrainConfig, UserError\n"
        "heavy = {'torch', 'numpy', 'gymnasium', 'ale_py', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


USER_PROGRAM = """\
from collections.abc import Mapping
from typing import Any

import gala_rl
import torch
from gala_rl.gossip import LearnerProcesses, SharedMailboxes, directed_ring


class Printer:
    def start(self, config: Mapping[str, Any]) -> None:
        print(config["out"])

    def row(self, row: Mapping[str, float]) -> None:
        print(row["total_agent_steps"])

    def close(self) -> None: ...


def on_row(row: Mapping[str, Any]) -> str | None:
    return "stop" if row["total_agent_steps"] > 10 else None


def learn(rank: int, mailboxes: SharedMailboxes, updates: int) -> None:
    flat = gala_rl.FlatParameters(torch.nn.Linear(4, 2))
    gossip = gala_rl.Gossip(flat.values, mailboxes.transport(rank), rank, directed_ring(2))
    if (last := mailboxes.latest(rank)) is not None:
        gossip.resume(last)
    mixed: int = gossip.exchange()
    print(mixed, updates)


if __name__ == "__main__":
    sink: gala_rl.Sink = Printer()
    config = gala_rl.TrainConfig(method="ppo", env="CartPole-v1", log=("csv",))
    config = gala_rl.with_settings(config, {"epochs": 4})
    summary: dict[str, Any] = gala_rl.train(config, on_row=on_row, sinks=[sink])
    with LearnerProcesses(learn, SharedMailboxes(2, 32), 10) as learners:
        learners.wait()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's programs, with the cache that mypy writes there."""
    return tmp_path_factory.mktemp("programs")


def mypy(program: str, folder: Path) -> str:
    """What mypy says about a user's program, in its strict mode."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return run.stdout + run.stderr


def test_a_user_s_program_is_type_checked(folder: Path) -> None:
    assert "Success: no issues found" in mypy(USER_PROGRAM, folder)
    wrong = USER_PROGRAM.replace("gala_rl.with_settings", "gala_rl.with_setings")
    wrong = wrong.replace('method="ppo"', "method=5").replace("def row(", "def rows(")
    found = mypy(wrong, folder)
    assert 'Module has no attribute "with_setings"' in found
    assert 'Argument "method" to "TrainConfig" has incompatible type "int"' in found
    assert "Incompatible types in assignment" in found, "a sink without `row`"


@pytest.mark.parametrize("module", LAZY)
def test_every_public_name_is_typed(module: ModuleType, folder: Path) -> None:
    names = "\n".join(f"reveal_type(api.{name})" for name in module.__all__)
    found = mypy(f"import {module.__name__} as api\n{names}\n", folder)
    revealed = [line for line in found.splitlines() if "Revealed type is" in line]
    assert len(revealed) == len(module.__all__), found
    assert [line for line in revealed if 'is "Any"' in line] == []
