"""Evaluation plays the games it was asked for, and counts, cuts and stops them."""

import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gala_lab.main import main
from gala_rl import evaluate, load_network
from gala_rl.app.game_limit import game_limit
from gala_rl.app.games import MAX_SIMULATORS
from gala_rl.app.train import train
from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from tests.support.games import (
    NO,
    YES,
    Interrupted,
    make_run,
    scores,
)

pytestmark = pytest.mark.usefixtures("games")


@pytest.mark.parametrize("episodes", [1, 5, MAX_SIMULATORS, 2 * MAX_SIMULATORS + 3])
def test_as_many_games_are_played_as_were_asked_for(tmp_path: Path, episodes: int) -> None:
    run = make_run(tmp_path / "run", YES, NO)
    result = evaluate(run, episodes=episodes, learner="all")
    assert [len(row["returns"]) for row in result["results"]] == [episodes, episodes]
    assert result["episodes"] == episodes


def test_short_games_are_not_favoured(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES, env="ShortOrLong-v0")
    returns = scores(run, episodes=MAX_SIMULATORS)["mean"]
    assert set(returns) == {1.0, 60.0}
    # The first sixteen games to end would nearly all be short.
    assert returns.count(60.0) >= 5


def test_games_that_a_simulator_s_failure_ended_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One simulator, so that no game is played that is not asked for.
    monkeypatch.setattr("gala_rl.app.games.MAX_SIMULATORS", 1)
    run = make_run(tmp_path / "run", YES, env="Crashing-v0")
    (result,) = evaluate(run, episodes=20)["results"]
    assert set(result["returns"]) == {2.0, 7.0}
    assert result["simulator_failures"] == result["returns"].count(2.0)
    assert main(["evaluate", str(run), "--episodes", "20"]) == 0
    assert f"simulator failures: {result['simulator_failures']};" in capsys.readouterr().out
    sound = make_run(tmp_path / "sound", YES)
    assert evaluate(sound, episodes=2)["results"][0]["simulator_failures"] == 0
    assert main(["evaluate", str(sound), "--episodes", "2"]) == 0
    assert "failures" not in capsys.readouterr().out


@pytest.mark.parametrize("episodes", [3, MAX_SIMULATORS + 3])
def test_games_that_do_not_end_are_cut_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], episodes: int
) -> None:
    run = make_run(tmp_path / "run", YES, env="Endless-v0")
    result = evaluate(run, episodes=episodes, max_steps=50)
    assert result["max_steps"] == 50
    assert result["results"][0]["returns"] == [50.0] * episodes
    assert result["results"][0]["games_cut"] == episodes
    command = ["evaluate", str(run), "--episodes", str(episodes), "--max-steps", "50"]
    assert main(command) == 0
    assert f"games cut after 50 agent steps (--max-steps): {episodes};" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result


def test_games_that_end_are_not_cut_though_others_are(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES, env="ShortOrLong-v0")
    (result,) = evaluate(run, episodes=2 * MAX_SIMULATORS + 3, max_steps=30)["results"]
    assert len(result["returns"]) == 2 * MAX_SIMULATORS + 3
    assert set(result["returns"]) == {1.0, 30.0}
    assert result["games_cut"] == result["returns"].count(30.0)
    (whole,) = evaluate(run, episodes=MAX_SIMULATORS, max_steps=60)["results"]
    assert (set(whole["returns"]), whole["games_cut"]) == ({1.0, 60.0}, 0)


def test_by_default_games_have_as_many_steps_as_the_emulator_gives_them() -> None:
    long = replace(AtariProtocol(), frame_skip=3, max_episode_frames=1_000)
    atari = TrainConfig(env="ALE/Pong-v5", atari=long)
    assert game_limit(atari, None) == 334
    assert game_limit(atari, 5) == 5
    assert game_limit(TrainConfig(env="ALE/Pong-v5"), None) == 27_000
    assert game_limit(TrainConfig(env="Endless-v0", atari=long), None) == 27_000


