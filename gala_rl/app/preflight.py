"""Finds a user's mistakes before any work starts; imports no torch, so that it answers at once."""

import ctypes
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from gala_rl.app.game_limit import check_max_steps
from gala_rl.config import run as configs
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.run import TrainConfig
from gala_rl.envs import is_atari
from gala_rl.errors import UserError
from gala_rl.faults.check import check_plan
from gala_rl.faults.plan import read_plan
from gala_rl.gossip.topology import HIERARCHICAL, resolve_when
from gala_rl.graph import graph_of
from gala_rl.methods import capacity, find, resolve, why_not_scaled
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import ObservationSpec

_FLOAT_BYTES = 4
_PROCESS_BYTES = 150 * 2**20
"""A process with PyTorch in it is never smaller."""
_SIMULATOR_PROCESS_BYTES = 24 * 2**20
"""Nor is one with Gymnasium alone."""


def check_start(config: TrainConfig) -> ResolvedConfig:
    """The config with everything filled in, if it can be started on this machine.

    Raises:
        UserError: naming the first thing that is wrong and its remedy.
    """
    resolved = check_config(config)
    if config.out is not None:
        RunFolder(Path(config.out)).check_unused()
    return resolved


def check_resume(run: str | Path, steps: int | None) -> ResolvedConfig:
    """The config of a run that can be continued to `steps` agent steps (None: as before).

    Raises:
        UserError: when there is nothing to continue, or nothing left to do.
    """
    folder = RunFolder(Path(run))
    config = folder.read_config()
    folder.check_plain()
    folder.check_free()
    folder.read_summary()
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    resolved = check_config(config)
    made = folder.checkpointed_agent_steps()
    if made is None:
        raise UserError(f"{run} has no checkpoint yet: start it anew: {folder.command_to_go_on()}")
    if made >= config.steps:
        raise UserError(
            f"{run} is complete: it has made {made:,} of {config.steps:,} agent steps; "
            f"go on with a larger --steps"
        )
    return resolved


def check_scale(run: str | Path, learners: int) -> ResolvedConfig:
    """The config, as it is now, of a run that can go on with that number of learners.

    Raises:
        UserError: when it cannot, or when it is not being trained.
    """
    folder = RunFolder(Path(run))
    config = resolve(folder.read_config())
    if (reason := why_not_scaled(config)) is not None:
        raise UserError(f"run {run} cannot be scaled: {reason}")
    if learners > (most := capacity(config)):
        raise UserError(
            f"learners {learners:,} is too many for run {run}: it was started with room for "
            f"{most:,}; a new run has more with --max-learners"
        )
    if learners == config.learners:
        raise UserError(f"learners {learners} is what run {run} has: give another number")
    check_config(dataclasses.replace(config, learners=learners))
    if not folder.is_held:
        raise UserError(
            f"run {run} is not being trained: start it with {folder.command_to_go_on()} first"
        )
    return config


def check_unchanged(run: str | Path, config: TrainConfig, given: set[str]) -> None:
    """Hold the settings that were given against those of the run to be continued.

    Args:
        run: its folder.
        config: new settings.
        given: names of those that the user gave, such as "seed" or "algorithm.discount".

    Raises:
        UserError: when one differs; only `steps` may.
    """
    if not RunFolder(Path(run)).exists:
        return
    old = resolve(RunFolder(Path(run)).read_config())
    same = {"steps", "out"}
    if config.learners in (change["from"] for change in RunFolder(Path(run)).read_scales()[:1]):
        same.add("learners")  # that it was started with; it goes on with those it has now
    learners = old.learners
    if graph_of(config, learners).rounds == graph_of(old, learners).rounds:
        same.add("gossip.topology")  # by whatever name
    if _when(config) == _when(old):
        same.add("gossip.when")
    if _faults(config) == _faults(old):
        same.add("fault_plan")
    for name in sorted((given | {"method"}) - same):
        if _lookup(config, name) != _lookup(old, name):
            raise UserError(
                f"{name} {_lookup(config, name)} is not what run {run} was started with "
                f"({_lookup(old, name)}): leave it out, or choose another --out"
            )


