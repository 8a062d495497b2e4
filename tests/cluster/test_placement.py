"""Room for nodes: what Ray is asked for, and gets back; Ray is played by the test."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from gala_rl.cluster.placement import Placement
from gala_rl.methods.resolving import resolve
from tests.cluster.machines import CONFIG


class FakeRay:
    """Gives what it is asked for, and knows how many CPUs of each group are in use."""

    def __init__(self) -> None:
        self.in_use: dict[int, float] = {}
        self._names = count()

    def give(self, bundles: list[dict[str, float]], strategy: str, **options: Any) -> int:
        name = next(self._names)
        self.in_use[name] = sum(bundle["CPU"] for bundle in bundles)
        return name

    def take_back(self, name: int) -> None:
        del self.in_use[name]

    def table(self, name: int) -> dict[str, Any]:
        return {"state": "CREATED", "bundles_to_node_id": {0: "machine"}}

    def machines(self) -> list[dict[str, Any]]:
        return [{"NodeID": "machine", "Alive": True, "Resources": {"CPU": 8.0}}]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    module = "gala_rl.cluster.placement"
    monkeypatch.setattr(f"{module}.placement_group", fake.give)
    monkeypatch.setattr(f"{module}.remove_placement_group", fake.take_back)
    monkeypatch.setattr(f"{module}.placement_group_table", fake.table)
    monkeypatch.setattr(f"{module}.ray.nodes", fake.machines)
    monkeypatch.setattr(f"{module}._start", lambda reservation, name: object())
    return fake


def test_what_is_refused_after_it_was_placed_leaves_nodes_with_what_they_had(
    fake: FakeRay,
) -> None:
    placement = Placement(resolve(replace(CONFIG, learners=1)))
    placement.request((range(1),))
    assert list(placement.start_nodes()) == [0]
    assert fake.in_use == {0: 1.0}
    placement.request((range(2), range(2, 4)))
    assert placement.is_granted()
    assert list(placement.start_nodes()) == [1]
    assert fake.in_use == {0: 1.0, 1: 1.0, 2: 2.0}
    placement.cancel()
    assert fake.in_use == {0: 1.0}
    placement.request((range(2),))
    assert placement.start_nodes() == {}, "the node that was there stays"
    assert sum(fake.in_use.values()) == 2.0
    placement.release(0)
    assert not fake.in_use
    placement.close()


def test_what_has_been_used_is_kept_when_more_is_withdrawn(fake: FakeRay) -> None:
    placement = Placement(resolve(replace(CONFIG, learners=1)))
    placement.request((range(2),))
    placement.start_nodes()
    placement.request((range(2), range(2, 3)))
    placement.cancel()
    assert fake.in_use == {0: 2.0}
    placement.close()
    assert not fake.in_use
