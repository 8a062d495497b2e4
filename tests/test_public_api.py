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
