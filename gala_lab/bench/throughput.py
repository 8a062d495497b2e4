"""Throughput: what simulators and network could do on this machine, and what training does."""

from dataclasses import replace
from typing import Any

import torch

from gala_lab.bench import bare, parts, plain
from gala_lab.bench.results import case, result, settings_of
from gala_lab.bench.training import measure_training
from gala_rl.app.train import resolve_device
from gala_rl.checks.config import check_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.run import TrainConfig
from gala_rl.envs import make_simulators

RATIOS = {
    "layer_over_bare": ("simulators_only_sps", "simulators_bare_sps"),
    "network_over_plain": ("network_one_thread_sps", "network_plain_sps"),
    "achieved_over_ceiling": ("achieved_sps", "ceiling_sps"),
    "achieved_over_a2c": ("achieved_sps", "a2c_sps"),
}

_Turns = dict[str, tuple[parts.Part, int]]
"""Name of a measurement: the part to measure and its number of PyTorch threads, in order."""


def bench_throughput(config: TrainConfig, seconds: float, repeats: int) -> dict[str, Any]:
    """Measure the parts alone, then together, in turn and several times.

    The ceiling is what one core after the other would make if a step cost its simulators' time
    plus its network's time and nothing else: 1 / (1 / simulators_only + 1 / network_only).

    Args:
        config: of the training that is measured; `steps` and `out` are ignored.
        seconds: of each measurement.
        repeats: rounds of all measurements; ratios need 3.

    Returns:
        See `result`; names in `sps` are agent steps a second of all learners, `network_one_thread`
        and `network_plain` with one PyTorch thread a learner.

    Raises:
        UserError: when the config cannot be run.
        LearnerFailure: when a process died or is too slow to be measured.
    """
    resolved = check_config(config)
    single = check_config(replace(resolved, method="a2c", learners=1, simulator_threads=None))
    device = resolve_device(resolved)
    turns, missing = _turns(resolved)
    rounds: list[dict[str, float | None]] = []
    for number in range(repeats):
        alone = _alone(turns, resolved, device, seconds, reverse=number % 2 == 1)
        training = measure_training(resolved, seconds)
        a2c = measure_training(single, seconds)
        achieved = {_achieved(name): value for name, value in training.values.items()}
        rounds.append(alone | achieved | {"a2c_sps": a2c.values["sps"]})
        missing += training.missing
    settings = settings_of(resolved, device.type) | {"seconds": seconds, "repeats": repeats}
    return result("throughput", settings, case({}, rounds, RATIOS), missing)


def _turns(config: ResolvedConfig) -> tuple[_Turns, list[str]]:
    """Parts to measure, those that are compared next to each other, and which there are not."""
    threads, missing = config.threads_per_learner(), []
    turns: _Turns = {}
    if bare.is_there(config.env):
        turns["simulators_bare_sps"] = parts.simulators_bare, threads
    else:
        missing.append("no bare simulators to compare with: only ALE's games have them")
    turns["simulators_only_sps"] = parts.simulators_only, threads
    turns["network_only_sps"] = parts.network_only, threads
    if threads > 1:
        turns["network_one_thread_sps"] = parts.network_one_thread, 1
    simulators = make_simulators(config.env, 1, 1, config.atari)
    if config.lstm_size is None and plain.is_there(simulators.observation, simulators.action):
        turns["network_plain_sps"] = parts.network_plain, 1
    else:
        missing.append(
            "no plain network to compare with: only for images, discrete actions, no LSTM"
        )
    simulators.close()
    return turns, missing


def _alone(
    turns: _Turns, config: ResolvedConfig, device: torch.device, seconds: float, reverse: bool
) -> dict[str, float | None]:
    """Rates of all parts in turn, and the ceiling they make."""
    # Back and forth: a machine that grows slower favours neither side of a ratio.
    order = list(reversed(turns)) if reverse else list(turns)
    rates = {n: parts.rate(turns[n][0], config, device, seconds, turns[n][1]) for n in order}
    simulators, network = rates["simulators_only_sps"], rates["network_only_sps"]
    return {
        "simulators_only_sps": simulators,
        "simulators_bare_sps": rates.get("simulators_bare_sps"),
        "network_only_sps": network,
        "network_one_thread_sps": rates.get("network_one_thread_sps", network),
        "network_plain_sps": rates.get("network_plain_sps"),
        "ceiling_sps": 1.0 / (1.0 / simulators + 1.0 / network),
    }


def _achieved(name: str) -> str:
    """Name of a number of training among those of its parts."""
    return f"achieved_{name}" if name in ("sps", "sps_per_learner") else name
