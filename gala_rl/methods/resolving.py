"""Resolves a config for its method, its environment and this machine.

Imports no torch, and Gymnasium only to resolve, so that mistakes are reported at once.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gala_rl.config.fields import check
from gala_rl.config.resolved import ResolvedConfig, learners_per_machine
from gala_rl.config.settings import AlgorithmSettings, AtariProtocol
from gala_rl.config.train import ATARI_STAGGER, TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import METHODS, find, gossiping
from gala_rl.methods.presets import DEFAULT_STEPS, environment_preset
from gala_rl.spaces import SHALLOW_SIDE, EnvironmentSpec

_MOST_LEARNERS = 10_000
"""Maximum of `TrainConfig.learners`."""


def with_settings(config: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """Set some settings of the method's algorithm; the others have the preset's values.

    Args:
        config: config of a run.
        given: values of the settings, by name, such as `{"learning_rate": 1e-3}`.

    Returns:
        The config with `algorithm` filled in, for its environment.

    Raises:
        UserError: when the method is unknown, or its algorithm has no such setting.
    """
    from gala_rl.envs import read_environment

    find(config.method)
    check(config)
    environment = read_environment(config.source)
    return dataclasses.replace(config, algorithm=algorithm_of(config, given, environment))


def algorithm_of(
    config: TrainConfig, given: Mapping[str, Any], environment: EnvironmentSpec
) -> AlgorithmSettings:
    """Return the algorithm settings: as given, else the config's own, else the preset's.

    The preset's values are fitted to the environment and the number of simulators.

    Raises:
        UserError: when the algorithm is not the method's, has no such setting or value, or
            contradicts the preset.
    """
    method = find(config.method)
    preset = method.settings(environment.kind)
    paper = method.paper_settings if config.preset == "paper" else {}
    own = environment_preset(config, preset.name).settings
    preset = dataclasses.replace(preset, **paper, **own)
    settings = config.algorithm or preset
    if type(settings) is not type(preset):
        raise UserError(
            f"algorithm {type(settings).__name__} is not that of method {method.name}: "
            f"give {type(preset).__name__}"
        )
    known = [entry.name for entry in dataclasses.fields(settings)]
    for name in given:
        if name not in known:
            able = [m.name for m in METHODS if hasattr(m.settings("discrete"), name)]
            remedy = f"{', '.join(able)} have it" if able else f"it has {', '.join(known)}"
            raise UserError(f"{name} is not a setting of {method.name}: {remedy}")
    settings = dataclasses.replace(settings, **given)
    check(settings, "algorithm.")
    _refuse_contradictions(config, settings, given)
    if config.algorithm is not None:
        return settings
    return settings.fitted(
        _simulators_of(config, settings, environment),
        given,
        is_recurrent=_lstm_size_of(config, environment) > 0,
        has_pixels=environment.observation.has_pixels,
    )


def _refuse_contradictions(
    config: TrainConfig, settings: AlgorithmSettings, given: Mapping[str, Any]
) -> None:
    """Raise a UserError when settings contradict the preset, or one of them has no effect."""
    paper = find(config.method).paper_settings if config.preset == "paper" else {}
    for name, value in paper.items():
        if (other := getattr(settings, name)) != value:
            raise UserError(
                f"{name} {other} contradicts preset paper, which sets it to {value}: "
                f"leave one of them out"
            )
    for name, other in settings.without_effect():
        if name in given:
            raise UserError(f"{name} has no effect on {other}: leave it out")
    if given.get("bias_correction") and settings.optimizer != "rmsprop":
        raise UserError(
            f"bias_correction has no effect on optimizer {settings.optimizer}: leave it out"
        )
    if given.get("bias_correction") and learners_of(config) == 1:
        raise UserError("bias_correction has no effect on one learner: leave it out")


def _simulators_of(
    config: TrainConfig, settings: AlgorithmSettings, environment: EnvironmentSpec
) -> int:
    """Return the simulators per learner: as given, or as published and enough to be shared."""
    if config.simulators is not None:
        return config.simulators
    published = find(config.method).default_simulators(environment.kind)
    total = environment_preset(config, settings.name).simulators
    if total is not None:
        published = max(1, total // learners_of(config))
    return settings.simulators(max(published, config.simulator_processes or 1))


def _lstm_size_of(config: TrainConfig, environment: EnvironmentSpec) -> int:
    """Return the units of the LSTM: as given, or the method's default; 0: no LSTM."""
    if config.lstm_size is not None:
        return config.lstm_size
    return find(config.method).default_lstm_size(environment.kind)