def _when(config: TrainConfig) -> object:
    return resolve_when(config.gossip.when, config.gossip.topology)


def _faults(config: TrainConfig) -> object:
    return None if config.fault_plan is None else read_plan(config.fault_plan)


def _lookup(config: Any, name: str) -> Any:
    for part in name.split("."):
        # Another algorithm has other settings.
        config = getattr(config, part, None)
    return config


def check_evaluation(
    run: str | Path, episodes: int, learner: str, seed: int = 0, max_steps: int | None = None
) -> None:
    """Raise a UserError if a run cannot be evaluated."""
    folder = RunFolder(Path(run))
    config = resolve(folder.read_config())
    if folder.checkpointed_agent_steps() is None:
        raise UserError(f"{run} has no checkpoint yet: nothing to evaluate")
    if episodes < 1:
        raise UserError(f"episodes {episodes} is too small: it must be at least 1")
    if not 0 <= seed < 2**31:
        raise UserError(f"seed {seed} is impossible: it must be from 0 to {2**31 - 1}")
    check_max_steps(max_steps)
    ranks = [str(rank) for rank in range(folder.learners_ever(config))]
    if learner not in (*ranks, "all", "mean"):
        raise UserError(f"learner {learner!r} is unknown: choose {', '.join(ranks)}, all or mean")


def check_bench(configs: Sequence[TrainConfig], seconds: float, repeats: int) -> None:
    """Raise a UserError if training with one of the configs cannot be measured so."""
    if not 0 < seconds < float("inf"):
        raise UserError(f"seconds {seconds} is impossible: give a positive number")
    if repeats < 1:
        raise UserError(f"repeats {repeats} is too small: it must be at least 1")
    for config in configs:
        check_config(config)


def check_config(config: TrainConfig) -> ResolvedConfig:
    """The config with everything filled in, if this machine can run it.

    Raises:
        UserError: naming the first thing that is wrong and its remedy.
    """
    configs.check(config)
    return _check_resolved(resolve(config))


def _check_resolved(config: ResolvedConfig) -> ResolvedConfig:
    if config.device == "cuda" and config.cluster is None and cuda_devices() == 0:
        raise UserError("device 'cuda' is not there: no NVIDIA driver with a GPU; use --device cpu")
    observation = config.environment.observation
    if config.algorithm.acts_in_processes:
        _check_actors(config)
    _check_groups(config)
    _check_waits(config)
    if config.simulator_processes is not None:
        _check_processes(config, config.simulator_processes)
    _check_network(config, observation)
    if config.algorithm.normalize_observations and observation.has_pixels:
        raise UserError(
            f"normalize_observations is for vectors, and env {config.env!r} shows images, whose "
            f"pixels have one scale already: use --no-normalize-observations"
        )
    if config.cluster is None:
        _check_memory(config, observation)
        _check_without_cluster(config)
    if config.cluster is None or config.learners_per_node is not None:
        # Nobody knows yet how many learners a machine of the cluster will have.
        graph_of(config, config.learners)
    check_plan(config)
    return config


def _check_without_cluster(config: ResolvedConfig) -> None:
    if config.learners_per_node is not None and config.gossip.topology != HIERARCHICAL:
        raise UserError(
            f"learners_per_node {config.learners_per_node} is of no use with topology "
            f"{config.gossip.topology}: leave it out, or choose {HIERARCHICAL}"
        )
    if config.message_precision != "float32":
        raise UserError(
            f"message_precision {config.message_precision!r} is for messages between machines of "
            f"a cluster: leave it out, or give --cluster"
        )


