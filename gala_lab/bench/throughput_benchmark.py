"""Throughput: the rates of simulators, network and training on this machine."""

from dataclasses import replace
from typing import Any

import torch

from gala_lab.bench import bare_simulators, component_rates, plain_network
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training_rate import measure_training
from gala_rl.app.train import resolve_device
from gala_rl.checks.config import check_config
from gala_rl.config.resolved import ResolvedConfig

RATIOS = {
    "layer_over_bare": ("simulators_only_sps", "simulators_bare_sps"),
    "network_over_plain": ("network_one_thread_sps", "network_plain_sps"),
    "achieved_over_ceiling": ("achieved_sps", "ceiling_sps"),
    "achieved_over_a2c": ("achieved_sps", "a2c_sps"),
}

_Turns = dict[str, tuple[component_rates.Part, int]]
"""Name of a measurement: the part to measure and its number of PyTorch threads, in order."""


def bench_throughput(config: ResolvedConfig, seconds: float, repeats: int) -> dict[str, Any]:
    """Measure the parts alone, then together, in turn and several times.

    The ceiling is what one core after the other would make if a step cost its simulators' time
    plus its network's time and nothing else: 1 / (1 / simulators_only + 1 / network_only).

    Args:
        config: config of the training to measure; `steps` and `out` are ignored.
        seconds: length of each measurement.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; names in `sps` are agent steps per second of all learners,
        `network_one_thread` and `network_plain` with one PyTorch thread per learner.

    Raises:
        LearnerFailure: when a process died or is too slow to measure.
    """
    single = check_config(replace(config, method="a2c", learners=1, simulator_threads=None))
    device = resolve_device(config)
    turns, missing = _turns(config)
    rounds: list[dict[str, float | None]] = []
    for number in range(repeats):
        # Back and forth: a machine that grows slower favours neither side of a ratio.
        order = list(reversed(turns)) if number % 2 else list(turns)
        alone = _alone({name: turns[name] for name in order}, config, device, seconds)
        training, a2c = measure_training(config, seconds), measure_training(single, seconds)
        achieved = {
            f"achieved_{name}" if name in ("sps", "sps_per_learner") else name: value
            for name, value in training.values.items()
        }
        rounds.append(alone | achieved | {"a2c_sps": a2c.values["sps"]})
        missing += training.missing
    settings = settings_of(config, device.type) | {"seconds": seconds, "repeats": repeats}
    return result("throughput", settings, case({}, rounds, RATIOS), missing)


def _turns(config: ResolvedConfig) -> tuple[_Turns, list[str]]:
    """Return the parts to measure, compared ones side by side, and why others are missing."""
    threads, missing = config.threads_per_learner(), []
    turns: _Turns = {}
    if bare_simulators.is_available(config.env):
        turns["simulators_bare_sps"] = component_rates.simulators_bare, threads
    else:
        missing.append("no bare simulators to compare with: only ALE's games have them")
    turns["simulators_only_sps"] = component_rates.simulators_only, threads
    turns["network_only_sps"] = component_rates.network_only, threads
    if threads > 1:
        turns["network_one_thread_sps"] = component_rates.network_one_thread, 1
    spec = config.environment
    if not config.lstm_size and plain_network.is_available(spec.observation, spec.action):
        turns["network_plain_sps"] = component_rates.network_plain, 1
    else:
        missing.append(
            "no plain network to compare with: only for images, discrete actions, no LSTM"
        )
    return turns, missing


def _alone(
    turns: _Turns, config: ResolvedConfig, device: torch.device, seconds: float
) -> dict[str, float | None]:
    """Measure the rates of all parts in turn, and compute the ceiling."""
    rates = {
        name: component_rates.rate(part, config, device, seconds, threads)
        for name, (part, threads) in turns.items()
    }
    simulators, network = rates["simulators_only_sps"], rates["network_only_sps"]
    return {
        "simulators_only_sps": simulators,
        "simulators_bare_sps": rates.get("simulators_bare_sps"),
        "network_only_sps": network,
        "network_one_thread_sps": rates.get("network_one_thread_sps", network),
        "network_plain_sps": rates.get("network_plain_sps"),
        "ceiling_sps": 1.0 / (1.0 / simulators + 1.0 / network),
    }
