"""Checks that a run can start from the parameters of another one; imports no torch."""

from pathlib import Path
from typing import Any

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.methods import find
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.records.selection import selected, steps_of

_NETWORK = ("network", "hidden", "activation", "shared_torso", "lstm_size")
_KINDS = {True: "action values", False: "a policy and values"}


def check_init(config: ResolvedConfig) -> None:
    """Raise a UserError if a new run cannot start from the parameters of `config.init_from`."""
    if config.init_from is None:
        _check_unused(config)
        return
    folder = RunFolder(Path(config.init_from))
    source = resolve(folder.read_config())
    selected(folder, config.init_checkpoint)
    if steps_of(folder, config.init_checkpoint) is None:
        raise UserError(f"init_from {config.init_from} has no checkpoint yet: choose another run")
    if config.init_optimizer and find(config.method).sharing.endswith("parameters"):
        raise UserError(
            f"init_optimizer is of no use: learners of {config.method} share one optimizer; leave "
            f"it out"
        )
    for name, own, other in _differences(config, source):
        raise UserError(
            f"init_from {config.init_from} does not fit: its {name} is {other}, this run's {own}"
        )


def _check_unused(config: ResolvedConfig) -> None:
    given = {
        "init_checkpoint": config.init_checkpoint != "newest",
        "init_optimizer": config.init_optimizer,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"{name} is of no use without --init-from: give it, or leave it out")


def _differences(config: ResolvedConfig, source: ResolvedConfig) -> list[tuple[str, Any, Any]]:
    """Return what keeps a network from taking another one's parameters: name, own, other."""
    own, other = config.environment, source.environment
    first, second = config.algorithm, source.algorithm
    pairs: list[tuple[str, Any, Any]] = [
        ("observation shape", own.observation.shape, other.observation.shape),
        ("action", _action(own.action), _action(other.action)),
        *((name, getattr(config, name), getattr(source, name)) for name in _NETWORK),
        (
            "network's output",
            _KINDS[first.learns_action_values],
            _KINDS[second.learns_action_values],
        ),
        ("normalize_observations", first.normalizes_observations, second.normalizes_observations),
        ("normalize_rewards", first.normalizes_rewards, second.normalizes_rewards),
    ]
    if config.init_optimizer:
        pairs.append(("optimizer", first.optimizer, second.optimizer))
    return [pair for pair in pairs if pair[1] != pair[2]]


def _action(spec: Any) -> str:
    if spec.sizes:
        return f"discrete {spec.sizes}"
    return f"discrete {spec.size}" if spec.is_discrete else f"continuous {spec.size}"
