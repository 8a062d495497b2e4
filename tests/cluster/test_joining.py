"""Learners that join a node start from a live one's message, or the driver is informed."""

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
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.run_state import RunState
from tests.cluster.machines import CONFIG


class FakeSupervisor:
    """Starts no process, but remembers the ranks that it should have started."""

    def __init__(self) -> None:
        self.joined: list[int] = []

    def is_running(self, rank: int) -> bool:
        return rank in self.joined

    def add(self, spec: LearnerSpec) -> None:
        self.joined.append(spec.rank)

    def take_rejected(self) -> None:
        return None


class SecondNode:
    """The second of two nodes of two learners, of which the other has one and this one none."""

    def __init__(self, path: Path) -> None:
        config = resolve(replace(CONFIG, max_learners=4, learners=1))
        state = RunState(config, RunFolder(path), initial_parameters_of(config))
        self.mailboxes, self.counters = state.mailboxes, state.counters
        self.supervisor = FakeSupervisor()

        def spec(rank: int) -> LearnerSpec:
            return state.learner_spec(rank, "cpu", None)

        self.joining = JoiningLearners(state, range(2, 4), spec, 0, range(0))

    def scale(self, number: int, learners: int) -> None:
        self.joining.scale(
            ScaleChange(number, learners, {}), cast(LearnerSupervisor, self.supervisor)
        )

    def poll(self) -> str | None:
        self.joining.poll(cast(LearnerSupervisor, self.supervisor))
        return self.joining.rejected

    def receive(self, version: int) -> None:
        parameters = torch.zeros(self.mailboxes.size)
        self.mailboxes.write(Message(0, version, parameters))
        self.mailboxes.set_down(0, False)


@pytest.fixture
def node(tmp_path: Path) -> SecondNode:
    return SecondNode(tmp_path)


ShortTimeout = Callable[[], None]


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> ShortTimeout:
    return lambda: monkeypatch.setattr("gala_rl.cluster.joining._MESSAGE_S", -1.0)


def test_a_joining_learner_waits_for_a_new_message_of_a_live_one(node: SecondNode) -> None:
    node.receive(7)
    node.scale(1, learners=4)
    assert node.poll() is None
    assert not node.supervisor.joined, "earlier messages are not new"
    node.receive(8)
    assert node.poll() is None
    assert node.supervisor.joined == [2, 3]
    assert not node.joining.is_waiting


def test_without_a_message_the_driver_is_informed_and_may_revoke_the_change(
    node: SecondNode, short_timeout: ShortTimeout
) -> None:
    short_timeout()
    node.scale(1, learners=4)
    assert node.poll() == "learners 2, 3 have received no message for -1 s"
    node.scale(2, learners=1)
    assert node.poll() is None
    assert not node.joining.is_waiting


def test_a_late_message_is_enough_if_the_change_has_not_been_revoked(
    node: SecondNode, short_timeout: ShortTimeout
) -> None:
    short_timeout()
    node.scale(1, learners=4)
    assert node.poll() is not None
    node.receive(1)
    node.poll()
    assert node.supervisor.joined == [2, 3]
