"""The documents: every command and every snippet in them runs, every link leads somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gala_rl import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
SMALL_BUDGET, LARGER_BUDGET = "600", "1200"


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[str]:
    """Lines that call gala, in fenced or indented blocks, in their order."""
    text = document.read_text(encoding="utf-8")
    return re.findall(r"^(?:    )?(gala .*)$", text, flags=re.MULTILINE)


def with_a_small_budget(command: str) -> list[str]:
    """The command's arguments; it trains on fewer agent steps and with fewer simulators."""
    arguments = shlex.split(command)[1:]
    if "--steps" in arguments:
        resumes = arguments[0] == "resume"
        arguments[arguments.index("--steps") + 1] = LARGER_BUDGET if resumes else SMALL_BUDGET
    if "--episodes" in arguments:
        arguments[arguments.index("--episodes") + 1] = "1"
    if arguments[0] == "train":
        arguments += ["--simulators", "4", "--max-episode-frames", "200"]
    return arguments


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if commands(d)], ids=lambda d: str(d.relative_to(ROOT))
)
def test_every_command_of_a_document_runs_in_its_order(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands(document):
        assert cli.main(with_a_small_budget(command)) == 0, command


@pytest.mark.parametrize("number", range(len(blocks(ROOT / "README.md", "python"))))
def test_every_snippet_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    snippet = blocks(ROOT / "README.md", "python")[number].replace("100_000", SMALL_BUDGET)
    script = tmp_path / "snippet.py"
    script.write_text(snippet, encoding="utf-8")
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True, timeout=120)


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
