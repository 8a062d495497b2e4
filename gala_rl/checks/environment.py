"""Checks the settings that depend on the environment: simulators and normalisation."""

from gala_rl.checks import Row
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.methods import METHODS


def environment_rows(config: ResolvedConfig) -> list[Row]:
    """Return checks of simulators and normalisation, for the run's environment."""
    observation, algorithm = config.environment.observation, config.algorithm
    return [
        _action_row(config),
        *_group_rows(config),
        *_process_rows(config),
        (
            algorithm.normalizes_observations and observation.has_pixels,
            f"normalize_observations is for vectors, and env {config.env!r} shows images, whose "
            f"pixels have one scale already: use --no-normalize-observations",
        ),
        (
            algorithm.normalizes_rewards and algorithm.acts_in_processes and not config.serial,
            "normalize_rewards follows whole episodes, and an update of several actors has them "
            "in pieces: use --no-normalize-rewards, or --serial",
        ),
    ]


def _action_row(config: ResolvedConfig) -> Row:
    action = config.environment.action
    actions = f"{action.size} discrete actions at once" if action.sizes else "continuous actions"
    able = [m.name for m in METHODS if not m.learns_action_values]
    return (
        config.algorithm.learns_action_values and (action.sizes or not action.is_discrete),
        f"{config.method} chooses one discrete action per step, and env {config.env!r} has "
        f"{actions}: choose one of {', '.join(able)}",
    )


def _group_rows(config: ResolvedConfig) -> list[Row]:
    groups = config.simulator_groups or 1
    simulators = config.simulators // config.algorithm.actor_count
    return [
        (
            groups > simulators,
            f"simulator_groups {groups} is too many for {simulators} simulators: use at most as "
            f"many",
        ),
        (
            groups > 1 and config.environment.backend != "ale",
            f"simulator_groups {groups} is of no use for env {config.env!r}: only Atari games "
            f"step beside the network; use 1",
        ),
        (
            groups > 1 and config.algorithm.learns_action_values,
            f"simulator_groups {groups} is impossible with {config.method}, whose simulators "
            f"explore with probabilities of their own: leave it out",
        ),
    ]


def _process_rows(config: ResolvedConfig) -> list[Row]:
    processes, deadline_s = config.simulator_processes, config.simulator_deadline
    if processes is None:
        return []
    actors = config.algorithm.actor_count
    return [
        (
            config.environment.backend != "gymnasium",
            f"simulator_processes {processes} is of no use for env {config.env!r}, whose "
            f"simulators step together; leave it out",
        ),
        (
            processes > config.simulators,
            f"simulator_processes {processes} is too many for {config.simulators} simulators: use "
            f"at most as many",
        ),
        (
            processes % actors,
            f"simulator_processes {processes} cannot be shared out among {actors} actors: use a "
            f"multiple of {actors}",
        ),
        (
            deadline_s is not None and deadline_s > config.hang_after / 4,
            f"simulator_deadline {deadline_s or 0:g} is too long beside hang_after "
            f"{config.hang_after:g}, by which the learner itself is killed: use a quarter of it "
            f"or less",
        ),
    ]
