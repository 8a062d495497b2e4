"""The command line of `gala plan`: a table for people, JSON for programs, a command for both."""

import json
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.plan.measuring import Measurement
from tests.plan.made_up import ENV, measurement


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ResolvedConfig, float]]:
    """Replaces measuring by made-up values; holds what was to be measured."""
    calls: list[tuple[ResolvedConfig, float]] = []

    def measure(default: ResolvedConfig, seconds: float) -> Measurement:
        calls.append((default, seconds))
        return measurement(0.9, 0.1)

    monkeypatch.setattr("gala_rl.plan.measuring.measure", measure)
    monkeypatch.setattr("gala_rl.plan.candidates._has_gpu", lambda: False)
    return calls


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["plan", "--env", ENV, *arguments, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_json_has_the_default_first_and_one_advised_row(
    measured: list[tuple[ResolvedConfig, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    content = document(["--cores", "20", "--seconds", "3"], capsys)
    ((default, seconds),) = measured
    assert seconds == 3
    assert (default.method, default.learners, default.simulators) == ("gala-a2c", 8, 16)
    assert (content["env"], content["method"]) == (ENV, "gala-a2c")
    assert (content["cores"], content["gpus"]) == (20, 0)
    rows = content["rows"]
    assert [row["learners"] for row in rows] == [8, 1, 2, 4, 8, 16, 20]
    assert [row["default"] for row in rows] == [True] + 6 * [False]
    assert rows[0]["relative_time"] == 1
    (advised,) = [row for row in rows if row["advised"]]
    assert advised["relative_time"] < 1
    for name in ("learners", "simulators", "topology"):
        assert f"--{name} {advised[name]}" in content["command"]
    assert rows[1]["method"] == "a2c"
    assert rows[1]["topology"] is None
    assert all(0 < row["rho"] <= 1 for row in rows)
    assert [timing["simulators"] for timing in content["measured"]["timings"]] == [
        8,
        16,
        32,
        64,
        128,
    ]
    assert content["measured"]["noise_scale"] == pytest.approx(144)
    assert any("20 cores" in line for line in content["why"])


@pytest.mark.parametrize(("noise", "is_known"), [(1.0, True), (None, False)])
def test_json_has_no_number_that_is_infinite_or_unknown(
    noise: float | None,
    is_known: bool,
    measured: list[tuple[ResolvedConfig, float]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gala_rl.plan.measuring.measure", lambda *_: measurement(noise))
    content = document([], capsys)
    assert content["measured"]["noise_share"] == noise
    assert content["measured"]["noise_scale"] is None
    assert all((row["rho"] is not None) == is_known for row in content["rows"])


def test_the_table_fits_and_the_last_line_is_the_command(
    measured: list[tuple[ResolvedConfig, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--env", ENV, "--cores", "4096"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(("│", "┃", "┏"))]
    assert max(map(len, table)) <= 100
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in table if "│" in line]
    assert cells[0][:4] == ["default", "8", "16", cells[0][3]]
    assert sum("advised" in row for row in cells) == 1
    assert cells[-1][1] == "4,096"
    assert cells[-1][6] == "rotating-exponential"
    assert lines[-1].startswith("next: gala train gala-a2c --env ")


def test_a_default_that_is_advised_has_both_names(
    measured: list[tuple[ResolvedConfig, float]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only = measurement(1.0, simulators=(16,))
    monkeypatch.setattr("gala_rl.plan.measuring.measure", lambda *_: only)
    rows = document(["--cores", "2"], capsys)["rows"]
    assert [(row["learners"], row["default"], row["advised"]) for row in rows] == [
        (2, True, True),
        (1, False, False),
    ]


def test_it_measures_for_real_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "--env", "CartPole-v1", "--seconds", "0.2", "--gpus", "0"]) == 0
    assert "next: gala train " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "impala"], "method impala cannot be planned: its actors run in other"),
        (["--method", "gala-impala"], "choose one of gala-a2c, gala-ppo, gala-reinforce"),
        (["--method", "a2c"], "method a2c cannot be planned: its learners don't gossip; choose"),
        (["--method", "a2c-allreduce"], "choose one of gala-a2c, gala-ppo, gala-reinforce"),
        (["--method", "gala_a2c"], "method 'gala_a2c' is unknown: did you mean gala-a2c?"),
        (["--gpus", "2"], "gpus 2 is impossible: there is no GPU here that PyTorch can use"),
        (["--cores", "0"], "cores 0 is too small"),
        (["--cores", "5k"], "cores 5000 is too large"),
        (["--seconds", "0"], "seconds 0.0 is too small"),
        (["--env", "Nope-v0"], "'Nope-v0' is unknown"),
    ],
)
def test_mistakes_are_one_line_with_the_value_and_nothing_is_measured(
    arguments: list[str],
    words: str,
    measured: list[tuple[ResolvedConfig, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--env", ENV, *arguments]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert words in error
    assert error.count("\n") == 1
    assert not measured


def test_an_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gala_rl.agent.Agent.step", interrupt)
    assert main(["plan", "--env", "CartPole-v1", "--gpus", "0"]) == 130
    assert capsys.readouterr().err == "gala: stopped at once\n"