def _atari_of(config: TrainConfig, environment: EnvironmentSpec) -> AtariProtocol:
    """Return the Atari protocol; on a game, what was not given has the method's values."""
    if environment.kind != "atari":
        return config.atari
    protocol = AtariProtocol(**find(config.method).atari)
    defaults = {
        "clip_rewards": protocol.clips_rewards,
        "life_loss_terminal": protocol.ends_at_life_loss,
    }
    unset = {name: v for name, v in defaults.items() if getattr(config.atari, name) is None}
    return dataclasses.replace(config.atari, **unset)


def learners_of(config: TrainConfig) -> int:
    """Return the number of learners: as given, or the method's default on this machine.

    Raises:
        UserError: when the method is unknown, or has one learner and several are given.
    """
    method = find(config.method)
    learners = config.learners or method.default_learners(usable_cores())
    if learners > 1 and method.sharing == "nothing":
        raise UserError(
            f"learners {learners} is too many: {method.name} has one learner; "
            f"gala-{method.name} trains several"
        )
    return learners


def resolve(
    config: TrainConfig,
    given: Mapping[str, Any] = MappingProxyType({}),
    environment: EnvironmentSpec | None = None,
) -> ResolvedConfig:
    """Fill in what depends on the method, its environment and this machine.

    Args:
        config: config of a run.
        given: settings of its algorithm, as for `with_settings`.
        environment: specs of its environment; default: they are read off one that is built for it.

    Raises:
        UserError: when the method is unknown or cannot run with these settings.
    """
    from gala_rl.envs import read_environment

    learners = learners_of(config)
    environment = environment or read_environment(config.source)
    settings = algorithm_of(config, given, environment)
    simulators = _simulators_of(config, settings, environment)
    # In one process no actor can act while its learner learns.
    here = learners_per_machine(config, learners)
    cores = 1 if config.serial else usable_cores() // here
    # Actors share their learner's simulator processes too.
    shared = math.gcd(simulators, config.simulator_processes or simulators)
    settings = settings.resolved(shared, cores)
    lstm_size = _lstm_size_of(config, environment)
    settings.check(simulators, is_recurrent=lstm_size > 0, is_serial=config.serial)
    network, stagger = config.network, config.stagger
    if network == "auto" and environment.observation.is_image:
        sides = environment.observation.shape[1:]
        network = "small" if min(sides) < SHALLOW_SIDE else "shallow"
    if stagger is None:
        stagger = ATARI_STAGGER if environment.kind == "atari" else 0
    filled_in = {
        "steps": config.steps or environment_preset(config, settings.name).steps or DEFAULT_STEPS,
        "network": network,
        "lstm_size": lstm_size,
        "atari": _atari_of(config, environment),
        "stagger": stagger,
        "learners": learners,
        "simulators": simulators,
        "algorithm": settings,
        "environment": environment,
    }
    own = {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(TrainConfig)}
    return ResolvedConfig(**own | filled_in)


def why_not_scaled(config: TrainConfig) -> str | None:
    """Return why the number of learners cannot change during a run; None if it can."""
    from gala_rl.gossip import own_graph, topology

    method = find(config.method)
    if not method.gossips:
        reason = {
            "nothing": "has one learner",
            "gradients": "averages each gradient over all learners, which begin and end together",
        }.get(method.sharing, "has learners with one parameter vector, made for their number")
        return f"{method.name} {reason}; these can be scaled: {gossiping()}"
    if config.serial:
        return "learners take turns in one process; without --serial they can join and leave"
    if not topology.fits_any_number(config.gossip.topology_name):
        given, able = (
            own_graph.shown(config.gossip.topology_name),
            (*topology.NAMES, topology.HIERARCHICAL),
        )
        return (
            f"topology {given} says who hears whom for its own number of learners alone; these can "
            f"be scaled: {', '.join(able)}, or module:function"
        )
    return None


def capacity(config: ResolvedConfig) -> int:
    """Return the largest number of learners that a run can be scaled to."""
    learners = config.learners
    twice = learners if why_not_scaled(config) else min(2 * learners, _MOST_LEARNERS)
    return config.max_learners or twice
