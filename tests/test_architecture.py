"""The shape of the package: imports run one way, files are small, modules say their role."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import gala_lab
import gala_rl

ROOT = Path(gala_rl.__file__).parent
LABORATORY = Path(gala_lab.__file__).parent

LAYERS = (
    ("errors", "cores"),
    ("suggestions", "spaces", "decode"),
    ("config",),
    ("imports",),
    ("losses",),
    ("flat", "trajectory", "cuda_graphs", "processes"),
    ("replay",),
    ("gossip",),
    ("graph",),
    ("theory",),
    ("models",),
    ("envs",),
    ("methods",),
    ("threads",),
    ("trajectory_source", "pinned_memory"),
    ("actor", "learners"),
    ("coupling",),
    ("actors",),
    ("agent",),
    ("records",),
    ("sinks", "sb3"),
    ("faults",),
    ("checks",),
    ("plan",),
    ("run",),
    ("cluster",),
    ("dashboard",),
    ("app",),
    ("cli",),
)
"""Each room imports only from itself and from the rooms above it."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
LABORATORY_MODULES = sorted(LABORATORY.rglob("*.py"))

ROOMS = ("gala_rl", "gala_lab", "tests", "benchmarks", "examples")

MAX_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_PRODUCT_LINES = 36_600
"""Lines of gala_rl. This number rises only with a feature, by what the feature needs."""
MAX_LABORATORY_LINES = 8_400
"""Lines of gala_lab. This number rises only with a feature, by what the feature needs."""


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports from, wherever in it the import stands."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "gala_rl":
            names = [f"gala_rl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        rooms.update(name.split(".")[1] for name in names if name.startswith("gala_rl."))
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_in_one_direction(path: Path) -> None:
    room = room_of(path)
    upwards = {
        other for other in imported_rooms(path) if other != room and LEVEL[other] >= LEVEL[room]
    }
    assert not upwards, f"{room} must not import from {upwards}"


def test_an_import_in_the_wrong_direction_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from gala_rl.run import local\n", encoding="utf-8")
    assert imported_rooms(wrong) == {"run"}


def test_ray_is_imported_in_its_room_alone_and_not_before_it_is_asked_for() -> None:
    imports = re.compile(r"^\s*(import|from) ray\b", flags=re.MULTILINE)
    users = {room_of(path) for path in MODULES if imports.search(path.read_text(encoding="utf-8"))}
    assert users == {"cluster"}
    unasked = "import sys, gala_rl.cli.main, gala_rl.app.train; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", unasked], check=True)


@pytest.mark.parametrize(
    "path", MODULES + LABORATORY_MODULES, ids=lambda path: str(path.relative_to(ROOT.parent))
)
def test_modules_say_their_role_and_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree) or ""
    assert docstring.splitlines()[:1], "the first line tells the module's role"
    assert len(text.splitlines()) <= MAX_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def lines_of(paths: Iterable[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def test_the_package_stays_small_enough_to_read() -> None:
    assert 0 < lines_of(ROOT.rglob("*.py")) <= MAX_PRODUCT_LINES
    assert 0 < lines_of(LABORATORY.rglob("*.py")) <= MAX_LABORATORY_LINES


def test_the_product_does_not_know_the_laboratory() -> None:
    mentions = [p for p in MODULES if "gala_lab" in p.read_text(encoding="utf-8")]
    assert [p for p in mentions if p.is_relative_to(ROOT)] == []


def test_no_docstring_begins_with_a_genitive_that_has_no_noun() -> None:
    sources = [p for room in ROOMS for p in sorted((ROOT.parent / room).rglob("*.py"))]
    headless = [str(p) for p in sources if '"""' + "Of " in p.read_text(encoding="utf-8")]
    assert len(sources) > 400
    assert headless == []
