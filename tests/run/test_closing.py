"""Whole runs whose environments own processes, and fail when they are closed."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gala_rl.app.train import train
from gala_rl.config.train import TrainConfig
from gala_rl.errors import SimulatorFailure
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import children


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "trouble"
    folder.mkdir()
    monkeypatch.setenv("TROUBLE", str(folder))
    return folder


def config_of(env: str, out: Path, method: str = "a2c", steps: int = 400) -> TrainConfig:
    return TrainConfig(
        method=method,
        env=f"tests.environments:{env}-v0",
        simulators=2,
        steps=steps,
        max_restarts=0,
        out=str(out),
    )


@pytest.mark.parametrize(
    ("serial", "method"),
    [
        pytest.param(False, "a2c", id="processes-a2c"),
        pytest.param(False, "impala", id="processes-impala", marks=pytest.mark.slow),
        pytest.param(True, "a2c", id="serial-a2c"),
        pytest.param(True, "impala", id="serial-impala"),
    ],
)
def test_processes_that_simulators_started_end_with_the_run(
    method: str, serial: bool, tmp_path: Path, trouble: Path
) -> None:
    config = replace(config_of("Owning", tmp_path / "run", method), serial=serial)
    if method == "impala":
        config = replace(config, algorithm=ImpalaSettings(actors=1, rollout_steps=5))
    summary = train(config)
    assert summary["restarts"] == 0
    rows = MetricsReader(RunFolder(tmp_path / "run").metrics_file(0)).new_rows()
    assert rows[-1]["simulator_failures"] >= 30
    games = [int(file.name) for file in trouble.iterdir()]
    assert len(games) >= 30
    assert not any(psutil.pid_exists(game) for game in games)
    assert children() == []


def test_a_close_that_takes_the_process_along_is_no_death_of_a_learner(tmp_path: Path) -> None:
    config = replace(config_of("CrashingAtClose", tmp_path / "run"), method="gala-a2c", learners=2)
    summary = train(config)
    assert (summary["restarts"], summary["interrupted"]) == (0, False)
    assert summary["agent_steps"] >= 400


def test_a_serial_run_that_gives_up_names_the_simulator_and_what_it_raised(tmp_path: Path) -> None:
    with pytest.raises(SimulatorFailure, match=r"simulator 0 of .*AlwaysFailing-v0 .* broke$"):
        train(replace(config_of("AlwaysFailing", tmp_path / "run"), serial=True))
