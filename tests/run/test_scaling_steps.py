"""The steps of scaling, with learners that a test plays."""

from dataclasses import replace
from pathlib import Path

import pytest

from gala_rl.errors import LearnerFailure, UserError
from gala_rl.methods.resolving import resolve
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.scaling import Scaling
from gala_rl.run.shared_counters import SharedCounters
from tests.support.run_processes import CONFIG

TWO = resolve(replace(CONFIG, learners=2, max_learners=4))


class FakeMembers:
    """Members that do as the test says."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.is_prepared = self.settled = True
        self.error: UserError | None = None
        self.failure: LearnerFailure | None = None

    def prepare(self, learners: int) -> bool:
        if self.error is not None:
            raise self.error
        return self.is_prepared

    def cancel(self) -> None:
        self.calls.append("cancel")

    def begin(self, before: int) -> None:
        self.calls.append("begin")
        self.settled = False

    def revert(self) -> None:
        self.calls.append("revert")

    def poll(self) -> LearnerFailure | None:
        return self.failure

    def is_settled(self) -> bool:
        return self.settled

    def finish(self) -> None:
        self.calls.append("finish")


class Scene:
    """A run of two learners with room for four."""

    def __init__(self, path: Path) -> None:
        self.folder, self.members = RunFolder(path / "run"), FakeMembers()
        self.folder.create(TWO)
        self.counters = SharedCounters(2, 1, 1, capacity=4)
        self.scaling = Scaling(TWO, self.folder, self.counters, self.members, None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_learners_are_scaled_once_there_is_room_and_all_has_settled(scene: Scene) -> None:
    scene.members.is_prepared = False
    scale_request.place(scene.folder, 4)
    assert scene.scaling.poll() is None
    assert (scene.counters.learners, scene.scaling.is_under_way) == (2, False)
    scene.members.is_prepared = True
    assert scene.scaling.poll() is None
    assert (scene.counters.learners, scene.scaling.is_under_way) == (4, True)
    assert scene.scaling.poll() is None
    scene.members.settled = True
    assert scene.scaling.poll() == "learners: 2 before, 4 now"
    assert scene.members.calls == ["begin", "finish"]
    assert not scene.folder.scale_request.exists()
    assert not scene.scaling.is_under_way


def test_what_is_reserved_is_released_when_a_request_is_refused(scene: Scene) -> None:
    scale_request.place(scene.folder, 4)
    scene.members.error = UserError("no room")
    assert scene.scaling.poll() == "a request to scale was refused: no room"
    assert scene.members.calls == ["cancel"]
    assert scene.counters.learners == 2
    assert scene.scaling.poll() is None, "there is no request any more"


def test_learners_that_cannot_join_are_reverted_and_reported_once(scene: Scene) -> None:
    scale_request.place(scene.folder, 4)
    scene.scaling.poll()
    scene.members.failure = LearnerFailure("learner 2 died")
    notice = scene.scaling.poll()
    assert notice == "learners that cannot join leave again, 2 go on: learner 2 died"
    assert scene.counters.learners == 2
    scene.members.failure = LearnerFailure("learner 3 died")
    assert scene.scaling.poll() is None
    scene.members.settled = True
    assert scene.scaling.poll() is None
    assert scene.members.calls == ["begin", "revert", "finish"]
    assert "learner 2 died" in str(scale_request.why_refused(scene.folder))
    assert scene.folder.read_scales() == []
