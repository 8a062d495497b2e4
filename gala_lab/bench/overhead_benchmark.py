"""Overhead: what a learner takes besides arithmetic, on simulators that do nothing.

A learner of gala-a2c with one neighbour, which always has a new message for it, trains on
simulators with constant observations; plain PyTorch does the same acting passes and the same update
on recorded observations, without simulators, storage or gossip. Both run in this process on one
thread, update by update in turn. The parts come from a second such learner, whose calls are timed,
since timing takes time too. Times are processor time of the thread, which never waits here: other
programs on the machine disturb them least. The learning rate is 0, since gradients on constant
observations without rewards would otherwise become subnormal numbers.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gala_lab.bench.null_simulators import NullSimulators
from gala_lab.bench.plain_network import PlainMLP, PlainNetwork, PlainUpdate
from gala_lab.bench.results import case, result
from gala_rl.actor import Actor
from gala_rl.agent import Agent
from gala_rl.gossip import Gossip, Message, SharedMailboxes, directed_ring
from gala_rl.learners.learner import make_learner
from gala_rl.learners.normalizer import Normalizer
from gala_rl.methods.a2c import A2CSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.threads import Threads, threads_set_to

NETWORKS = {
    "vector": (ObservationSpec((4,), False), ActionSpec(2, True)),
    "convolution": (ObservationSpec((4, 84, 84), True), ActionSpec(6, True)),
}
"""Spaces of CartPole and of Pong."""
_WARM_UP_UPDATES, _MIN_UPDATES = 5, 3

PARTS = ("policy", "interface", "storage", "loss", "optimizer", "gossip", "rest")
RATIOS = {
    "training_over_plain": ("training_us", "plain_us"),
    "without_gossip_over_plain": ("without_gossip_us", "plain_us"),
}


def bench_overhead(
    simulators: Sequence[int], image_simulators: Sequence[int], seconds: float, repeats: int
) -> dict[str, Any]:
    """Measure a learner beside plain PyTorch for several numbers of simulators.

    Args:
        simulators: B of each case with the network for vectors.
        image_simulators: B of each case with the convolutional network.
        seconds: length of each measurement.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; a case for each network and B, with median microseconds per step of all B
        simulators: `training_us` of the whole learner, `plain_us`, and one for each of `PARTS`.
    """
    plan = [("vector", count) for count in simulators]
    plan += [("convolution", count) for count in image_simulators]
    rounds: list[list[dict[str, float | None]]] = [[] for _ in plan]
    keep_freed_memory()  # As learners do.
    with threads_set_to(1):
        for _ in range(repeats):
            for (network, count), done in zip(plan, rounds, strict=True):
                done.append(_measure(network, count, seconds))
    cases = [
        case({"network": network, "simulators": count, "skipped": None}, done, RATIOS)
        for (network, count), done in zip(plan, rounds, strict=True)
    ]
    settings = {"simulators": list(simulators), "image_simulators": list(image_simulators)}
    settings |= {"seconds": seconds, "repeats": repeats}  # type: ignore[dict-item]
    return result("overhead", settings, {"cases": cases}, [])


def _measure(network: str, simulators: int, seconds: float) -> dict[str, float | None]:
    """Return medians of one round, and the quartiles of the ratio of neighbouring updates."""
    observation, action = NETWORKS[network]
    learner = _Learner(NullSimulators(simulators, observation, action))
    timed = _timed(_Learner(NullSimulators(simulators, observation, action)))
    plain = plain_update(simulators, observation, action)
    times: dict[str, list[float]] = defaultdict(list)
    end, updates = time.perf_counter() + seconds, -_WARM_UP_UPDATES
    while time.perf_counter() < end or updates < _MIN_UPDATES:
        found = {"plain": seconds_of(plain.step), "training": learner.step()}
        found["without_gossip"] = found["training"] - learner.seconds["gossip"]
        whole = timed.step()
        found |= parts_of(timed.seconds, whole)
        updates += 1
        for name, value in found.items():
            if updates > 0:
                times[name].append(1e6 * value / A2CSettings().rollout_steps)
    measured: dict[str, float | None] = {
        f"{name}_us": statistics.median(values) for name, values in times.items()
    }
    low, high = ratio_quartiles(times["training"], times["plain"])
    return measured | {"ratio_low": low, "ratio_high": high}


def ratio_quartiles(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the first and the third quartile of the ratios of two series, pair by pair."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return [low, high]


def seconds_of(call: Callable[[], object]) -> float:
    """Return the processor time that a call takes in this thread."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def plain_update(simulators: int, observation: ObservationSpec, action: ActionSpec) -> PlainUpdate:
    """Return the same acting passes and the same update in plain PyTorch."""
    settings, answers = A2CSettings(), NullSimulators(simulators, observation, action)
    first = torch.from_numpy(answers.reset(0))
    steps = settings.rollout_steps
    network: PlainNetwork | PlainMLP
    if observation.is_image:
        network = PlainNetwork(observation.shape, action.size)
    else:
        network = PlainMLP(observation.size, action.size)
    return PlainUpdate(
        network,
        settings,
        first.repeat(steps + 1, *[1] * first.dim()),
        torch.zeros(steps, simulators),
        torch.full((steps, simulators), settings.discount),
        learning_rate=0.0,
    )


