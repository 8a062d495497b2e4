"""Run folders that an earlier version wrote are read, evaluated and resumed.

`data` holds two small runs of version de932e8, both with an LSTM: one of a2c, and one of gala-ppo
in whose checkpoint only one of two learners has a part. Nothing in them may be written anew.
"""

import tarfile
from pathlib import Path

import pytest
import torch

from gala_rl import evaluate
from gala_rl.app.train import resume
from gala_rl.records.metrics import MetricsReader, learner_rows
from gala_rl.records.run_folder import RunFolder
from tests.support.run_records import newest

DATA = Path(__file__).parent / "data"
STEPS = {"a2c": 400, "gala-ppo": 528}


@pytest.fixture(params=STEPS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    with tarfile.open(DATA / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return RunFolder(tmp_path / request.param)


def test_an_earlier_runs_records_are_read(folder: RunFolder) -> None:
    config, saved = folder.read_config(), newest(folder)
    assert (config.method, config.lstm_size) == (folder.path.name, 1)
    assert saved.agent_steps == STEPS[config.method]
    assert saved.learners() == [0]
    state = saved.load(0)
    assert torch.isfinite(state.tensors["parameters"]).all()
    assert state.counters["agent_steps"] == saved.agent_steps_of(0)
    assert folder.read_summary()["agent_steps"] == saved.agent_steps
    for file in folder.metrics_files():
        rows = MetricsReader(file).new_rows()
        assert rows
        assert learner_rows(rows) == rows


def test_an_earlier_run_is_evaluated_and_resumed(folder: RunFolder) -> None:
    assert evaluate(folder.path, episodes=1)["results"]
    before = newest(folder)
    summary = resume(folder.path, steps=before.agent_steps + 200)
    assert summary["agent_steps"] >= before.agent_steps + 200
    rows = learner_rows(MetricsReader(folder.metrics_file(0)).new_rows())
    steps = [row["agent_steps"] for row in rows]
    assert steps == sorted(set(steps))
    assert steps[0] <= before.agent_steps_of(0) < steps[-1]
    assert newest(folder).learners() == list(range(folder.read_config().learners or 1))
