"""The documents: commands and snippets run, results have sources, links lead somewhere."""

import ast
import contextlib
import inspect
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import gala_rl
import gala_rl.gossip
from gala_lab.main import main
from gala_rl.records.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
RESULTS = ROOT / "benchmarks" / "results"
BACKENDS = {"minatar.md"}
"""Documents whose commands need JAX."""
EXTRAS = {"export.md": "onnxruntime", "figures.md": "matplotlib", "video.md": "imageio_ffmpeg"}
"""Documents that need a package of an extra; without it they are skipped."""
SLOW = {"cluster.md", "faults.md", "gala-a2c.md", "methods.md", "performance.md"}
"""Measuring takes time however little is measured, and so do nodes of a cluster and many runs.

The only command of gala-a2c.md is one of the README's.
"""
SERIAL = {"compare.md", "environments.md", "gala-a2c.md"}
"""Their commands are of kinds that the README's train in processes; here they do it in this one."""
MAX_COLUMNS, MAX_README_LINES, MAX_PATH_LINES = 100, 220, 2_000
SMALL_BUDGET, LARGER_BUDGET = "600", "1200"
SMALLER = {
    "dashboard": ["--port", "0"],
    "plan": ["--seconds", "0.2"],
    "simulate": ["--updates", "5"],
    "study": ["--seeds", "1", "--simulators-total", "16", "--rates", "1"],
}
"""Options of commands that make them small; the last value of an option counts."""
LARGER = ["--min-replay", "640", "--steps", "2000"]
"""Options with which every learner of Q-learning can learn from its replay."""


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def write_modules(document: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files that a document shows after their names, where commands import them."""
    text = document.read_text(encoding="utf-8")
    shown = r"^[^\n]*`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)^```"
    for name, module in re.findall(shown, text, flags=re.DOTALL | re.MULTILINE):
        (folder / name).write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


def with_whole_commands(document: Path) -> str:
    """Text of a document, in which commands that continue on further lines are on one."""
    return re.sub(r" *\\\n *", " ", document.read_text(encoding="utf-8"))


def commands(document: Path) -> list[str]:
    """Commands that call gala, in fenced or indented blocks, in their order."""
    return re.findall(r"^(?:    )?(gala .*)$", with_whole_commands(document), flags=re.MULTILINE)


def with_a_small_budget(command: str) -> list[str]:
    """The command's arguments; it trains on fewer agent steps and with fewer simulators."""
    arguments = shlex.split(command)[1:]
    if "--steps" in arguments:
        resumes = arguments[0] == "resume"
        arguments[arguments.index("--steps") + 1] = LARGER_BUDGET if resumes else SMALL_BUDGET
    if "--episodes" in arguments:
        arguments[arguments.index("--episodes") + 1] = "1"
    if "--actors" in arguments and "--cluster" in arguments:
        arguments += ["--actors", "2"]
    elif "--cluster" in arguments:
        arguments += ["--learners", "2", "--learners-per-node", "1"]
    if arguments[0] == "train":
        arguments += ["--simulators", "4"]
    if arguments[0] == "compare":
        arguments += ["--seeds", "1"]
    if arguments[0] == "train" and not {"--steps", "--help"} & set(arguments):
        arguments += ["--steps", SMALL_BUDGET]
    is_default_env = "--env" not in arguments and "--config" not in arguments
    env = arguments[arguments.index("--env") + 1] if "--env" in arguments else ""
    env = "NoFrameskip" if is_default_env else env
    if arguments[0] in ("train", "compare") and ("NoFrameskip" in env or "ALE/" in env):
        arguments += ["--max-episode-frames", "200"]
    arguments += SMALLER.get(arguments[0], [])
    arguments += LARGER * bool({"dqn", "gala-dqn", "r2d2"} & set(arguments[1:2]))
    if arguments[0] == "bench":
        arguments += ["--seconds", "0.2", "--repeats", "1", "--learners", "2"]
        gossip = arguments[1] == "gossip"
        small = ["--parameters", "1k"] if gossip else ["--env", "CartPole-v1", "--simulators", "2"]
        arguments += small
    return arguments


def exit_code(arguments: list[str]) -> object:
    """Exit code of a command; help ends the program itself."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


@contextlib.contextmanager
def while_it_trains(run: RunFolder) -> Iterator[None]:
    """Another terminal, in which a run goes on for as long as it is needed."""
    program = [sys.executable, "-m", "gala_lab.main", "resume", str(run.path), "--steps", "1G"]
    process = subprocess.Popen(
        program,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        give_up = time.monotonic() + 120
        while not run.is_locked:
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(
            d,
            marks=[pytest.mark.slow] * (d.name in SLOW)
            + [pytest.mark.backends] * (d.name in BACKENDS),
        )
        for d in DOCUMENTS
        if commands(d)
    ],
    ids=lambda d: str(d.relative_to(ROOT)),
)
def test_every_command_of_a_document_runs_in_its_order(
    document: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if document.name in EXTRAS:
        pytest.importorskip(EXTRAS[document.name])
    monkeypatch.chdir(tmp_path)
    if any(command.startswith("gala dashboard") for command in commands(document)):
        # It would be served until it is interrupted.
        served = "gala_rl.dashboard.serve.serve"
        monkeypatch.setattr(served, lambda opened, paths: opened.socket.close())
    if document.name in SERIAL:
        # A second thread only gets in the way of tiny networks.
        monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: 1)
    if any("--cluster" in command for command in commands(document)):
        monkeypatch.setenv("RAY_ADDRESS", request.getfixturevalue("machines").address)
    write_modules(document, tmp_path, monkeypatch)
    for block in blocks(document, "json"):
        Path("faults.json").write_text(block, encoding="utf-8")
    for block in blocks(document, "toml"):
        Path("settings.toml").write_text(block, encoding="utf-8")
    for command in commands(document):
        arguments = with_a_small_budget(command)
        trains_anew = arguments[0] in ("train", "compare")
        takes_turns = document.name in SERIAL or (
            arguments[0] == "compare" and document.name not in SLOW
        )
        if takes_turns and trains_anew and "--simulator-processes" not in arguments:
            arguments += ["--serial"]
        trains = while_it_trains(RunFolder(Path(arguments[1]))) if arguments[0] == "scale" else None
        with trains or contextlib.nullcontext():
            assert exit_code(arguments) == 0, command
    if document.name == "export.md":
        (script,) = blocks(document, "python")
        assert len(script.splitlines()) <= 20
        Path("script.py").write_text(script, encoding="utf-8")
        runpy.run_path("script.py")


def test_the_plan_of_faults_in_the_document_is_the_example() -> None:
    (block,) = blocks(ROOT / "docs" / "faults.md", "json")
    assert json.loads(block) == json.loads((ROOT / "examples" / "faults.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "document",
    # Those of export.md play what its commands write.
    [d for d in DOCUMENTS if blocks(d, "python") and d.name != "export.md"],
    ids=lambda d: str(d.relative_to(ROOT)),
)
def test_every_snippet_of_a_document_runs_in_its_order(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_modules(document, tmp_path, monkeypatch)
    script = tmp_path / "snippet.py"
    for block in blocks(document, "python"):
        snippet = block.replace("100_000", SMALL_BUDGET).replace("200_000", LARGER_BUDGET)
        script.write_text(snippet, encoding="utf-8")
        if "__main__" in snippet:  # Its learners are processes that import the file.
            subprocess.run([sys.executable, str(script)], check=True, timeout=120)
        else:
            runpy.run_path(str(script))


def test_every_result_has_its_command_machine_and_commit_and_a_document_names_it() -> None:
    text = "\n".join(map(with_whole_commands, DOCUMENTS))
    for folder in RESULTS.iterdir():
        command = (folder / "command.txt").read_text(encoding="utf-8").strip()
        assert command.removesuffix(" --json") in text
        assert f"benchmarks/results/{folder.name}" in text
        name = "config.json" if (folder / "config.json").is_file() else "result.json"
        provenance = json.loads((folder / name).read_text(encoding="utf-8"))
        assert re.fullmatch("[0-9a-f]{40}", provenance["commit"]), "no uncommitted changes"
        assert provenance["machine"]["cores"] > 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    missing = [
        target
        for target in targets
        if not target.startswith("http") and not (document.parent / target).exists()
    ]
    assert missing == []


def test_every_make_target_of_the_documents_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = set()
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, flags=re.MULTILINE))
    assert {"train", "test", "check"} <= named
    assert named <= targets


def prose(document: Path) -> Iterator[str]:
    """Lines without code, tables, links and what `benchmarks.page` has written."""
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$|^<!-- [\w-]+ -->$.*?^<!-- end -->$", "", text, flags=re.S | re.M)
    for line in text.splitlines():
        if not line.startswith(("|", "    ")) and "](" not in line:
            yield line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_prose_fits_a_hundred_columns(document: Path) -> None:
    assert [line for line in prose(document) if len(line) > MAX_COLUMNS] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MAX_README_LINES


def test_the_reading_order_names_files_of_an_afternoon() -> None:
    section = (ROOT / "README.md").read_text("utf-8").partition("\n## Reading order\n")[2]
    files = re.findall(r"\]\(([\w/.]+\.py)\)", section.partition("\n## ")[0])
    assert len(files) >= 10
    lines = [len((ROOT / file).read_text("utf-8").splitlines()) for file in files]
    assert sum(lines) <= MAX_PATH_LINES


def parameters(signature: str) -> list[str]:
    """Names of the parameters of `name(a, *b, c=2)`."""
    (function,) = ast.parse(f"def {signature}: ...").body
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    repeated = [] if arguments.vararg is None else [arguments.vararg]
    named = (*arguments.posonlyargs, *arguments.args, *repeated, *arguments.kwonlyargs)
    return [argument.arg for argument in named]


@pytest.mark.parametrize("module", [gala_rl, gala_rl.gossip], ids=lambda module: module.__name__)
def test_the_reference_lists_every_public_name_with_its_parameters(module: ModuleType) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    sections = [s for s in text.split("\n## ") if s.startswith(f"{module.__name__}:")]
    rows = re.findall(r"^\| `((\w+)\(.*?\))` \|", "\n".join(sections), flags=re.MULTILINE)
    assert sorted(name for _, name in rows) == sorted(module.__all__)
    for signature, name in rows:
        found = getattr(module, name)
        is_interface = getattr(found, "_is_protocol", False)
        expected = [] if is_interface else list(inspect.signature(found).parameters)
        assert parameters(signature) == expected, name


def test_the_citation_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [project["version"]]
