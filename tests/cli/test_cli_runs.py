"""The command line from beginning to end: a small run, what it leaves, and what can follow."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gala_lab.main import main
from gala_rl import load_network
from gala_rl.cli import main as command_line
from gala_rl.records import checkpoint
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from tests.support.run_folders import tree


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks are slower on many threads, above all on a busy machine."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gala_rl.config.resolved.usable_cores", lambda: 1)
        patch.setattr("gala_rl.app.games.usable_cores", lambda: 1)
        yield
    torch.set_num_threads(before)


def quietly(arguments: list[str]) -> tuple[int, str]:
    """Exit code and standard output, where pytest's own capture can't be had."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = main(arguments)
    return code, printed.getvalue()


STEPS = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small finished run of two learners, and what it printed; read-only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    code, printed = quietly(
        ["train", "gala-a2c", "--env", "CartPole-v1", "--serial", "--learners", "2",
         "--simulators", "2", "--steps", str(STEPS), "--log-every", "8", "--device", "cpu",
         "--out", str(folder)]
    )  # fmt: skip
    assert code == 0
    return folder, printed


def rows_of(folder: Path, learner: int) -> list[dict[str, Any]]:
    text = RunFolder(folder).metrics_file(learner).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_tells_what_it_does_and_what_comes_next(run: tuple[Path, str]) -> None:
    folder, printed = run
    first, *_, outcome, following = printed.splitlines()
    assert first.startswith("gala-a2c on CartPole-v1: 2 learners x 2 simulators on cpu")
    assert f"run in {folder}" in first
    assert outcome.startswith(f"{STEPS} agent steps at ")
    assert following == f"next: gala evaluate {folder}"


def test_the_number_of_parameters_told_is_that_of_the_network(run: tuple[Path, str]) -> None:
    told, true = run[1].splitlines()[0], load_network(run[0]).parameters()
    assert f", {sum(parameter.numel() for parameter in true):,} parameters, " in told


def test_scores_below_one_are_told() -> None:
    summary = {"updates": 5, "agent_steps": 9, "agent_steps_per_s": 3.0, "interrupted": False}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        command_line._report(summary | {"mean_return": -0.0391}, "run")
    assert "mean return -0.0391" in printed.getvalue()


def test_the_summary_adds_up(run: tuple[Path, str]) -> None:
    summary = read_json(run[0] / "summary.json")
    assert set(summary) == {
        "run", "method", "env", "agent_steps", "env_frames", "updates", "mixes", "restarts",
        "episodes", "mean_return", "interrupted", "failed", "killed", "learners",
        "agent_steps_per_s", "elapsed_s", "stopped_because",
    }  # fmt: skip
    assert (summary["method"], summary["env"]) == ("gala-a2c", "CartPole-v1")
    assert summary["agent_steps"] == summary["env_frames"] == STEPS
    assert summary["updates"] == STEPS // (5 * 2)
    assert (summary["interrupted"], summary["failed"], summary["restarts"]) == (False, False, 0)
    assert summary["agent_steps_per_s"] * summary["elapsed_s"] == pytest.approx(STEPS)
    learners = summary["learners"]
    assert [learner["learner"] for learner in learners] == [0, 1]
    for total in ("agent_steps", "env_frames", "updates", "mixes", "restarts", "episodes"):
        assert summary[total] == sum(learner[total] for learner in learners)
    # Learner 0 takes its first turn before anybody has sent anything.
    assert [learner["mixes"] for learner in learners] == [19, 20]


def test_metrics_and_summary_agree(run: tuple[Path, str]) -> None:
    summary = read_json(run[0] / "summary.json")
    returns: list[float] = []
    for learner in (0, 1):
        rows = rows_of(run[0], learner)
        assert [row["updates"] for row in rows] == [8, 16, 20]
        assert [row["agent_steps"] for row in rows] == [80, 160, 200]
        assert {row["learner"] for row in rows} == {learner}
        own = [score for row in rows for score in row["episode_returns"]]
        lengths = [length for row in rows for length in row["episode_agent_steps"]]
        assert own == lengths  # CartPole gives 1 for every step
        assert rows[-1]["mean_return"] == pytest.approx(np.mean(own))
        assert rows[-1]["episodes"] == len(own) == summary["learners"][learner]["episodes"]
        assert rows[-1]["mixes"] == summary["learners"][learner]["mixes"]
        returns += own
    assert summary["mean_return"] == pytest.approx(np.mean(returns))


def test_rows_of_metrics_tell_everything_that_is_documented(run: tuple[Path, str]) -> None:
    numbers = {
        "time", "learner", "agent_steps", "env_frames", "total_agent_steps", "updates",
        "agent_steps_per_s", "mean_return", "episodes", "policy_loss", "value_loss", "entropy",
        "grad_norm", "update_norm", "learning_rate", "mixes", "staleness_updates", "overdue",
        "rollout_s", "update_s", "gossip_s", "wait_s", "simulator_failures", "cores", "rss_mb",
    }  # fmt: skip
    for row in rows_of(run[0], 1):
        assert set(row) == numbers | {
            "episode_returns", "episode_agent_steps", "episode_times", "rejected"
        }  # fmt: skip
        assert len(row["episode_times"]) == len(row["episode_returns"])
        assert all(0 <= row["time"] - ended_at < 60 for ended_at in row["episode_times"][:-1])
        assert all(isinstance(row[name], int | float) for name in numbers)
        assert row["agent_steps_per_s"] > 0
        assert 0 < row["entropy"] <= np.log(2) + 1e-6
        assert 0 < row["learning_rate"] < 7e-4 * 2 * np.sqrt(2 / 16), "its bias is corrected"


