"""Checks that this machine has the GPU and the memory that a run needs."""

import ctypes
from itertools import pairwise

import psutil

from gala_rl.checks import Row
from gala_rl.config.resolved import ResolvedConfig

FLOAT_BYTES = 4
_PROCESS_BYTES = 150 * 2**20
"""Least memory of a process that has imported PyTorch."""
_SIMULATOR_PROCESS_BYTES = 24 * 2**20
"""Least memory of a process that has imported only Gymnasium."""


def device_rows(config: ResolvedConfig) -> list[Row]:
    """Return the check that there is a GPU if the run needs one."""
    return [
        (
            config.device == "cuda" and config.cluster is None and cuda_devices() == 0,
            "device 'cuda' is not there: no NVIDIA driver with a GPU; use --device cpu",
        )
    ]


def memory_rows(config: ResolvedConfig) -> list[Row]:
    """Return the check that main memory is large enough."""
    available = psutil.virtual_memory().total
    network, needed = _network_bytes(config), needed_bytes(config)
    total = needed + config.learners * replay_bytes(config)
    return [
        replay_row(config, config.learners),
        (
            network > available,
            f"env {config.env!r} needs a network of {network / 2**30:,.0f} GiB or more, this "
            f"machine has {available / 2**30:,.0f}: make its observations or actions smaller by a "
            f"wrapper, or the layers of --hidden",
        ),
        (
            total > available,
            f"learners {config.learners:,} x simulators {config.simulators:,} x rollout_steps "
            f"{config.algorithm.rollout_steps:,} need {total / 2**30:,.0f} GiB of memory or more, "
            f"this machine has {available / 2**30:,.0f}: use fewer",
        ),
    ]


def replay_row(config: ResolvedConfig, learners: int) -> Row:
    """Return the check that the replays of that many learners fit in this machine's memory."""
    needed, available = learners * replay_bytes(config), psutil.virtual_memory().total
    return (
        needed > available,
        f"replay_size {getattr(config.algorithm, 'replay_size', 0):,} x learners {learners:,} "
        f"needs {needed / 2**30:,.1f} GiB of memory, this machine has {available / 2**30:,.0f}: "
        f"use a smaller one",
    )


def replay_bytes(config: ResolvedConfig) -> int:
    """Return the memory of a learner's replay; 0 without one."""
    return config.algorithm.replay_bytes(
        config.simulators,
        config.environment.observation,
        frame_stack=config.frame_stack,
        state_size=_state_size(config),
    )


def _state_size(config: ResolvedConfig) -> int:
    """Return S of a Q-network: h and c of its LSTM, its last action and reward."""
    return 2 * config.lstm_size + 2 if config.lstm_size else 0


def _network_bytes(config: ResolvedConfig) -> int:
    """Return the least size of the layers for vectors and of the heads, with gradients."""
    observation, action = config.environment.observation, config.environment.action
    parts = observation.parts or (observation,)
    inputs = sum(part.size for part in parts if not part.is_image)
    outputs = len(action.sizes) * max(action.sizes) if action.sizes else action.size
    units = (inputs, *config.hidden) if inputs and not config.has_own_network else (1,)
    weights = sum(before * after for before, after in pairwise((*units, outputs)))
    return 2 * config.learners * weights * FLOAT_BYTES


def needed_bytes(config: ResolvedConfig) -> int:
    """Return the least memory of a run's processes and rollouts, without replays."""
    learners, algorithm = config.learners, config.algorithm
    observation, steps = config.environment.observation, algorithm.rollout_steps + 1
    stored_bytes = 1 if observation.is_image else FLOAT_BYTES
    # A rollout is stored in the environment's type, and converted to floats for the update.
    batch = algorithm.batch_simulators(config.simulators) * steps * observation.size
    rollout = batch * (stored_bytes + FLOAT_BYTES)
    processes = 1 if config.serial else learners
    if algorithm.acts_in_processes and not config.serial:
        # Rollouts in the queue, and one per actor that is being written.
        queued = config.simulators * (algorithm.slots_per_actor + 1)
        rollout += queued * steps * slot_bytes(config)
        processes += learners * algorithm.actor_count
    needed = learners * rollout + processes * _PROCESS_BYTES
    return needed + learners * (config.simulator_processes or 0) * _SIMULATOR_PROCESS_BYTES


def slot_bytes(config: ResolvedConfig) -> int:
    """Return the bytes of a step of a simulator that its actor sends to the learner."""
    observation = config.environment.observation
    own = observation.size * (1 if observation.is_image else FLOAT_BYTES)
    if not config.algorithm.learns_action_values:
        return own
    # A replay needs final observations and states too.
    return 2 * own + FLOAT_BYTES * _state_size(config)


def cuda_devices() -> int:
    """Return the number of GPUs that the NVIDIA driver reports, 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
