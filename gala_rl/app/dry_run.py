"""Describes a run without starting it: sizes, learning rate, memory, threads, changed settings."""

import time
from pathlib import Path
from typing import Any, TypedDict

from gala_rl.agent import build_model
from gala_rl.app.caller import check_may_train, unchanged_caller
from gala_rl.app.train import resolve_device
from gala_rl.checks.machine import needed_bytes, replay_bytes
from gala_rl.checks.shared_memory import check_shared_memory, shared_bytes
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig, to_dict
from gala_rl.config.values import to_values
from gala_rl.flat import FlatParameters
from gala_rl.methods import find
from gala_rl.methods.presets import environment_preset
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import default_run_folder
from gala_rl.threads import forward_flop, learner_threads

_SHOWN_ELSEWHERE = {"method", "env", "out"}


class Changed(TypedDict):
    """A setting whose value differs from the method's default on this machine."""

    name: str
    value: Any
    default: Any


@unchanged_caller()
def dry_run(config: ResolvedConfig) -> dict[str, Any]:
    """Return what a run would be, as JSON values; nothing is started or written.

    Memory is a lower bound, for all processes of this machine together.

    Args:
        config: as `check_start` returns it.

    Raises:
        UserError: when the run cannot be started here.
    """
    check_may_train(config)
    environment = config.environment
    model = build_model(config, environment.observation, environment.action)
    flat = FlatParameters(model)
    check_shared_memory(config, flat.values.numel())
    device = "cluster" if config.cluster is not None else resolve_device(config)
    flop = forward_flop(model, environment.observation)
    threads = learner_threads(config, flop, flat.values.device)
    rate = config.initial_learning_rate
    stamp = time.strftime("%Y%m%d-%H%M%S")
    replay = config.learners * replay_bytes(config)
    return {
        "method": config.method,
        "title": find(config.method).title,
        "env": config.env,
        "observation": list(environment.observation.shape),
        "actions": list(environment.action.sizes) or environment.action.size,
        "kind": environment.kind,
        "steps": config.steps,
        "learners": config.learners,
        "simulators": config.simulators,
        "update_agent_steps": config.update_agent_steps,
        "updates": config.steps // (config.learners * config.update_agent_steps),
        "initial_learning_rate": rate,
        "parameters": flat.count,
        "least_memory_bytes": needed_bytes(config) + replay,
        "replay_bytes": replay,
        "shared_memory_bytes": shared_bytes(config, flat.values.numel()),
        "device": str(device),
        "threads": {
            "acting": threads.acting,
            "learning": threads.learning,
            "simulators": config.simulator_threads or config.threads_per_learner(),
        },
        "folder": str(Path(config.out or default_run_folder(config, stamp))),
        "preset": preset_of(config),
        "changed": changed(config),
        "config": to_dict(config),
    }


def preset_of(config: ResolvedConfig) -> dict[str, Any]:
    """Return the settings of the environment's preset, as far as they have not been replaced."""
    preset, now = environment_preset(config, config.algorithm.name), _values(config)
    values = {f"algorithm.{name}": value for name, value in preset.settings.items()}
    if preset.steps is not None:
        values["steps"] = preset.steps
    if preset.simulators is not None:
        values["simulators"] = max(1, preset.simulators // config.learners)
    return {name: value for name, value in values.items() if now[name] == value}


def changed(config: ResolvedConfig) -> list[Changed]:
    """Return the settings that differ from those of the same method and environment alone."""
    alone = TrainConfig(method=config.method, env=config.env)
    now, before = _values(config), _values(resolve(alone, environment=config.environment))
    return [
        {"name": name, "value": value, "default": before[name]}
        for name, value in now.items()
        if value != before[name] and name not in _SHOWN_ELSEWHERE
    ]


def _values(config: ResolvedConfig) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in to_values(config).items()
    }
