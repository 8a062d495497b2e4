"""Whole runs whose simulators hang, crash and are killed in processes of their own."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.app.evaluate import evaluate
from gala_rl.app.train import resume, train
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.serial import run_serial
from gala_rl.run.status import RunStatus
from tests.environments import Treacherous
from tests.support.run_processes import CONFIG, children, make_local_run, pid_of, survivors
from tests.support.run_records import newest


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "trouble"
    folder.mkdir()
    monkeypatch.setenv("TROUBLE", str(folder))
    return folder


def failures(folder: RunFolder, rank: int) -> int:
    rows = MetricsReader(folder.metrics_file(rank)).new_rows()
    return int(rows[-1]["simulator_failures"]) if rows else 0


def test_a_run_on_treacherous_simulators_ends_by_itself(tmp_path: Path, trouble: Path) -> None:
    config = replace(
        CONFIG,
        env="tests.environments:Treacherous-v0",
        learners=2,
        simulator_processes=2,
        simulator_deadline=0.5,
        steps=1_200,
        out=str(tmp_path / "run"),
    )
    summary = train(config)
    assert summary["agent_steps"] >= 1_200
    assert summary["restarts"] == 0
    assert summary["mean_return"] is not None
    faults = [file.name.partition("-")[0] for file in trouble.iterdir()]
    assert set(faults) == set(Treacherous.FAULTS)
    folder = RunFolder(tmp_path / "run")
    # On a very busy machine, a simulator may be late without an injected fault.
    assert len(faults) <= failures(folder, 0) + failures(folder, 1) <= 2 * len(faults)
    assert "Segmentation fault" in "".join(
        folder.log_file(rank).read_text(encoding="utf-8") for rank in range(2)
    )
    assert children() == []
    assert len(evaluate(tmp_path / "run", episodes=2)["results"][0]["returns"]) == 2


def test_a_simulator_that_always_fails_ends_the_run_with_its_traceback(
    tmp_path: Path, trouble: Path
) -> None:
    (trouble / "step-1").write_text("!raise", encoding="utf-8")
    config = replace(
        CONFIG,
        env="tests.environments:Troubled-v0",
        simulator_processes=2,
        max_restarts=0,
        out=str(tmp_path / "run"),
    )
    with pytest.raises(LearnerFailure, match=r"learner \d died 1 time") as failure:
        train(config)
    told = str(failure.value)
    assert "process of simulators 1 to 1 of tests.environments:Troubled-v0 ended" in told
    assert "RuntimeError: the simulator broke" in told
    assert children() == []


class Script:
    """An observer: a simulator's process is killed, then a learner; both times it goes on."""

    def __init__(self, system: LocalRun, folder: RunFolder) -> None:
        self.system, self.folder = system, folder
        self.victims: list[psutil.Process] = []
        self.updates_then = 0

    def __call__(self, status: RunStatus) -> None:
        if min(status.updates) < 20:
            return
        if not self.victims:
            self.victims = psutil.Process(pid_of(self.system, 0)).children()
            self.victims[0].kill()
        elif not self.updates_then:
            if failures(self.folder, 0):
                learner = psutil.Process(pid_of(self.system, 0))
                self.victims = [learner, *learner.children(recursive=True)]
                learner.kill()
                self.updates_then = status.updates[0]
        elif status.restarts[0] and status.updates[0] > self.updates_then + 20:
            self.system.stop()


def test_processes_end_with_their_learner_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, learners=2, simulator_processes=2), folder)
    script = Script(system, folder)
    outcome = system.run(script)
    assert outcome.failure is None
    assert outcome.status.restarts == [1, 0]
    assert len(script.victims) == 3
    assert survivors(script.victims) == []
    assert children() == []


@pytest.mark.slow
def test_actors_have_simulators_in_processes_too(tmp_path: Path) -> None:
    config = resolve(
        TrainConfig(
            method="impala",
            env=CONFIG.env,
            simulators=4,
            simulator_processes=4,
            steps=10**12,
            log_every=10,
            algorithm=ImpalaSettings(actors=2, rollout_steps=5),
        )
    )
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(config, folder)
    below: list[psutil.Process] = []

    def observe(status: RunStatus) -> None:
        if status.updates[0] < 20:
            return
        if not below:
            actors = psutil.Process(pid_of(system, 0)).children()
            assert len(actors) == 2
            for actor in actors:
                below.extend(actor.children())
            assert len(below) == 4
            below[1].kill()
        elif failures(folder, 0):
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0]
    assert failures(folder, 0) == 1
    rows = MetricsReader(folder.metrics_file(0)).new_rows()
    assert rows[-1]["actor_restarts"] == 0
    assert survivors(below) == []


def parameters_after(config: ResolvedConfig, path: Path) -> torch.Tensor:
    folder = RunFolder(path)
    folder.create(config)

    def observe(status: RunStatus) -> None:
        """Do nothing: this run needs no observer."""

    run_serial(config, folder, torch.device("cpu"), initial_parameters_of(config), None, observe)
    saved = newest(folder)
    return saved.load(1).tensors["parameters"]


def test_a_serial_run_learns_the_same_wherever_its_simulators_are(tmp_path: Path) -> None:
    config = replace(CONFIG, serial=True, learners=2, steps=600)
    here = parameters_after(config, tmp_path / "here")
    config = replace(config, simulator_processes=2)
    assert torch.equal(here, parameters_after(config, tmp_path / "there"))
    # Their state is not in the checkpoint: games begin anew.
    assert resume(tmp_path / "there", steps=900)["agent_steps"] >= 900
    assert children() == []
