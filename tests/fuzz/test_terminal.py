"""Names and ids with terminal control codes are printed in one harmless line."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gala_lab.main import main
from gala_rl.cli.console import print_table, say
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder

CLEAR = "\x1b[2J\x1b]0;owned\x07"
NASTY = st.text(
    st.sampled_from(
        "a1-._/:[]\x00\x07\x08\x1b\r\n\t\x7f\x85\x9b\u202e\u2028\u200b\udcff\U000e0041é"
    ),
    max_size=40,
)
ENVIRONMENT = ["train", "a2c", "--out", "there", "--env"]
COMMANDS = (
    ENVIRONMENT,
    ["train", "gala-a2c", "--env", "CartPole-v1", "--learners", "2", "--topology"],
    ["train", "a2c", "--env", "CartPole-v1", "--steps"],
    ["train"],
    ["resume"],
    ["evaluate"],
    ["evaluate", "ended", "--learner"],
    ["theory", "--topology"],
    ["compare", "a2c", "--env", "CartPole-v1", "--steps", "0", "--out"],
    ["bench"],
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; there is a run in it that has no checkpoint."""
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("ended")).create(resolve(TrainConfig(env="CartPole-v1", learners=2)))
    return tmp_path


def told(arguments: list[str]) -> tuple[int, str]:
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        code = main(arguments)
    return code, printed.getvalue()


def check_line(code: int, printed: str) -> None:
    assert code == 2
    line = printed.removesuffix("\n")
    assert line.startswith("gala: ")
    assert line.isprintable()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(word=NASTY)
def test_whatever_is_typed_a_mistake_is_one_printable_line(
    place: Path, command: list[str], word: str
) -> None:
    # A word that begins so is another option; here it is only a value.
    check_line(*told([*command, f"?{word}"]))


@pytest.mark.parametrize("name", [f"x{CLEAR}", "two\nlines", "[/red]", "[bold]x[/bold]"])
def test_a_run_in_a_folder_of_any_name_is_told_of_printably(
    place: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    common = ["--env", "CartPole-v1", "--steps", "40", "--simulators", "2", "--device", "cpu"]
    assert main(["train", "a2c", "--serial", *common, "--out", name]) == 0
    assert main(["evaluate", name, "--episodes", "1"]) == 0
    assert main(["train", "a2c", *common, "--out", name]) == 2
    Path(name, "config.json").write_text(json.dumps({"config": {name: 1}}))
    assert main(["resume", name]) == 2
    printed = "".join(capfd.readouterr())
    assert all(line.isprintable() for line in printed.splitlines())
    assert "\x1b[2J" not in printed
    assert name.encode("unicode_escape").decode() in printed


def test_a_name_that_is_no_text_is_refused(place: Path) -> None:
    code, printed = told([*ENVIRONMENT[:3], "bad\udcff", "--env", "CartPole-v1"])
    check_line(code, printed)
    assert "bad\\udcff is not UTF-8" in printed
    Path("ended").rename("bad\udcff")
    assert "is not UTF-8" in told(["resume", "bad\udcff"])[1]


def test_tables_and_lines_escape_what_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"to {CLEAR}\nnext")
    print_table(f"of {CLEAR}", ["a"], [[f"[/red]{CLEAR}"], ["[bold]b[/bold]"], [":smile:"]])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\nnext\n" in printed
    for shown in ("to \\x1b[2J", "[/red]\\x1b[2J", "[bold]b[/bold]", ":smile:"):
        assert shown in printed


def test_a_learners_last_words_keep_their_lines_and_lose_their_commands() -> None:
    assert str(LearnerFailure(f"Traceback\n  {CLEAR}")) == (
        "Traceback\n  \\x1b[2J\\x1b]0;owned\\x07"
    )


def test_a_long_value_keeps_what_is_said_before_and_after_it() -> None:
    line = str(UserError(f"steps {'9' * 10_000} is too large: use fewer"))
    assert line.startswith("steps 999")
    assert line.endswith("use fewer")
    assert len(line) < 2_100


def test_a_topology_in_a_file_of_any_name_can_be_looked_at(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / f"[red]{CLEAR.replace('/', '')}.json"
    file.write_text("[[0, 1], [1, 0]]")
    assert main(["theory", "--topology", str(file)]) == 0
    assert "\x1b" not in capsys.readouterr().out
