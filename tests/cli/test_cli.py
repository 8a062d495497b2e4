"""The command line: every option arrives, every ending has its exit code."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from gala_lab.main import main
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig, from_dict
from gala_rl.errors import LearnerFailure
from gala_rl.methods import ALGORITHMS, METHODS, find
from gala_rl.methods.resolving import resolve
from tests.support.run_folders import fake_run

SUMMARY: dict[str, Any] = {
    "run": "somewhere",
    "agent_steps": 4_000_000,
    "updates": 50_000,
    "agent_steps_per_s": 1234.5,
    "mean_return": None,
    "interrupted": False,
    "killed": 0,
}


@pytest.mark.parametrize("module", ["gala_rl", "gala_lab.main"])
def test_the_module_is_a_program_whose_exit_code_is_that_of_main(module: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", module, "trian"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("gala: ")


def settings() -> Iterator[tuple[str, Any, Any]]:
    """(group, field, type) of every setting but the method, which has no option."""
    groups: list[tuple[str, Any]] = [("", TrainConfig)]
    while groups:
        group, kind = groups.pop()
        for entry in dataclasses.fields(kind):
            hint = get_type_hints(kind)[entry.name]
            if entry.name == "algorithm":
                groups += [(f"algorithm.{name}", kind) for name, kind in ALGORITHMS.items()]
            elif dataclasses.is_dataclass(hint):
                groups.append((entry.name, hint))
            elif entry.name != "method":
                yield group, entry, hint


def test_every_setting_is_in_the_help_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    count = 0
    for _, entry, _ in settings():
        assert f" {entry.metadata['flag'] or '--' + entry.name.replace('_', '-')}" in text
        assert " ".join(entry.metadata["help"].split()[:3]) in text
        count += 1
    assert count > 35


def another(entry: Any, hint: Any) -> tuple[list[str], Any]:
    """Arguments that change a setting from its default, and the value they mean."""
    flag, kinds = f"--{entry.name.replace('_', '-')}", get_args(hint) or (hint,)
    if entry.name == "bias_correction":
        return ["--no-bias-correction"], False  # refused with another optimizer, as a test shows
    if bool in kinds:
        value = entry.default is False
        return [flag if value else flag.replace("--", "--no-")], value
    if get_origin(hint) is Literal:
        choice = next(c for c in kinds if c not in (entry.default, "cuda"))
        return [flag, choice], choice
    if str in kinds:
        text = {
            "env": "ALE/Breakout-v5",
            "network": "deep",
            "topology": "complete",
            "out": "elsewhere",
            "fault_plan": "faults.json",
            "init_from": "another",
            "init_checkpoint": "best",
        }[entry.name]
        return [flag, text], text
    if int in kinds:
        # Larger replays take too much memory, and fewer steps leave no time to learn.
        special = {"replay_size": 200_000, "steps": 1_000_000}
        number = special.get(entry.name, (entry.default or 8) + 1)
        return [flag, str(number)], number
    fraction = (entry.default or 0.5) / 2
    return [flag, str(fraction)], fraction


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ResolvedConfig]:
    """Configs that training was called with, in place of training."""
    configs: list[ResolvedConfig] = []

    def note(config: ResolvedConfig) -> dict[str, Any]:
        configs.append(config)
        return SUMMARY

    monkeypatch.chdir(tmp_path)
    Path("faults.json").write_text('{"faults": []}', encoding="utf-8")
    monkeypatch.setattr("gala_rl.app.preflight.check_init", lambda config: None)
    monkeypatch.setattr("gala_rl.app.train.train_checked", note)
    return configs


def is_apart(method: str, group: str, name: str) -> bool:
    """Whether an option is refused beside the others; tests of their own are elsewhere."""
    preset, sharing = find(method).settings("atari"), find(method).sharing
    return (
        (group.startswith("algorithm.") and group != f"algorithm.{preset.name}")
        # Refused for images and with another learning rate rule.
        or name in ("normalize_observations", "preset", "hidden", "activation")
        # Not with an LSTM.
        or name == "shared_torso"
        # C++ threads step the game.
        or name in ("simulator_processes", "simulator_deadline", "env_args", "wrappers")
        # Not with --serial, nor on a ring.
        or name in ("max_learners", "learners_per_node", "cluster", "message_precision")
        or (name == "learners" and sharing == "nothing")
        or (group == "gossip" and sharing != "gossip")
        or (name in ("serial", "target_kl") and sharing == "gradients")
        # Not with as many actors as simulators.
        or (
            name in ("serial", "normalize_rewards", "simulator_groups") and preset.acts_in_processes
        )
        # Not so many replays, no memory, and a schedule only with its numbers.
        or (name == "learners" and preset.learns_action_values)
        or (name in ("lstm_size", "exploration") and preset.name == "dqn")
    )


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_every_option_sets_its_own_setting(trained: list[ResolvedConfig], method: str) -> None:
    preset = find(method).settings("atari")
    arguments = ["train", method]
    expected: dict[str, Any] = {"method": method, "algorithm": {"name": preset.name}}
    for group, entry, hint in settings():
        if is_apart(method, group, entry.name):
            continue
        given, value = (["--log", "csv"], ("csv",)) if entry.name == "log" else another(entry, hint)
        arguments += given
        inner = expected.setdefault(group.partition(".")[0], {}) if group else expected
        inner[entry.name] = value
    assert main(arguments) == 0
    assert trained == [resolve(from_dict(expected, ALGORITHMS))]


def test_an_environment_has_arguments_and_wrappers(trained: list[ResolvedConfig]) -> None:
    wrap = ["tests.environments.makers:limit", "tests.environments.makers:negate"]
    options = ["--env", "FrozenLake-v1", "--env-arg", "map_name=8x8", "--wrap", wrap[0]]
    options += ["--env-arg", "is_slippery=false", "--wrap", wrap[1]]
    assert main(["train", "a2c", *options]) == 0
    args = {"map_name": "8x8", "is_slippery": False}
    expected = TrainConfig(method="a2c", env="FrozenLake-v1", env_args=args, wrappers=tuple(wrap))
    assert trained == [resolve(expected)]


def test_layers_for_vectors_have_options(trained: list[ResolvedConfig]) -> None:
    options = ["--hidden", "256,128", "--activation", "silu", "--no-shared-torso"]
    assert main(["train", "a2c", "--env", "CartPole-v1", *options]) == 0
    expected = TrainConfig(method="a2c", env="CartPole-v1", hidden=(256, 128), activation="silu")
    assert trained == [resolve(dataclasses.replace(expected, shared_torso=False))]


def test_learners_can_be_on_nodes(trained: list[ResolvedConfig]) -> None:
    options = ["--topology", "hierarchical", "--learners-per-node", "2", "--learners", "4"]
    assert main(["train", "gala-a2c", *options]) == 0
    gossip = GossipSettings(topology="hierarchical")
    assert trained == [resolve(TrainConfig(learners=4, learners_per_node=2, gossip=gossip))]


def test_learners_can_be_on_a_cluster(trained: list[ResolvedConfig]) -> None:
    options = ["--cluster", "10.0.0.1:6379", "--learners", "4", "--message-precision", "bfloat16"]
    assert main(["train", "gala-a2c", *options]) == 0
    (config,) = trained
    given = TrainConfig(cluster="10.0.0.1:6379", learners=4, message_precision="bfloat16")
    assert config == resolve(given)


def test_there_can_be_room_for_more_learners(trained: list[ResolvedConfig]) -> None:
    assert main(["train", "gala-a2c", "--learners", "2", "--max-learners", "6"]) == 0
    assert trained == [resolve(TrainConfig(learners=2, max_learners=6))]


@pytest.mark.parametrize(("flag", "value"), [("--", True), ("--no-", False)])
def test_what_a_method_may_turn_on_can_be_turned_on_and_off(
    trained: list[ResolvedConfig], flag: str, value: bool
) -> None:
    arguments = ["train", "a2c", "--env", "CartPole-v1", f"{flag}normalize-observations"]
    assert main(arguments) == 0
    (config,) = trained
    assert config.algorithm.normalizes_observations == value


def test_simulators_can_have_processes(trained: list[ResolvedConfig]) -> None:
    options = ["--simulator-processes", "2", "--simulator-deadline", "0.5"]
    assert main(["train", "a2c", "--env", "CartPole-v1", *options]) == 0
    (config,) = trained
    assert (config.simulator_processes, config.simulator_deadline) == (2, 0.5)


def test_without_options_every_setting_has_its_default(trained: list[ResolvedConfig]) -> None:
    assert main(["train", "a2c"]) == 0
    assert trained == [resolve(TrainConfig(method="a2c"))]


@pytest.mark.parametrize("steps", ["4000000", "4_000_000", "4e6", "4M", "4000k"])
def test_step_counts_can_be_written_in_several_ways(
    trained: list[ResolvedConfig], steps: str
) -> None:
    assert main(["train", "a2c", "--steps", steps]) == 0
    assert trained == [resolve(TrainConfig(method="a2c", steps=4_000_000))]


def test_a_program_that_fails_ends_with_1_and_says_why(
    trained: list[ResolvedConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(config: ResolvedConfig) -> None:
        raise LearnerFailure("learner 3 died\nValueError: x")

    monkeypatch.setattr("gala_rl.app.train.train_checked", fail)
    assert main(["train", "a2c"]) == 1
    assert capsys.readouterr().err == "gala: learner 3 died\nValueError: x\n"


def test_an_interrupt_ends_with_130(
    trained: list[ResolvedConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(config: ResolvedConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gala_rl.app.train.train_checked", interrupt)
    assert main(["train", "a2c"]) == 130
    assert capsys.readouterr().err == "gala: stopped at once\n"


def test_a_stopped_run_ends_with_130_and_tells_how_to_continue(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trained: list[ResolvedConfig],
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = SUMMARY | {"interrupted": True}
    monkeypatch.setattr("gala_rl.app.train.train_checked", lambda config: stopped)

    def last_line() -> str:
        assert main(["train", "a2c"]) == 130
        return capsys.readouterr().out.splitlines()[-1]

    fake_run(tmp_path / "somewhere", agent_steps=None)
    anew = "gala train gala-a2c --resume --out somewhere"
    assert last_line() == f"stopped; continue with: {anew}"
    (tmp_path / "somewhere" / "checkpoints" / "step_000000000400").mkdir()
    assert last_line() == "stopped; continue with: gala resume somewhere"
    stopped["killed"] = 2
    assert "2 of the learners killed unsaved; continue with: gala resume" in last_line()
    stopped |= {"updates": 0, "agent_steps": 0}
    assert last_line().startswith("stopped before any update; continue with: ")


def test_train_with_resume_starts_a_run_that_is_not_there(trained: list[ResolvedConfig]) -> None:
    assert main(["train", "a2c", "--out", "new", "--resume"]) == 0
    assert trained == [resolve(TrainConfig(method="a2c", out="new"))]


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [(["--steps", "900"], 900), ([], 400), (["--env", "CartPole-v1", "--seed", "0"], 400)],
)
def test_train_with_resume_continues_a_run_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], steps: int
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_run(tmp_path / "ended", agent_steps=399)
    calls: list[tuple[str, int]] = []

    def note(run: str, config: ResolvedConfig, checkpoint: str) -> dict[str, Any]:
        assert checkpoint == "newest"
        calls.append((run, config.steps))
        return SUMMARY

    monkeypatch.setattr("gala_rl.app.train.resume_checked", note)
    monkeypatch.setattr("gala_rl.app.restart.is_resumable", lambda run: True)
    options = ["--out", "ended", "--resume", *arguments]
    assert main(["train", "gala-a2c", *options]) == 0
    assert calls == [("ended", steps)]


def test_methods_are_listed_with_their_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    for word in ("gala-a2c", "a2c", "Assran", "1906.04585", "Mnih", "1602.01783"):
        assert word in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_the_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"gala-rl {metadata.version('gala-rl')}\n"
