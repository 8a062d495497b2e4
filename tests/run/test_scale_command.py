"""A command in another process scales a run, waits, and reports the outcome."""

import os
import signal
from pathlib import Path

import pytest

from gala_rl.app.evaluate import evaluate
from gala_rl.app.scale import _update_s, scale
from gala_rl.app.train import resume
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.records import scale_request
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from tests.run.scaled import TWO
from tests.support.run_processes import (
    GIVE_UP_S,
    learners_of,
    start_command,
    survivors,
    wait_until,
)
from tests.support.run_records import newest


def test_a_run_is_scaled_from_outside_and_goes_on_with_what_it_was_scaled_to(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run"
    process = start_command(path)
    folder = RunFolder(path)
    first = learners_of(process)
    assert scale(path, 3)["to"] == 3
    wait_until(lambda: folder.metrics_file(2).is_file())
    wait_until(lambda: folder.metrics_file(2).stat().st_size > 0)
    assert {p.pid for p in first} < {p.pid for p in learners_of(process)}, "no learner is restarted"
    with pytest.raises(UserError, match="learners 5 is too many for run"):
        scale(path, 5)
    with pytest.raises(UserError, match="learners 3 is what run"):
        scale(path, 3)
    change = scale(path, 1)
    assert (change["from"], change["to"]) == (3, 1)
    assert change["agent_steps"] > 0
    scaled = learners_of(process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(GIVE_UP_S) == 130
    assert survivors(first + scaled) == []
    with pytest.raises(UserError, match="is not being trained: start it with gala resume"):
        scale(path, 2)

    before = read_json(folder.summary_file)
    assert [one["learner"] for one in before["learners"]] == [0, 1, 2]
    assert all(one["updates"] > 0 for one in before["learners"])
    scale_request.place(folder, 3)  # left by somebody who was killed, with nobody to take it up
    goal = newest(folder).agent_steps + 500
    after = resume(path, steps=goal)
    assert goal <= after["agent_steps"] < goal + 10, "one learner is left to go too far"
    for then, now in zip(before["learners"], after["learners"], strict=True):
        grew = now["agent_steps"] > then["agent_steps"]
        assert grew == (now["learner"] == 0)
    assert not folder.scale_request.exists()
    assert after["agent_steps"] == sum(one["agent_steps"] for one in after["learners"])
    with pytest.raises(UserError, match=r"learner '1' is not in .*: choose one of 0, all or mean"):
        evaluate(path, episodes=1, learner="1")


def test_whoever_waits_is_told_when_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.app.scale._START_S", -1e6)
    folder = RunFolder(tmp_path / "run")
    folder.create(TWO)
    with folder.lock(), pytest.raises(LearnerFailure, match="has not followed in time"):
        scale(folder.path, 3)
    assert not folder.scale_request.exists()


def test_a_run_is_waited_for_as_long_as_its_updates_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(TWO)
    assert _update_s(folder, TWO) == 0.0
    rates = iter([[], [{"agent_steps_per_s": 1e6}, {"agent_steps_per_s": 0.1}]])
    monkeypatch.setattr("gala_rl.app.scale.learner_rows", lambda rows: next(rates))
    assert _update_s(folder, TWO) == pytest.approx(TWO.update_agent_steps / 0.1)


def test_so_it_is_when_the_run_refuses_or_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(TWO)
    held = [True, True, False]
    monkeypatch.setattr(RunFolder, "is_locked", property(lambda self: held.pop(0)))
    with pytest.raises(UserError, match="has ended before it was scaled"):
        scale(folder.path, 3)
    assert not folder.scale_request.exists()
    held += [True, True]
    place = scale_request.place

    def place_and_refuse(folder: RunFolder, learners: int) -> None:
        place(folder, learners)
        scale_request.withdraw(folder)

    monkeypatch.setattr(scale_request, "place", place_and_refuse)
    with pytest.raises(LearnerFailure, match="has refused 3 learners"):
        scale(folder.path, 3)
