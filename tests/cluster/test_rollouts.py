"""A node with actors answers a learner elsewhere at once, and only by parameters that it has."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from gala_rl.actors.remote import RolloutBatch, RolloutRequest
from gala_rl.agent import initial_parameters_of
from gala_rl.cluster import rollouts as module
from gala_rl.cluster.protocol import NodeSpec
from gala_rl.cluster.rollouts import RolloutServer
from tests.actors.test_actors import GIVE_UP_S, make_config

CONFIG = make_config(actors=2)
VALUES = initial_parameters_of(CONFIG).parameters.numpy()


@contextmanager
def serving() -> Iterator[RolloutServer]:
    """A server of actor 1 in real processes; actor 0 is beside the learner."""
    spec = NodeSpec(
        node=1,
        incarnation=1,
        ranks=(range(1), range(0)),
        files={},
        agent_steps=[0],
        updates=[0],
        actors=(range(1), range(1, 2)),
    )
    server, ending = RolloutServer(CONFIG, spec, len(VALUES)), threading.Event()
    thread = threading.Thread(target=server.run, args=(ending.is_set,))
    thread.start()
    try:
        yield server
    finally:
        ending.set()
        thread.join(GIVE_UP_S)
        assert not thread.is_alive()
        assert server.failure is None


def ask(server: RolloutServer, request: RolloutRequest) -> RolloutBatch:
    give_up = time.monotonic() + GIVE_UP_S
    while (batch := server.take_rollouts(request)) is None:
        assert time.monotonic() < give_up, "no actors"
        time.sleep(0.01)
    return batch


def test_a_call_ends_as_soon_as_there_is_a_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_S", 2 * GIVE_UP_S)
    with serving() as server:
        assert ask(server, RolloutRequest(1, VALUES, {1: 1})).rollouts
        for _ in range(5):
            begun = time.monotonic()
            batch = ask(server, RolloutRequest(1, None, {1: 2}))
            assert [actor for actor, _content in batch.rollouts] == [1] * len(batch.rollouts)
            assert 1 <= len(batch.rollouts) <= 2
            assert time.monotonic() - begun < GIVE_UP_S


def test_parameters_that_it_lacks_or_cannot_use_yield_nothing() -> None:
    with serving() as server:
        ask(server, RolloutRequest(3, VALUES, {1: 1}))
        assert server.take_rollouts(RolloutRequest(4, None, {1: 1})) is None
        torn = np.full_like(VALUES, np.nan)
        assert server.take_rollouts(RolloutRequest(4, torn, {1: 1})) is None
        assert server.take_rollouts(RolloutRequest(4, VALUES[1:], {1: 1})) is None
        assert ask(server, RolloutRequest(3, None, {1: 2})).deaths == 0


def test_actors_elsewhere_explore_by_the_steps_of_the_whole_run() -> None:
    with serving() as server:
        ask(server, RolloutRequest(1, VALUES, {1: 1}, agent_steps=500))
        assert server._actors is not None
        assert server._actors._progress.tolist() == [500]
        ask(server, RolloutRequest(1, None, {1: 1}, agent_steps=700))
        assert server._actors._progress.tolist() == [700]