def _check_actors(config: ResolvedConfig) -> None:
    if config.algorithm.normalize_rewards and not config.serial:
        raise UserError(
            "normalize_rewards follows whole episodes, and an update of several actors has them "
            "in pieces: use --no-normalize-rewards, or --serial"
        )


def _check_network(config: ResolvedConfig, observation: ObservationSpec) -> None:
    if config.network == "deep" and not observation.is_image:
        raise UserError(
            f"network 'deep' is for images, and env {config.env!r} has none: leave it out"
        )


def _check_groups(config: ResolvedConfig) -> None:
    groups, simulators = config.simulator_groups or 1, config.simulators
    simulators //= config.algorithm.actor_count
    if groups > simulators:
        raise UserError(
            f"simulator_groups {groups} is too many for {simulators} simulators: "
            f"use at most as many"
        )
    if groups > 1 and not is_atari(config.env):
        raise UserError(
            f"simulator_groups {groups} is of no use for env {config.env!r}: only Atari games "
            f"step beside the network; use 1"
        )


def _check_processes(config: ResolvedConfig, processes: int) -> None:
    actors = config.algorithm.actor_count
    if is_atari(config.env):
        raise UserError(
            f"simulator_processes {processes} is of no use for env {config.env!r}: C++ threads of "
            f"the learner step Atari games; leave it out"
        )
    if processes > config.simulators:
        raise UserError(
            f"simulator_processes {processes} is too many for {config.simulators} "
            f"simulators: use at most as many"
        )
    if processes % actors:
        raise UserError(
            f"simulator_processes {processes} cannot be shared out among {actors} actors: "
            f"use a multiple of {actors}"
        )
    if config.simulator_deadline is not None and config.simulator_deadline > config.hang_after / 4:
        raise UserError(
            f"simulator_deadline {config.simulator_deadline:g} is too long beside hang_after "
            f"{config.hang_after:g}, by which the learner itself is killed: use a quarter of it "
            f"or less"
        )


def _check_waits(config: ResolvedConfig) -> None:
    """Refuse to wait so long for others that whoever waits is taken for dead."""
    gossips = find(config.method).gossips and config.learners > 1
    if gossips and config.gossip.deadline >= config.hang_after:
        raise UserError(
            f"deadline {config.gossip.deadline:g} is too long beside hang_after "
            f"{config.hang_after:g}, by which a learner that waits is itself killed: use a shorter "
            f"--deadline, or a longer --hang-after"
        )


def _check_memory(config: ResolvedConfig, observation: ObservationSpec) -> None:
    """Refuse what cannot fit: a rollout is kept as it was seen and learned from as floats."""
    learners, simulators = config.learners, config.simulators
    algorithm = config.algorithm
    rollout_steps = algorithm.rollout_steps
    seen = algorithm.batch_simulators(simulators) * (rollout_steps + 1) * observation.size
    seen_bytes = 1 if observation.is_image else _FLOAT_BYTES
    rollout = seen * seen_bytes + seen * _FLOAT_BYTES
    processes = 1 if config.serial else learners
    if algorithm.acts_in_processes and not config.serial:
        # What waits in the queue, and what each actor is writing.
        queued = simulators * (algorithm.slots_per_actor + 1)
        rollout += queued * (rollout_steps + 1) * observation.size * seen_bytes
        processes += learners * algorithm.actor_count
    needed = learners * rollout + processes * _PROCESS_BYTES
    needed += learners * (config.simulator_processes or 0) * _SIMULATOR_PROCESS_BYTES
    there = psutil.virtual_memory().total
    if needed > there:
        raise UserError(
            f"learners {learners:,} x simulators {simulators:,} x rollout_steps "
            f"{rollout_steps:,} need {needed / 2**30:,.0f} GiB of memory or more, this "
            f"machine has {there / 2**30:,.0f}: use fewer"
        )


def cuda_devices() -> int:
    """Number of GPUs that the NVIDIA driver sees, 0 without a driver."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