def test_tensorboard_shows_what_the_metrics_say(run: tuple[Path, str]) -> None:
    events = EventAccumulator(str(run[0] / "tensorboard"))
    events.Reload()
    rows = rows_of(run[0], 1)
    for name in ("mean_return", "entropy", "grad_norm", "mixes", "learning_rate"):
        scalars = events.Scalars(f"learner_01/{name}")
        assert [s.step for s in scalars] == [row["total_agent_steps"] for row in rows]
        assert [s.value for s in scalars] == pytest.approx([row[name] for row in rows])
    text = RunFolder(run[0]).consensus_file.read_text(encoding="utf-8")
    apart = [json.loads(line)["consensus_rms"] for line in text.splitlines()]
    assert [s.value for s in events.Scalars("consensus/rms")] == pytest.approx(apart)
    final = events.Scalars("charts/episodic_return")[-1].value
    assert final == pytest.approx(read_json(run[0] / "summary.json")["mean_return"])


def test_the_same_serial_run_twice_learns_the_same(run: tuple[Path, str], tmp_path: Path) -> None:
    again = tmp_path / "again"
    config = read_json(run[0] / "config.json")["config"]
    code, _ = quietly(
        ["train", "gala-a2c", "--env", "CartPole-v1", "--serial", "--learners", "2",
         "--simulators", "2", "--steps", str(config["steps"]), "--device", "cpu",
         "--out", str(again)]
    )  # fmt: skip
    assert code == 0
    parameters = []
    for folder in (run[0], again):
        saved = checkpoint.newest(folder / "checkpoints")
        assert saved is not None
        parameters.append([saved.load(rank).tensors["parameters"] for rank in (0, 1)])
    for left, right in zip(*parameters, strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(*parameters[0])


def test_evaluate_prints_json_whose_numbers_fit(run: tuple[Path, str]) -> None:
    code, printed = quietly(
        ["evaluate", str(run[0]), "--episodes", "3", "--learner", "all", "--policy", "sample",
         "--json"]
    )  # fmt: skip
    assert code == 0
    result = json.loads(printed)
    assert (result["method"], result["env"]) == ("gala-a2c", "CartPole-v1")
    assert (result["agent_steps"], result["checkpoint"]) == (STEPS, f"step_{STEPS:012d}")
    assert (result["policy"], result["episodes"], result["seed"]) == ("sample", 3, 0)
    assert [row["learner"] for row in result["results"]] == ["0", "1"]
    for row in result["results"]:
        scores = row["returns"]
        assert len(scores) == 3
        assert row["mean_return"] == pytest.approx(sum(scores) / 3)
        assert row["standard_error"] == pytest.approx(np.std(scores, ddof=1) / 3**0.5)
        assert (row["min"], row["max"]) == (min(scores), max(scores))


def test_evaluate_prints_a_table(run: tuple[Path, str]) -> None:
    before = tree(run[0])
    code, printed = quietly(["evaluate", str(run[0]), "--episodes", "1"])
    assert code == 0
    for word in ("CartPole-v1", "400 agent steps", "standard error", "mean", "games"):
        assert word in " ".join(printed.split())
    row = next(line for line in printed.splitlines() if line.startswith("│ mean"))
    assert row.split("│")[4].strip() == "–", "one game has no standard error"
    assert tree(run[0]) == before


def test_resume_goes_on_where_the_run_ended(run: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    elapsed = read_json(folder / "summary.json")["elapsed_s"]
    code, _ = quietly(["resume", str(folder), "--steps", "500"])
    assert code == 0
    summary = read_json(folder / "summary.json")
    assert (summary["agent_steps"], summary["updates"]) == (500, 50)
    assert summary["elapsed_s"] > elapsed
    assert [row["updates"] for row in rows_of(folder, 0)] == [8, 16, 20, 24, 25]
    assert rows_of(folder, 0)[:3] == rows_of(run[0], 0)
    assert RunFolder(folder).read_config().steps == 500
    assert len(read_json(folder / "config.json")["resumes"]) == 1
    saved = checkpoint.newest(folder / "checkpoints")
    assert saved is not None
    assert saved.agent_steps == 500
    # Rows that were plotted before are not plotted again.
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("learner_00/entropy")) == 5


def test_a_finished_run_is_complete(
    run: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(run[0])
    assert main(["resume", str(run[0])]) == 2
    assert "is complete" in capsys.readouterr().err
    assert tree(run[0]) == before


def test_a_run_with_a_topology_of_its_own_goes_on_without_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edges = tmp_path / "edges.json"
    edges.write_text("[[0, 1], [1, 2], [2, 0], [0, 2]]")
    arguments = ["train", "gala-a2c", "--env", "CartPole-v1", "--learners", "3", "--serial"]
    arguments += ["--simulators", "2", "--topology", "edges.json", "--out", "new", "--resume"]
    assert quietly([*arguments, "--steps", "60"])[0] == 0
    assert quietly([*arguments, "--steps", "120"])[0] == 0
    edges.unlink()
    assert quietly(["resume", "new", "--steps", "180"])[0] == 0
    edges.write_text("[[0, 1], [1, 2], [2, 0]]")
    assert main([*arguments, "--steps", "240"]) == 2, "that is another graph"
