"""Methods: named combinations of algorithm, system and gossip, each with its paper's settings.

Imports no torch, and Gymnasium only to resolve: the command line lists methods at once.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from gala_rl.config.resolved import ResolvedConfig, learners_per_machine
from gala_rl.config.run import TrainConfig, check
from gala_rl.config.settings import AlgorithmSettings, GossipSettings
from gala_rl.cores import usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import (
    a2c,
    a2c_allreduce,
    a2c_async,
    a3c,
    gala_a2c,
    gala_impala,
    gala_ppo,
    impala,
    ppo,
    ppo_allreduce,
    ppo_async,
)
from gala_rl.methods.method import Method as Method
from gala_rl.suggestions import closest

_ON_CLUSTERS = ("gossip", "gradients")
"""What learners on several machines can share."""

METHODS = (
    gala_a2c.METHOD,
    a2c.METHOD,
    a2c_allreduce.METHOD,
    a2c_async.METHOD,
    a3c.METHOD,
    gala_ppo.METHOD,
    ppo.METHOD,
    ppo_allreduce.METHOD,
    ppo_async.METHOD,
    gala_impala.METHOD,
    impala.METHOD,
)

ALGORITHMS: Mapping[str, type[AlgorithmSettings]] = {
    settings.name: type(settings)
    for settings in (method.settings("discrete") for method in METHODS)
}
"""Settings of each algorithm by its name, as in `config.json`."""

_OFF_POLICY = (
    "c51",
    "ddpg",
    "ddqn",
    "dqn",
    "qr-dqn",
    "qrdqn",
    "r2d2",
    "rainbow",
    "sac",
    "td3",
    "tqc",
)
"""Methods of other packages that nothing here resembles."""

_MOST_LEARNERS = 10_000
"""That `TrainConfig.learners` allows."""


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: when there is none.
    """
    names = [method.name for method in METHODS]
    if name in names:
        return METHODS[names.index(name)]
    if name.lower() in _OFF_POLICY:
        guess = f"all methods here are on-policy actor-critics; choose one of {', '.join(names)}"
    elif (close := closest(name, names)) is not None:
        guess = f"did you mean {close}?"
    else:
        guess = f"choose one of {', '.join(names)}"
    raise UserError(f"method {name!r} is unknown: {guess}")


