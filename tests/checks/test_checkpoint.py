"""A run continues from what such a run saved, in the shapes it has, and from nothing else."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gala_lab.main import main
from gala_rl.agent import initial_parameters_of
from gala_rl.app.preflight import check_resume
from gala_rl.checks.checkpoint import check_checkpoint
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint, LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.serial import run_serial
from tests.support.run_records import newest

CPU = torch.device("cpu")
CONFIG = resolve(
    TrainConfig(
        method="gala-ppo",
        env="tests.environments:Drifting-v0",
        learners=2,
        simulators=2,
        lstm_size=3,
        serial=True,
        steps=64,
        algorithm=PPOSettings(rollout_steps=8, minibatches=2, epochs=1),
    )
)
Change = Callable[[dict[str, Any], dict[str, Any]], object]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run; read-only but for what a test puts beside its checkpoint."""
    folder = RunFolder(tmp_path_factory.mktemp("saved") / "run")
    folder.create(CONFIG)
    run_serial(CONFIG, folder, CPU, initial_parameters_of(CONFIG), None, lambda status: None)
    return folder


def changed(run: RunFolder, place: Path, change: Change) -> Checkpoint:
    """The run's checkpoint with a change in the part of learner 1, and right checksums."""
    saved = newest(run)
    partial = checkpoint.partial_folder(place, "changed")
    for rank in saved.learners():
        state = saved.load(rank)
        if rank == 1:
            change(state.tensors, state.counters)
        checkpoint.write_part(partial, rank, LearnerState(state.tensors, state.counters))
    folder = checkpoint.complete(
        partial, saved.agent_steps, saved.manifest["learner_agent_steps"], 1
    )
    return checkpoint.open_checkpoint(folder)


def check(saved: Checkpoint, config: ResolvedConfig = CONFIG) -> None:
    check_checkpoint(saved, config, initial_parameters_of(config).parameters.numel(), CPU)


def test_what_the_run_saved_is_what_it_can_continue_from(run: RunFolder, tmp_path: Path) -> None:
    check(changed(run, tmp_path, lambda tensors, counters: None))


CHANGES: dict[str, Change] = {
    "parameters is missing": lambda t, c: t.pop("parameters"),
    "parameters is not .* finite numbers": lambda t, c: t["parameters"].fill_(torch.nan),
    "parameters is not .*size": lambda t, c: t.update(parameters=t["parameters"].double()),
    "optimizer is not .*size": lambda t, c: t.update(optimizer=t["optimizer"][1:].clone()),
    "negative averages": lambda t, c: t["optimizer"][-1:].fill_(-1.0),
    "averages too large": lambda t, c: t["optimizer"][:1].fill_(1e15),
    r"parameters is not .* \(wrong size\); have .* or the network changed since": lambda t, c: (
        t.update(parameters=torch.zeros(3))
    ),
    "sent is not": lambda t, c: t.update(sent=torch.zeros(3)),
    "learner_generator is no": lambda t, c: t.pop("learner_generator"),
    r"learner_generator is not a random state \(": lambda t, c: t["learner_generator"].fill_(7),
    "discounted_sums has": lambda t, c: t.pop("discounted_sums"),
    "observations has": lambda t, c: t.update(observations=torch.zeros(3, 2)),
    "observations is not finite": lambda t, c: t["observations"].fill_(torch.inf),
    "state has": lambda t, c: t.pop("state"),
    "simulators.scores has": lambda t, c: t.update({"simulators.scores": torch.zeros(2)}),
    "cannot continue": lambda t, c: t["generator"].fill_(7),
    "updates of learner 1 is not a count": lambda t, c: c.update(updates=-1),
    "agent_steps of learner 1 is not a count": lambda t, c: c.update(agent_steps=1e3),
    "episodes of learner 1 is not a count": lambda t, c: c.update(episodes=10**30),
    "mixes of learner 1 is not a count": lambda t, c: c.pop("mixes"),
    "learner 1 is ahead": lambda t, c: c.update(version=c["updates"] + 1),
    "rejected of learner 1 are no": lambda t, c: c.update(rejected={"not newer": "often"}),
    "name learners that do not exist": lambda t, c: c.update(mixed_versions={"7": 1}),
    "recent_returns of": lambda t, c: c.update(recent_returns=[float("nan")]),
}


@pytest.mark.parametrize("words", CHANGES)
def test_what_no_such_run_saved_is_refused(run: RunFolder, tmp_path: Path, words: str) -> None:
    saved = changed(run, tmp_path, CHANGES[words])
    with pytest.raises(UserError, match=f"not one that its run can have saved: .*{words}"):
        check(saved)


def test_another_number_of_learners_than_the_run_can_have_had_is_refused(
    run: RunFolder, tmp_path: Path
) -> None:
    saved = changed(run, tmp_path, lambda tensors, counters: None)
    with pytest.raises(UserError, match="has 2 learners, not 3"):
        check(saved, replace(CONFIG, learners=3))  # They take turns: they cannot be scaled.
    check(saved, replace(CONFIG, serial=False, learners=3))
    with pytest.raises(UserError, match="has 2 learners, not 1"):
        check(saved, replace(CONFIG, serial=False, learners=1, max_learners=1))


@pytest.mark.parametrize("name", ["metrics/learner_00.jsonl", "config.json", ".lock", "logs/x.log"])
@pytest.mark.parametrize("pipe", [False, True])
def test_a_run_with_a_link_or_a_pipe_in_it_is_not_written_to(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, pipe: bool
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    (folder.checkpoints / "step_000000000032").mkdir()
    target = tmp_path / "precious"
    file = folder.path / name
    if file.is_file():
        file.rename(target)
    else:
        target.write_text("precious")
    before = target.read_bytes()
    if pipe and name != "config.json":
        os.mkfifo(file)
    else:
        file.symlink_to(target)
    with pytest.raises(UserError, match="replace it with a plain file"):
        check_resume(folder.path)
    assert main(["resume", str(folder.path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert target.read_bytes() == before
