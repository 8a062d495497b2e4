"""Help of every command: fits the terminal, breaks no word, ends with examples that can be run."""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from gala_lab.main import LABORATORY, main
from gala_lab.simulation.cli import _HEADINGS
from gala_lab.simulation.simulation_config import SimulationConfig
from gala_rl.cli import main as command_line
from gala_rl.cli import train_options
from gala_rl.cli.parser import _HINTS, _SYNONYMS, ELSEWHERE
from gala_rl.config.settings import AlgorithmSettings
from gala_rl.config.train import TrainConfig
from gala_rl.methods import ALGORITHMS, METHODS, find

MOST_IN_A_GROUP = 15


def parsers(
    parser: argparse.ArgumentParser | None = None,
) -> Iterator[argparse.ArgumentParser]:
    """The parser of `gala` and those of all commands below it."""
    parser = parser or command_line._parser(LABORATORY)
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


PARSERS = {parser.prog: parser for parser in parsers()}


def examples(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  gala ")]


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", PARSERS)
def test_help_follows_the_terminal_and_keeps_words_whole(
    monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    parser = PARSERS[name]
    text = parser.format_help()
    body = text.partition("\n\n")[2]
    lines = [line for line in body.splitlines() if line.strip() not in examples(text)]
    assert max(map(len, lines)) <= min(columns, 100)
    together = " ".join(text.split())
    for action in parser._actions:
        if action.help and not action.choices:
            assert " ".join((action.help % {"prog": parser.prog}).split()) in together


@pytest.mark.parametrize("name", PARSERS)
def test_help_has_no_empty_default_and_no_crowded_group(name: str) -> None:
    parser = PARSERS[name]
    for action in parser._actions:
        text = action.help or ""
        assert not re.search(r"default: *\)|default: \w+ *\)$(?<=ppo \))|default: *$", text)
        assert text.count("default:") <= 1
        assert "; default" not in text, "the default of None belongs to `unset`"
        if action.option_strings and action.nargs != 0 and not action.choices:
            assert action.metavar, action.option_strings
    for group in parser._action_groups:
        assert len(group._group_actions) <= MOST_IN_A_GROUP, group.title


def test_times_are_in_seconds() -> None:
    train = PARSERS["gala train"]
    shown = {
        action.option_strings[-1]: action.metavar
        for action in train._actions[1:]
        if action.option_strings
    }
    times = ("--hang-after", "--checkpoint-every", "--deadline", "--simulator-deadline")
    assert {shown[time] for time in times} == {"SECONDS"}


@pytest.mark.parametrize("name", PARSERS)
def test_help_ends_with_examples_that_are_understood(name: str) -> None:
    given = examples(PARSERS[name].format_help())
    assert given
    for example in given:
        assert len(example) <= 78
        assert name == "gala" or example.startswith(f"{name} ") or example == name
        if not example.endswith("--help"):
            command_line._parser(LABORATORY).parse_args(shlex.split(example)[1:])


def test_headings_are_over_settings_that_exist() -> None:
    headings: dict[Any, Any] = {TrainConfig: train_options.HEADINGS, SimulationConfig: _HEADINGS}
    for kind, own in headings.items():
        names = [name for under in own.values() for name in under]
        assert len(names) == len(set(names))
        assert set(names) <= set(kind.__dataclass_fields__)
    assert set(train_options._OPTIMIZER) <= set(AlgorithmSettings.__dataclass_fields__)


def test_every_setting_of_a_run_is_under_what_a_person_decides() -> None:
    under = {name for names in train_options.HEADINGS.values() for name in names}
    assert under == set(TrainConfig.__dataclass_fields__) - {"method"}
    titles = [group.title for group in PARSERS["gala train"]._action_groups]
    order = [title for title in titles if title in train_options.HEADINGS]
    assert order == list(train_options.HEADINGS)


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_help_of_a_method_has_its_settings_and_their_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main(["train", method, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: gala train {method} [options]")
    assert max(map(len, text.splitlines())) <= 80
    own = {entry.name for entry in fields(find(method).settings("discrete"))}
    flags = set(re.findall(r"^  (--[a-z-]+)", text, flags=re.MULTILINE))
    for name in {entry.name for kind in ALGORITHMS.values() for entry in fields(kind)}:
        assert (f"--{name.replace('_', '-')}" in flags) is (name in own)
    assert ("--topology" in flags) is find(method).gossips
    for example in examples(text):
        command_line._parser(LABORATORY).parse_args(shlex.split(example)[1:])


def test_help_of_a_method_has_values_for_each_kind_of_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--seed", "3", "ppo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    values = "Atari 0.00025, other discrete actions 0.001, continuous 0.0003"
    assert f"before --learning-rate-rule (default: {values})" in text
    assert main(["train", "pppo", "--help"]) == 2
    assert "did you mean ppo?" in capsys.readouterr().err


def test_help_shows_the_names_that_other_packages_use() -> None:
    for option, names in ELSEWHERE.items():
        for name in names.split(", "):
            assert name.replace("_", "-") in _SYNONYMS[option].split()
        shown = PARSERS["gala train"]._option_string_actions[option].help
        assert f"; elsewhere {names}" in str(shown)


def test_settings_of_one_algorithm_are_under_its_name() -> None:
    groups = {group.title: group for group in PARSERS["gala train"]._action_groups}
    own = next(group for title, group in groups.items() if title and title.startswith("ppo only"))
    names = {action.dest.removeprefix("algorithm.") for action in own._group_actions}
    others = [kind for name, kind in ALGORITHMS.items() if name != "ppo"]
    elsewhere = {name for kind in others for name in kind.__dataclass_fields__}
    assert names == set(ALGORITHMS["ppo"].__dataclass_fields__) - elsewhere
    assert own.title == "ppo only (gala-ppo, ppo, ppo-allreduce, ppo-async)"


@pytest.mark.parametrize("arguments", [[], ["bench"]])
def test_a_command_that_needs_another_shows_its_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"usage: {' '.join(['gala', *arguments])} ")
    assert "\nexample" in printed.err


def test_words_of_other_packages_lead_to_options_that_exist() -> None:
    commands = [set(parser._option_string_actions) for parser in PARSERS.values()]
    for option, synonyms in _SYNONYMS.items():
        for word in synonyms.split():
            assert any(option in own and f"--{word}" not in own for own in commands), word
    # Synonyms of the command's own options come first; hints say what training does instead.
    train = set(PARSERS["gala train"]._option_string_actions)
    words = {word for option in train & set(_SYNONYMS) for word in _SYNONYMS[option].split()}
    hints = {word for words in _HINTS for word in words.split()}
    assert not hints & words
    assert not {f"--{word}" for word in words | hints} & train