class _Learner:
    """A learner of two in a ring, and its neighbour's end.

    Args:
        simulators: what it trains on.
    """

    def __init__(self, simulators: NullSimulators) -> None:
        settings = A2CSettings()
        network = ActorCritic(simulators.observation, simulators.action)
        self.learner = make_learner(network, settings, initial_learning_rate=0.0, seed=0)
        values = self.learner.flat.values
        mailboxes = SharedMailboxes(2, values.numel())
        self._neighbour = mailboxes.transport(1)
        self._message = values.clone()
        self.actor = Actor(simulators, network, settings.rollout_steps, seed=0)
        self.agent = Agent(
            self.actor,
            self.learner,
            Gossip(values, mailboxes.transport(0), 0, directed_ring(2)),
            Normalizer(network, settings.discount, self.actor.trajectory),
            Threads(1, 1, 0.0),
        )
        self.seconds: dict[str, float] = defaultdict(float)
        self.time(self.agent.gossip, "exchange", "gossip")

    def step(self) -> float:
        """Make one iteration with a new message; returns its seconds."""
        agent = self.agent
        self._neighbour.send(Message(1, agent.updates + 1, self._message), (0,))
        self.seconds.clear()
        whole = seconds_of(lambda: agent.step(0.0))
        assert agent.gossip.last_mixed, "every iteration has a message to mix"
        self.actor.episodes.clear()
        return whole

    def time(self, owner: Any, method: str, name: str) -> None:
        """Add the seconds of every call of a method of one object to `seconds` from now on."""
        call = getattr(owner, method)

        def timed(*arguments: Any) -> Any:
            start = time.thread_time()
            answer = call(*arguments)
            self.seconds[name] += time.thread_time() - start
            return answer

        setattr(owner, method, timed)


def _timed(learner: _Learner) -> _Learner:
    """Time the calls of a learner that its parts are made of; returns it."""
    learner.time(learner.actor, "act", "policy")
    learner.time(learner.actor.simulators, "send", "interface")
    learner.time(learner.actor.simulators, "recv", "interface")
    learner.time(learner.actor, "collect", "rollout")
    learner.time(learner.learner.optimizer, "step", "optimizer")
    learner.time(learner.learner, "update", "update")
    return learner


def parts_of(seconds: Mapping[str, float], whole: float) -> dict[str, float]:
    """Return the seconds of each of `PARTS`, which together are the whole iteration.

    Args:
        seconds: of the policy, of the simulators' `interface`, of the `rollout` with both; of the
            optimizer, of the `update` with it; of the gossip.
        whole: of the iteration.
    """
    rollout, update, gossip = (seconds[name] for name in ("rollout", "update", "gossip"))
    policy, interface, optimizer = (seconds[name] for name in ("policy", "interface", "optimizer"))
    return {
        "policy": policy,
        "interface": interface,
        "storage": rollout - policy - interface,
        "loss": update - optimizer,
        "optimizer": optimizer,
        "gossip": gossip,
        "rest": whole - rollout - update - gossip,
    }
