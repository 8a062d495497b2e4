"""What nodes have seen of their learners is put together by one clock, and how finely is told."""

import itertools
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala_lab.bench.fault_costs import costs
from gala_lab.main import main
from gala_rl.cluster.protocol import ProgressSamples
from gala_rl.cluster.samples import NodeSamples, merged
from gala_rl.faults.sampler import ProgressSample, ProgressSampler
from tests.cluster.machines import Machines, node_actors, wait_until

RATE = 100


def seen(behind_s: float, first: int = 0, last: int = 400, pause: range = range(0)) -> NodeSamples:
    """One learner's samples, 20 per second, by a clock that is behind the driver's."""
    told, made = NodeSamples(), first * RATE // 20
    for batch in chunks(first, last, 4):
        taken = []
        for look in batch:
            made += 0 if look in pause else RATE // 20
            taken.append(ProgressSample(look / 20 - behind_s, [made]))
        told_s = taken[-1].time_s
        told.add(
            ProgressSamples(1, told_s, taken), told_s + behind_s - 0.01, told_s + behind_s + 0.002
        )
    return told


def chunks(first: int, last: int, size: int) -> list[range]:
    return [range(k, min(k + size, last)) for k in range(first, last, size)]


@given(ahead_s=st.floats(-1e4, 1e4), transit_s=st.lists(st.floats(0, 2), min_size=1, max_size=9))
def test_the_clock_of_a_node_is_known_to_the_quickest_answer(
    ahead_s: float, transit_s: list[float]
) -> None:
    told = NodeSamples()
    for number, one_way_s in enumerate(transit_s):
        answered_s = 10.0 * number
        asked_s = answered_s - 1.5 * one_way_s
        told.add(ProgressSamples(1, answered_s - one_way_s - ahead_s, []), asked_s, answered_s)
    assert told.ahead_s == pytest.approx(ahead_s + min(transit_s), abs=1e-6)
    assert told.error_s == pytest.approx(1.5 * min(transit_s), abs=1e-6)
    assert -1e-6 <= told.ahead_s - ahead_s <= told.error_s + 1e-6


def test_learners_of_nodes_with_other_clocks_are_seen_at_one_time() -> None:
    nodes = [[seen(-500.0)], [seen(70.0)]]
    rows = merged(nodes, [True, True])
    assert [row.time_s for row in rows] == sorted(row.time_s for row in rows)
    # By true time both are equally far, but for a look and the answers' 2 ms.
    assert all(abs(a - b) <= RATE // 20 for _, (a, b) in rows)
    assert min(rows[-1].agent_steps) >= 2000 - RATE // 20


def test_a_pause_is_seen_to_a_look_and_who_died_stays_where_it_was() -> None:
    dead, back = seen(3.0, last=200), seen(-40.0, first=300)
    nodes = [[seen(70.0, pause=range(210, 220))], [dead, back]]
    for lives, is_there in (nodes, [True, True]), ([nodes[0], [dead]], [True, False]):
        found = costs(merged(lives, is_there), 10.0, {1})
        assert found["before_sps"] == pytest.approx(2 * RATE, rel=0.02)
        assert found["longest_pause_before_s"] == pytest.approx(0.05, abs=0.01)
        assert found["longest_pause_s"] == pytest.approx(0.55, abs=0.01)
        assert found["soon_sps"] == pytest.approx(RATE * 0.9, rel=0.05)


def test_a_node_that_answers_late_pauses_no_other() -> None:
    late = seen(0.0, last=380)
    rows = merged([[seen(0.0)], [late]], [True, True])
    assert rows[-1].time_s == pytest.approx(late.samples()[-1].time_s)
    assert merged([[seen(0.0)], []], [True, False]) == []


def test_a_sampler_tells_what_it_has_seen_since() -> None:
    made, give_up = itertools.count(), time.monotonic() + 60
    sampler = ProgressSampler(lambda: [next(made)])
    while len(sampler.samples(2)) < 3:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    sampler.stop()
    seen = sampler.samples()
    assert [steps for _, steps in seen] == [[k] for k in range(len(seen))]
    assert sampler.samples(2) == seen[2:]
    assert sampler.resolution_s() == max(b.time_s - a.time_s for a, b in itertools.pairwise(seen))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kill", "kill-node"])
def test_a_fault_on_a_cluster_is_measured_as_on_one_machine(
    machines: Machines, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"bench faults --cluster {machines.address} --learners 2 --learners-per-node 1"
    arguments += " --env CartPole-v1 --simulators 2 --seconds 2 --repeats 1 --json"
    if kind == "kill-node":
        file = tmp_path / "plan.json"
        fault = {"kind": "kill-node", "node": 1, "at_s": 2}
        file.write_text(json.dumps({"faults": [fault]}), encoding="utf-8")
        arguments += f" --plan {file}"
    assert main(arguments.split()) == 0
    result = json.loads(capsys.readouterr().out)
    (case,) = result["cases"]
    assert (case["method"], case["learners"], case["restarts"]) == ("gala-a2c", 2, 1.0)
    assert case["before_sps"] > 0
    assert case["resolution_s"] >= 0.05
    assert case["longest_pause_s"] is not None
    assert result["settings"]["learners_per_node"] == 1
    wait_until(lambda: not node_actors())