def test_ctrl_c_shows_the_games_that_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gala_rl.app.games.MAX_SIMULATORS", 1)
    run = make_run(tmp_path / "run", YES, NO, env="Interrupted-v0")
    result = evaluate(run, episodes=20, learner="all")
    assert result["interrupted"]
    assert [(row["learner"], row["returns"]) for row in result["results"]] == [("0", [7.0, 7.0])]
    assert main(["evaluate", str(run), "--learner", "0", "--episodes", "20"]) == 130
    printed = capsys.readouterr().out
    assert "stopped before all 20 games of each policy were over: long games are missing" in printed
    assert "7.00" in printed
    assert main(["evaluate", str(run), "--learner", "0", "--episodes", "2"]) == 0
    assert "stopped" not in capsys.readouterr().out


def test_ctrl_c_in_the_first_game_says_that_none_was_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Interrupted, "game", 2)
    run = make_run(tmp_path / "run", YES, env="Interrupted-v0")
    assert main(["evaluate", str(run), "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["results"] == []
    assert main(["evaluate", str(run)]) == 130
    assert capsys.readouterr().out == (
        "stopped before all 10 games of each policy were over: --max-steps cuts long ones\n"
    )


@pytest.mark.parametrize("terminal", [False, True])
def test_an_evaluation_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("gala_rl.app.progress._PLAIN_LINE_EVERY_S", 0.0)
    monkeypatch.setattr("gala_rl.app.progress._REDRAW_EVERY_S", 0.0)
    run = make_run(tmp_path / "run", YES, NO)
    file = io.StringIO()
    evaluate(run, episodes=2, learner="all", console=Console(file=file, force_terminal=terminal))
    assert "0 of 4 games over | agent steps 2 | " in file.getvalue() or terminal
    for words in ("2 of 4 games over | agent steps 14 | ", "4 of 4 games over | agent steps 28 |"):
        assert words in file.getvalue() or terminal
    assert "games over" in file.getvalue() or "playing" in file.getvalue()


def test_a_short_evaluation_prints_nothing_but_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(make_run(tmp_path / "run", YES)), "--episodes", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "games" in printed.out


def test_the_seed_decides_the_games(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0.0, 0.0))
    options: dict[str, Any] = {"episodes": 20, "policy": "sample"}
    first = scores(run, seed=1, **options)
    assert scores(run, seed=1, **options) == first
    assert scores(run, seed=2, **options) != first


def test_statistics_fit_the_returns(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (0.0, 0.0))
    result = evaluate(run, episodes=9, policy="sample")["results"][0]
    returns = result["returns"]
    assert result["mean_return"] == pytest.approx(np.mean(returns))
    assert result["standard_error"] == pytest.approx(np.std(returns, ddof=1) / 3)
    assert (result["min"], result["max"]) == (min(returns), max(returns))


def test_one_game_has_no_spread(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES)
    assert evaluate(run, episodes=1)["results"][0]["standard_error"] is None


def test_nothing_is_written_by_playing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", YES)
    before = sorted(run.rglob("*"))
    evaluate(run, episodes=1)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learner": "2"}, "'2' is unknown: choose 0, 1, all or mean"),
        ({"episodes": 0}, "episodes 0 is too small"),
        ({"seed": -1}, "seed -1 is impossible"),
        ({"max_steps": 0}, "max_steps 0 is too small"),
    ],
)
def test_what_cannot_be_played_is_refused(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    run = make_run(tmp_path / "run", YES, NO)
    with pytest.raises(UserError, match=words):
        evaluate(run, **options)


def test_games_that_draw_from_global_generators_are_the_same_twice_and_disturb_nobody(
    tmp_path: Path,
) -> None:
    config = TrainConfig(
        method="a2c",
        env="tests.environments:DrawingGlobally-v0",
        simulators=2,
        steps=20,
        serial=True,
        out=str(tmp_path / "run"),
    )
    before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    train(config, Console(file=io.StringIO()))
    load_network(tmp_path / "run")
    first = scores(tmp_path / "run", episodes=4, seed=1)
    assert (random.getstate(), repr(np.random.get_state())) == before  # noqa: NPY002
    random.random()
    assert scores(tmp_path / "run", episodes=4, seed=1) == first
    assert scores(tmp_path / "run", episodes=4, seed=2) != first
