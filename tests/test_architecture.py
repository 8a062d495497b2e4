"""The shape of the package: imports run one way, files are small, modules say their role."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import gala_rl

ROOT = Path(gala_rl.__file__).parent

LAYERS = (
    ("errors", "cores"),
    ("suggestions",),
    ("settings",),
    ("config",),
    ("spaces", "flat", "trajectory", "capture", "processes"),
    ("losses",),
    ("gossip",),
    ("graph",),
    ("theory",),
    ("simulation",),
    ("models",),
    ("envs",),
    ("optimizers",),
    ("sharing",),
    ("threads",),
    ("actor", "learners", "normalizer"),
    ("queued",),
    ("agent",),
    ("methods",),
    ("records",),
    ("faults",),
    ("systems",),
    ("cluster",),
    ("experiment",),
    ("parser",),
    ("options", "console"),
    ("bench_cli", "theory_cli", "simulate_cli", "compare_cli"),
    ("cli",),
)
"""Each room imports only from itself and from the rooms above it."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")

MAX_LINES = 350
MAX_FUNCTION_LINES = 60
RUNNING = ("processes", "records", "systems", "experiment", "parser", "options", "console", "cli")
"""Rooms around what learns: processes, files, terminal and command line."""
MAX_LEARNING_LINES, MAX_RUNNING_LINES = 7_700, 6_100
"""Of what learns and gossips, and of what runs it; not counting the rooms that can be read or left
alone one by one."""
APART = {
    "theory": ("theory/", "theory_cli.py"),
    "simulation": ("simulation/", "simulate_cli.py"),
    "bench": ("experiment/bench/", "bench_cli.py"),
    "compare": ("experiment/compare/", "compare_cli.py"),
    "sharing": ("sharing/",),
    "queued": ("queued/",),
    "faults": ("faults/", "cluster/faults.py", "cluster/samples.py"),
    "scaling": (
        "systems/scaling.py",
        "systems/shared_memory.py",
        "records/scale_request.py",
        "experiment/scale.py",
        "cluster/scaling.py",
        "cluster/joining.py",
        "cluster/places.py",
    ),
    "systems on a cluster": ("cluster/introductions.py", "cluster/rollouts.py"),
    "ways to a cluster": ("cluster/connection.py", "cluster/probing.py"),
    "cluster": ("cluster/",),
    "consensus watch": ("systems/watch.py", "systems/traffic.py"),
    "simulator processes": ("envs/processes/",),
}
"""Instruments, the systems that gossip is compared with, simulators out of their process, and
learners on other machines."""
MAX_LINES_APART = 2_050


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
    wrong.write_text("def f():\n    from gala_rl.systems import local\n", encoding="utf-8")
    assert imported_rooms(wrong) == {"systems"}


def test_ray_is_imported_in_its_room_alone_and_not_before_it_is_asked_for() -> None:
    imports = re.compile(r"^\s*(import|from) ray\b", flags=re.MULTILINE)
    users = {room_of(path) for path in MODULES if imports.search(path.read_text(encoding="utf-8"))}
    assert users == {"cluster"}
    unasked = "import sys, gala_rl.cli, gala_rl.experiment.train; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", unasked], check=True)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
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


def room_apart(path: Path) -> str | None:
    place = path.relative_to(ROOT).as_posix()
    return next((name for name, places in APART.items() if place.startswith(places)), None)


def test_what_learns_and_what_runs_it_stay_readable_in_an_afternoon_each() -> None:
    together = [path for path in MODULES if room_apart(path) is None]
    running = [path for path in together if room_of(path) in RUNNING]
    assert 0 < lines_of(running) <= MAX_RUNNING_LINES
    assert 0 < lines_of(together) - lines_of(running) <= MAX_LEARNING_LINES


@pytest.mark.parametrize("name", APART)
def test_so_does_every_room_apart(name: str) -> None:
    assert 0 < lines_of(p for p in MODULES if room_apart(p) == name) <= MAX_LINES_APART
