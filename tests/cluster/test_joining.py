"""Learners that are to join a node: with the news of a live one, or the driver is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.cluster.joining import JoiningLearners
from gala_rl.cluster.protocol import ScaleChange
from gala_rl.gossip import Message
from gala_rl.methods import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.run_state import RunState
from tests.cluster.machines import CONFIG


class FakeSupervisor:
    """Starts nobody, but remembers whom it should have started."""

    def __init__(self) -> None:
        self.joined: list[int] = []

    def is_running(self, rank: int) -> bool:
        return rank in self.joined

    def add(self, spec: LearnerSpec) -> None:
        self.joined.append(spec.rank)

    def take_rejected(self) -> None:
        return None


class Place:
    """The second of two nodes of two learners, of which the other has one and this one none."""

    def __init__(self, path: Path) -> None:
        config = resolve(replace(CONFIG, max_learners=4, learners=1))
        state = RunState(config, RunFolder(path), initial_parameters_of(config))
        self.mailboxes, self.counters = state.mailboxes, state.counters
        self.supervisor = FakeSupervisor()

        def spec(rank: int) -> LearnerSpec:
            return state.learner_spec(rank, "cpu", None)

        self.joining = JoiningLearners(state, range(2, 4), spec, 0, range(0))

    def tell(self, number: int, learners: int) -> None:
        self.joining.scale(
            ScaleChange(number, learners, {}), cast(LearnerSupervisor, self.supervisor)
        )

    def look(self) -> str | None:
        self.joining.poll(cast(LearnerSupervisor, self.supervisor))
        return self.joining.rejected

    def hear(self, version: int) -> None:
        parameters = torch.zeros(self.mailboxes.size)
        self.mailboxes.write(Message(0, version, parameters))
        self.mailboxes.set_down(0, False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


Impatient = Callable[[], None]


@pytest.fixture
def be_impatient(monkeypatch: pytest.MonkeyPatch) -> Impatient:
    return lambda: monkeypatch.setattr("gala_rl.cluster.joining._MESSAGE_S", -1.0)


def test_who_is_to_join_waits_for_news_of_a_live_learner(place: Place) -> None:
    place.hear(7)
    place.tell(1, learners=4)
    assert place.look() is None
    assert not place.supervisor.joined, "what was there before is no news"
    place.hear(8)
    assert place.look() is None
    assert place.supervisor.joined == [2, 3]
    assert not place.joining.is_waiting


def test_without_news_the_driver_is_told_and_another_number_is_gone_by(
    place: Place, be_impatient: Impatient
) -> None:
    be_impatient()
    place.tell(1, learners=4)
    assert place.look() == "learners 2, 3 have received no message for -1 s"
    place.tell(2, learners=1)
    assert place.look() is None
    assert not place.joining.is_waiting


def test_news_that_comes_late_is_good_enough_if_nobody_has_called_the_change_off(
    place: Place, be_impatient: Impatient
) -> None:
    be_impatient()
    place.tell(1, learners=4)
    assert place.look() is not None
    place.hear(1)
    place.look()
    assert place.supervisor.joined == [2, 3]
