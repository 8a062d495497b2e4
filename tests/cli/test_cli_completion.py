"""Completion in a real bash: commands, methods, options, values and folders."""

import subprocess
import sys
from pathlib import Path

import pytest

from gala_lab.main import main
from gala_rl.methods import METHODS

COMPLETE = """
source ./completion
words=("$@"); COMP_WORDS=("${words[@]}"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
function=$(complete -p gala | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function" gala "${words[-1]}" "${words[-2]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "bash"])
    assert end.value.code == 0
    Path("completion").write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "rules.toml").touch()
    return tmp_path / "completion"


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words after `gala`."""
    result = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", "gala", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout.split()


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], ["train"]),
        (["train", "gala-p"], ["gala-ppo"]),
        (["train", "ppo", "--normalize-r"], ["--normalize-rewards"]),
        (["train", "ppo", "--precision", ""], ["float32", "bfloat16"]),
        (["train", "ppo", "--config", "ru"], ["rules.toml", "runs"]),
        (["train", "ppo", "--out", "ru"], ["runs"]),
        (["resume", "runs/"], ["runs/first"]),
        (["bench", "over"], ["overhead"]),
        (["compare", "a2c", "gala-a2"], ["gala-a2c"]),
    ],
)
def test_bash_completes(words: list[str], offered: list[str]) -> None:
    assert sorted(completed(*words)) == sorted(offered)


@pytest.mark.usefixtures("script")
def test_bash_offers_every_method() -> None:
    assert sorted(completed("train", "")) == sorted(method.name for method in METHODS)


def test_zsh_gets_a_script_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--print-completion", "zsh"])
    assert capsys.readouterr().out.startswith("#compdef gala\n")


def test_another_shell_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "fish"]) == 2
    assert "'fish' is unknown: choose one of bash, zsh" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "ppo", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom gala_lab.main import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'gymnasium', 'shtab', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