def with_settings(config: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """The config with some settings of its method's algorithm; the rest are its paper's.

    Raises:
        UserError: when the method is unknown, or its algorithm has no such setting.
    """
    from gala_rl.envs import read_environment

    method, environment = find(config.method), read_environment(config.env, config.atari)
    preset = method.settings(environment.kind)
    settings = config.algorithm or preset
    known = [entry.name for entry in dataclasses.fields(settings)]
    for name in given:
        if name not in known:
            able = [m.name for m in METHODS if hasattr(m.settings("discrete"), name)]
            remedy = f"{', '.join(able)} have it" if able else f"it has {', '.join(known)}"
            raise UserError(f"{name} is no setting of {method.name}: {remedy}")
    settings = dataclasses.replace(settings, **given)
    check(dataclasses.replace(config, algorithm=settings))
    if config.algorithm is None:
        settings = settings.fitted(
            _simulators_of(config, method.default_simulators(environment.kind), settings),
            given,
            is_recurrent=config.lstm_size is not None,
            has_pixels=environment.observation.has_pixels,
        )
    return dataclasses.replace(config, algorithm=settings)


def _simulators_of(config: TrainConfig, published: int, settings: AlgorithmSettings) -> int:
    """A learner's simulators: as given, or as published and enough for what is to share them."""
    if config.simulators is not None:
        return config.simulators
    return settings.simulators(max(published, config.simulator_processes or 1))


def learners_of(config: TrainConfig) -> int:
    """Number of learners: as given, or as many as the method has on this machine.

    Raises:
        UserError: when the method is unknown or has one learner alone.
    """
    method = find(config.method)
    learners = config.learners or method.default_learners(usable_cores())
    if learners > 1 and method.sharing == "nothing":
        raise UserError(
            f"learners {learners} is too many: {method.name} has one learner; "
            f"gala-{method.name} trains several"
        )
    return learners


def resolve(config: TrainConfig) -> ResolvedConfig:
    """Fill in what depends on the method, its environment and this machine.

    Raises:
        UserError: when the method is unknown or cannot run with these settings.
    """
    from gala_rl.envs import read_environment

    method = find(config.method)
    if config.cluster is not None:
        _check_cluster(config, method)
    learners = learners_of(config)
    environment = read_environment(config.env, config.atari)
    preset = method.settings(environment.kind)
    if config.algorithm is not None and type(config.algorithm) is not type(preset):
        raise UserError(
            f"algorithm {type(config.algorithm).__name__} is not that of method {method.name}: "
            f"give {type(preset).__name__}"
        )
    settings = config.algorithm or preset
    simulators = _simulators_of(config, method.default_simulators(environment.kind), settings)
    is_recurrent = config.lstm_size is not None
    if config.algorithm is None:
        has_pixels = environment.observation.has_pixels
        settings = settings.fitted(simulators, (), is_recurrent=is_recurrent, has_pixels=has_pixels)
    # In one process there is nobody to act meanwhile.
    here = learners_per_machine(config, learners)
    cores = 1 if config.serial else usable_cores() // here
    # Actors share out their learner's processes of simulators as well.
    shared = math.gcd(simulators, config.simulator_processes or simulators)
    settings = settings.resolved(shared, cores)
    settings.check(simulators, is_recurrent=is_recurrent, is_serial=config.serial)
    filled_in = {
        "learners": learners,
        "simulators": simulators,
        "algorithm": settings,
        "environment": environment,
    }
    given = {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(TrainConfig)}
    resolved = ResolvedConfig(**given | filled_in)
    _check_max_learners(resolved)
    if method.sharing not in ("nothing", "gossip"):
        _check_without_gossip(resolved, method)
    return resolved


def why_not_scaled(config: TrainConfig) -> str | None:
    """Why the number of learners cannot change while a run goes on; None if it can."""
    from gala_rl.gossip import topology

    method = find(config.method)
    able = ", ".join(m.name for m in METHODS if m.gossips)
    if not method.gossips:
        reason = {
            "nothing": "has one learner",
            "gradients": "averages each gradient over all learners, who begin and end together",
        }.get(method.sharing, "has learners with one parameter vector, made for their number")
        return f"{method.name} {reason}; these can be scaled: {able}"
    if config.serial:
        return "learners take turns in one process; without --serial they can join and leave"
    if not topology.is_name(config.gossip.topology):
        return (
            f"topology {config.gossip.topology} says who hears whom for its own number of learners "
            f"alone; these can be scaled: {', '.join((*topology.NAMES, topology.HIERARCHICAL))}"
        )
    return None


def capacity(config: ResolvedConfig) -> int:
    """Most learners that a run can be scaled to, those it has where it cannot be."""
    learners = config.learners
    twice = learners if why_not_scaled(config) else min(2 * learners, _MOST_LEARNERS)
    return config.max_learners or twice


def _check_max_learners(config: ResolvedConfig) -> None:
    learners, most = config.learners, config.max_learners
    if most is None:
        return
    if (reason := why_not_scaled(config)) is not None:
        raise UserError(f"max_learners {most} is of no use: {reason}; leave it out")
    if most < learners:
        raise UserError(f"max_learners {most} is less than learners {learners}: use at least that")


def _check_cluster(config: TrainConfig, method: Method) -> None:
    """Refuse what cannot run on several machines."""
    shares_out_actors = method.sharing == "nothing" and method.has_actors
    if method.sharing not in _ON_CLUSTERS and not shares_out_actors:
        able = [m.name for m in METHODS if m.sharing in _ON_CLUSTERS]
        raise UserError(
            f"cluster {config.cluster!r} is impossible with {method.name}: only learners that "
            f"gossip or average gradients, and actors, can be on several machines; choose one of "
            f"{', '.join(able)}, {impala.METHOD.name}"
        )
    if not method.gossips and config.message_precision != "float32":
        raise UserError(
            f"message_precision {config.message_precision!r} is for learners that gossip: "
            f"{method.name} needs float32; leave it out"
        )
    if not method.gossips and config.fault_plan is not None:
        raise UserError(
            f"fault_plan is for learners that gossip where there is a cluster: leave it out with "
            f"{method.name}, or leave out cluster"
        )
    if shares_out_actors:
        _check_actors_on_cluster(config)
    elif config.learners is None:
        raise UserError(
            f"cluster {config.cluster!r} needs --learners: say how many there are on all machines"
        )
    if config.serial:
        raise UserError("serial is for one process, cluster for many machines: leave one out")


def _check_actors_on_cluster(config: TrainConfig) -> None:
    if config.learners_per_node is not None:
        raise UserError(
            f"learners_per_node {config.learners_per_node} is of no use with impala: it has one "
            f"learner, whose actors are shared out among all machines; leave it out"
        )
    if actors_to_share_out(config) is None:
        raise UserError(
            f"cluster {config.cluster!r} needs --actors: say how many there are on all machines"
        )


def actors_to_share_out(config: TrainConfig) -> int | None:
    """Number of actors of the one learner of a run on a cluster; None if it has no such learner."""
    is_alone = config.cluster is not None and find(config.method).sharing == "nothing"
    return getattr(config.algorithm, "actors", None) if is_alone else None


def _check_without_gossip(config: ResolvedConfig, method: Method) -> None:
    """Refuse what needs neighbours, or learners that take turns."""
    able = ", ".join(m.name for m in METHODS if m.gossips)
    steps_together = method.sharing == "gradients" and config.learners > 1
    if steps_together and config.serial:
        raise UserError(
            f"serial is impossible with {method.name}: its learners make each step together, not "
            f"in turn; leave it out, or choose one whose learners gossip: {able}"
        )
    for entry in dataclasses.fields(GossipSettings):
        value = getattr(config.gossip, entry.name)
        if value != entry.default:
            raise UserError(
                f"{entry.name} {value} is of no use: learners of {method.name} don't gossip; "
                f"leave it out, or choose one whose learners do: {able}"
            )
    if steps_together and config.algorithm.may_stop_early:
        raise UserError(
            f"target_kl is impossible with {method.name}: its learners make each step together "
            f"and would stop after different ones; leave it out"
        )
