"""The speeds this project set itself as goals, and which of them the results meet."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = (
    "throughput",
    "peers",
    "peers-ppo",
    "systems",
    "stragglers-systems",
    "alternating",
    "gossip",
    "scaling",
)
"""Names of the results that the goals need."""

RESULTS = Path(__file__).parent / "results"

Results = Mapping[str, Any]
"""By name of the folder."""


@dataclass(frozen=True)
class Goal:
    """One figure and its bound.

    Attributes:
        text: what is measured.
        target: the bound.
        measure: takes the figure from the results.
        at_most: whether the bound is from above.
    """

    text: str
    target: float
    measure: Callable[[Results], float]
    at_most: bool = False

    def is_met(self, results: Results) -> bool:
        """Whether the figure keeps the bound."""
        measured = self.measure(results)
        return measured <= self.target if self.at_most else measured >= self.target


def _throughput(name: str) -> Callable[[Results], float]:
    return lambda results: float(results["throughput"][name])


def _over(peer: str, result: str = "peers") -> Callable[[Results], float]:
    return lambda results: float(results[result]["verdicts"][peer]["ratio"])


def _beside(method: str, result: str) -> Callable[[Results], float]:
    """The other way round: how fast what was second in each pair is."""
    over = _over(method, result)
    return lambda results: 1.0 / over(results)


def _slowed(method: str) -> Callable[[Results], float]:
    def of_undisturbed(results: Results) -> float:
        cases = results["stragglers-systems"]["cases"]
        (case,) = (c for c in cases if (c["method"], c["slowed"], c["factor"]) == (method, 1, 4.0))
        return float(case["of_undisturbed"])

    return of_undisturbed


def _least_alternating(results: Results) -> float:
    return float(min(case["ratio"] for case in results["alternating"]["cases"]))


def _gossip_cases(results: Results, parameters: int) -> list[dict[str, Any]]:
    cases = results["gossip"]["cases"]
    chosen = (c for c in cases if c["parameters"] == parameters and c["learners"] > 1)
    return [c for c in chosen if c["skipped"] is None]


def _mix_over_copy(results: Results) -> float:
    return min(float(c["mix_over_copy"]) for c in _gossip_cases(results, 10_000_000))


def _most_over_two(results: Results) -> float:
    return max(float(c["exchange_over_2_learners"]) for c in _gossip_cases(results, 1_000_000))


def _gossip_of_four_learners(results: Results) -> float:
    cases = results["scaling"]["cases"]
    (four,) = (c for c in cases if c["learners"] == 4 and c["equal"] == "learner")
    return 100 * float(four["gossip_share"])


GOALS = (
    Goal("training / ceiling", 0.92, _throughput("achieved_over_ceiling")),
    Goal("network part / plain PyTorch, one thread", 1.25, _throughput("network_over_plain")),
    Goal("simulators through our layer / bare", 0.97, _throughput("layer_over_bare")),
    Goal("training / our `a2c`, half the simulators", 2.0, _throughput("achieved_over_a2c")),
    Goal("training / Stable-Baselines3 A2C", 3.0, _over("sb3-a2c")),
    Goal("training / Sample Factory APPO", 2.5, _over("sample-factory-appo")),
    Goal("`ppo` / Stable-Baselines3 PPO", 2.0, _over("sb3-ppo", "peers-ppo")),
    Goal("`a2c-allreduce` / `gala-a2c`", 0.85, _beside("a2c-allreduce", "systems")),
    Goal("`impala` / `gala-a2c`", 0.90, _beside("impala", "systems")),
    Goal("`gala-a2c`, 1 of 4 slowed 4x / undisturbed", 0.75, _slowed("gala-a2c")),
    Goal(
        "alternating / synchronised sampling on a CPU, at least",
        0.97,
        _least_alternating,
    ),
    Goal("mix / copy, 10 million parameters", 0.70, _mix_over_copy),
    Goal("exchange with 4 to 64 learners / with 2, at most", 1.1, _most_over_two, at_most=True),
    Goal(
        "gossip's share at 4 learners of 16 simulators, %",
        1.0,
        _gossip_of_four_learners,
        at_most=True,
    ),
)


def at_the_ceiling(results: Results) -> list[tuple[str, float]]:
    """By how much training would be ahead of each system if it lost nothing, by its name."""
    throughput = results["throughput"]
    ceiling = float(throughput["ceiling_sps"])
    training = float(throughput["achieved_sps"])
    ahead = {"a2c": float(throughput["achieved_over_a2c"])}
    ahead |= {name: _over(name)(results) for name in results["peers"]["verdicts"]}
    return [(name, ratio * ceiling / training) for name, ratio in ahead.items()]


def read(folder: Path = RESULTS) -> Results:
    """The results that the goals need."""
    return {
        name: json.loads((folder / name / "result.json").read_text(encoding="utf-8"))
        for name in NAMES
    }
