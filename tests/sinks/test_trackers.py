"""Trackers receive the metrics of a run, here without a network; a resumed run continues there."""

import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest

from gala_rl.config.train import TrainConfig, to_dict
from gala_rl.sinks import trackers

pytestmark = pytest.mark.extras

CONFIG = to_dict(TrainConfig(method="ppo", env="CartPole-v1"))
NAME = "charts/episodic_return"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run; its trackers write into the working directory."""
    monkeypatch.chdir(tmp_path)
    for variable in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    run = tmp_path / "cartpole"
    run.mkdir()
    return run


def send(kind: Any, folder: Path, *steps: int) -> Any:
    sink = kind(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Theirs.
        sink.start(CONFIG)
        for agent_steps in steps:
            sink.row({"total_agent_steps": agent_steps, "time": 100.5, NAME: agent_steps / 2})
        sink.close()
    return sink


def test_mlflow_has_each_number_with_its_step_and_every_setting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent}/mlflow.db")
    send(trackers.MlflowSink, folder, 10, 20)
    send(trackers.MlflowSink, folder, 30)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("gala-rl").experiment_id])
    assert (run.info.run_name, run.info.status) == ("cartpole", "FINISHED")
    assert run.data.params["env"] == "CartPole-v1"
    assert run.data.params["gossip.when"] == "auto"
    history = client.get_metric_history(run.info.run_id, NAME)
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (steps, steps / 2, 100_500) for steps in (10, 20, 30)
    ]


def test_wandb_stores_a_run_for_later_when_there_is_no_key(folder: Path) -> None:
    pytest.importorskip("wandb")
    send(trackers.WandbSink, folder, 10, 20)
    send(trackers.WandbSink, folder, 30)
    pytest.importorskip("wandb").teardown()  # At the end of a program, which writes what is left.
    stored = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(stored) == 2
    assert stored[0].name == stored[1].name, "`wandb sync` makes one run of both"
    for file in stored:
        content = file.read_bytes()
        assert NAME.encode() in content
        assert b"CartPole-v1" in content


def test_trackio_has_each_number_with_its_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(folder.parent / "trackio"))
    pytest.importorskip("trackio")
    send(trackers.TrackioSink, folder, 10, 20)
    send(trackers.TrackioSink, folder, 30)
    (database,) = (folder.parent / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    assert [step for _, step, _ in rows] == [10, 20, 30]
    assert len({name for name, _, _ in rows}) == 1
    assert NAME.encode() in bytes(rows[-1][2])
