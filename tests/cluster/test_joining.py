"""Learners that are to join a node: with the news of a live one, or the driver is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from gala_rl.agent import initial_parameters_of, message_size
from gala_rl.cluster.joining import JoiningLearners
from gala_rl.cluster.protocol import ScaleChange
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.methods import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.shared_counters import SharedCounters
from tests.cluster.machines import CONFIG


class FakeCrew:
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
        size = initial_parameters_of(config).parameters.numel()
        self.mailboxes = SharedMailboxes(4, message_size(config, size))
        self.board = SharedCounters(1, 1, 1, 4)
        self.crew = FakeCrew()

        def assign(rank: int) -> LearnerSpec:
            shared: Any = (self.mailboxes, self.board, None, None, None)
            return LearnerSpec(
                replace(config, learners=self.board.learners), RunFolder(path), rank, "cpu", *shared
            )

        share = range(2, 4)
        self.joining = JoiningLearners(
            share, self.mailboxes, self.board, config.steps, assign, 0, range(0)
        )

    def tell(self, number: int, learners: int) -> None:
        self.joining.go_by(ScaleChange(number, learners, {}), cast(LearnerSupervisor, self.crew))

    def look(self) -> str | None:
        self.joining.look(cast(LearnerSupervisor, self.crew))
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
    return lambda: monkeypatch.setattr("gala_rl.cluster.joining._NEWS_S", -1.0)


def test_who_is_to_join_waits_for_news_of_a_live_learner(place: Place) -> None:
    place.hear(7)
    place.tell(1, learners=4)
    assert place.look() is None
    assert not place.crew.joined, "what was there before is no news"
    place.hear(8)
    assert place.look() is None
    assert place.crew.joined == [2, 3]
    assert not place.joining.is_waiting


def test_without_news_the_driver_is_told_and_another_number_is_gone_by(
    place: Place, be_impatient: Impatient
) -> None:
    be_impatient()
    place.tell(1, learners=4)
    assert place.look() == "nobody has sent learners 2, 3 anything for -1 s"
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
    assert place.crew.joined == [2, 3]
