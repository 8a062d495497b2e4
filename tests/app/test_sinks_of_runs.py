"""Sinks receive the metrics of a run, whatever they do never ends it, and --log names them."""

import csv
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import gala_rl
from gala_lab.main import main
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.files import read_json
from gala_rl.sinks import named
from gala_rl.sinks.sink import Scalars

CONFIG = TrainConfig(
    method="gala-a2c",
    env="CartPole-v1",
    learners=2,
    simulators=2,
    steps=1_000,
    log_every=5,
    serial=True,
)


class Recorder:
    """A sink that records what it receives."""

    def __init__(self) -> None:
        self.config: Mapping[str, Any] = {}
        self.rows: list[Scalars] = []
        self.is_closed = False

    def start(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def row(self, row: Scalars) -> None:
        self.rows.append(row)

    def close(self) -> None:
        self.is_closed = True


class Failing(Recorder):
    """A sink whose disk is full."""

    def row(self, row: Scalars) -> None:
        super().row(row)
        raise OSError(28, "No space left on device")


def test_a_sink_receives_the_settings_and_every_row_of_a_run(tmp_path: Path) -> None:
    sink, config = Recorder(), replace(CONFIG, out=str(tmp_path / "run"))
    summary = gala_rl.train(config, sinks=[sink])
    assert sink.is_closed
    assert sink.config == read_json(tmp_path / "run" / "config.json")["config"]
    made: dict[int, list[float]] = {rank: [] for rank in (0, 1)}
    for row in sink.rows:
        for rank, steps in made.items():
            if f"learner_{rank:02d}/agent_steps" in row:
                steps.append(row[f"learner_{rank:02d}/agent_steps"])
    assert made[0] == made[1] == [50 * n for n in range(1, 11)]
    of_learners = [row for row in sink.rows if "charts/episodic_return" in row]
    assert of_learners[-1]["charts/episodic_return"] == summary["mean_return"]
    # CartPole gives 1 for every step.
    assert of_learners[-1]["charts/episodic_length"] == pytest.approx(summary["mean_return"])
    assert any(row["consensus/rms"] > 0 for row in sink.rows if "consensus/rms" in row)
    resumed = Recorder()
    gala_rl.resume(tmp_path / "run", steps=1_200, sinks=[resumed])
    assert resumed.rows[0]["total_agent_steps"] > 1_000
    assert max(row["total_agent_steps"] for row in resumed.rows) == 1_200


def test_a_sink_that_fails_is_reported_once_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing, other = Failing(), Recorder()
    config = replace(CONFIG, out=str(tmp_path / "run"))
    summary = gala_rl.train(config, sinks=[failing, other])
    assert summary["agent_steps"] == CONFIG.steps
    assert not summary["failed"]
    assert len(failing.rows) == 1
    assert other.is_closed
    printed = capsys.readouterr().out
    assert printed.count("sink Failing failed (row: OSError: ") == 1
    assert "No space left on device): the run goes on without it" in printed


def test_tensorboard_without_room_does_not_end_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gala_rl.sinks.event_file.EventFile.add_scalars", Failing.row.__get__(Failing())
    )
    summary = gala_rl.train(replace(CONFIG, out=str(tmp_path / "run")))
    assert summary["agent_steps"] == CONFIG.steps
    assert capsys.readouterr().out.count("tensorboard failed (row: ") == 1


def test_what_is_not_a_sink_is_rejected_before_the_start(tmp_path: Path) -> None:
    config = replace(CONFIG, out=str(tmp_path / "run"))
    sinks: Any = [Recorder]
    with pytest.raises(UserError, match=r"sink Recorder is a class: give an object"):
        gala_rl.train(config, sinks=sinks)
    assert not (tmp_path / "run").exists()


def test_a_table_is_written_on_request_and_continued(tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala_rl.train(replace(CONFIG, out=str(run), log=("csv",)))
    gala_rl.resume(run, steps=1_200)
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    own = [int(line["agent_steps"]) for line in lines if line["learner"] == "1"]
    assert own == [50 * n for n in range(1, 13)]
    assert any(line["charts/SPS"] for line in lines if not line["learner"])


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_tracker_without_its_package_is_one_line_before_the_start(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / name).mkdir()  # As trackers make one in the working directory.
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(named, "find_spec", lambda name: _only_in(tmp_path, find_spec(name)))
    arguments = ["train", "a2c", "--env", "CartPole-v1", "--log", "csv", "--log", name]
    assert main([*arguments, "--out", "run"]) == 2
    assert capsys.readouterr().err == (
        f"gala: log '{name}' needs the package {name}: pip install 'gala-rl[{name}]'\n"
    )
    assert not (tmp_path / "run").exists()


def _only_in(folder: Path, spec: Any) -> Any:
    """A module's spec, if it is in this folder, wherever the package may be installed besides."""
    assert spec is not None
    return spec if str(folder) in str(spec.submodule_search_locations) else None


@pytest.mark.extras
def test_all_trackers_receive_a_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("wandb", "mlflow", "trackio"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    arguments = ["train", "gala-a2c", "--env", "CartPole-v1", "--learners", "2", "--serial"]
    arguments += ["--steps", "2000", "--simulators", "2", "--log-every", "20", "--out", "run"]
    for name in ("wandb", "mlflow", "trackio", "csv"):
        arguments += ["--log", name]
    assert main(arguments) == 0
    assert "failed" not in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        query = "SELECT MAX(step) FROM metrics WHERE key = 'charts/episodic_return'"
        assert connection.execute(query).fetchone() == (2000,)
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
