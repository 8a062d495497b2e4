"""Every figure of the README is that of a stored result."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gala_rl.records.metrics import score_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def pong_milestone(milestones: Any) -> str:
    first = milestones["first_at_least"]["18"]
    steps = first["total_agent_steps"] / 1e6
    return f"reaches {score_text(first['mean_return'])} after {steps:.1f} M agent steps"


def pong_end(summary: Any) -> str:
    steps, hours = summary["agent_steps"] / 1e6, summary["elapsed_s"] / 3600
    score = score_text(summary["mean_return"])
    return f"is {score} at the end of {steps:.1f} M, after {hours:.1f} hours"


def pong_setting(run: Any) -> str:
    cores, config = run["machine"]["cores"], run["config"]
    setting = f"{config['learners']} learners x {config['simulators']} simulators"
    return f"on {cores} CPU cores, which is {setting}"


PEERS = {
    "sb3-a2c": "Stable-Baselines3 A2C",
    "sample-factory-appo": "Sample Factory APPO",
    "torchrl-a2c": "TorchRL A2C",
    "rllib-impala": "RLlib IMPALA",
}


def beside_a_peer(peer: str, result: Any) -> str:
    return f"{result['verdicts'][peer]['ratio']:.2f} times {PEERS[peer]}"


def beside_one_learner(result: Any) -> str:
    """With two, and as many simulators in all."""
    (case,) = (c for c in result["cases"] if (c["equal"], c["learners"]) == ("total", 2))
    simulators = case["learners"] * case["simulators"]
    return (
        f"one learner with {simulators}, as many as both have | {case['speedup']:.2f} times as fast"
    )


def cost_of_a_death(result: dict[str, Any]) -> str:
    gossip, averaged = result["cases"][:2]
    assert (gossip["method"], averaged["method"]) == ("gala-a2c", "a2c-allreduce")
    assert gossip["longest_pause_s"] <= gossip["longest_pause_before_s"]
    return (
        f"the four make {gossip['soon_of_before']:.2f} of their former rate in the 5 seconds "
        f"after, and the longest pause of the others is {gossip['longest_pause_s']:.2f} s, as "
        f"before; with averaged gradients it is {averaged['longest_pause_s']:.2f} s"
    )


def last_line(summary: Any) -> str:
    return (
        f"{summary['agent_steps']:,} agent steps at {summary['agent_steps_per_s']:,.0f} per "
        f"second, mean return {score_text(summary['mean_return'])} "
        f"next: gala evaluate {summary['run']}"
    )


# A file under benchmarks/results, and the words of the README that hold its figures.
FIGURES: list[tuple[str, Callable[[Any], str]]] = [
    ("pong-gala-a2c/config.json", pong_setting),
    ("pong-gala-a2c/milestones.json", pong_milestone),
    ("pong-gala-a2c/summary.json", pong_end),
    (
        "pong-gala-a2c/evaluation.json",
        lambda e: (
            f"{e['episodes']} full games by {score_text(e['results'][0]['mean_return'])} on average"
        ),
    ),
    (
        "cartpole-gala-a2c/summary.json",
        lambda s: (
            f"mean return of {score_text(s['mean_return'])} over the last 100 games, "
            f"in {s['elapsed_s']:.0f} seconds"
        ),
    ),
    ("cartpole-gala-a2c/summary.json", last_line),
    (
        "cartpole-gala-a2c/evaluation.json",
        lambda e: (
            f"{e['episodes']} full games with the learners' averaged parameters, "
            f"{score_text(e['results'][0]['mean_return'])} on average"
        ),
    ),
    (
        "throughput/result.json",
        lambda b: (
            f"{b['achieved_sps']:,.0f} per second, {b['achieved_over_ceiling']:.2f} of what "
            f"simulators and network allow |"
        ),
    ),
    (
        "throughput/result.json",
        lambda b: f"16 simulators on both cores | {b['achieved_over_a2c']:.2f} times as fast |",
    ),
    ("scaling/result.json", beside_one_learner),
    ("faults/result.json", cost_of_a_death),
    *[("peers/result.json", functools.partial(beside_a_peer, peer)) for peer in PEERS],
]


@pytest.mark.parametrize(("file", "words"), FIGURES)
def test_every_figure_of_the_readme_is_that_of_a_result(
    file: str, words: Callable[[Any], str]
) -> None:
    result = json.loads((RESULTS / file).read_text(encoding="utf-8"))
    assert words(result) in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
