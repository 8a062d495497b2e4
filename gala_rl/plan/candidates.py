"""The configs that a plan compares: those that `gala train` uses for the same numbers.

Imports no torch without a GPU, so that mistakes are reported at once.
"""

from dataclasses import dataclass
from typing import Any, Literal

from gala_rl.checks.config import check_new_config
from gala_rl.checks.machine import cuda_devices, memory_rows
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import find
from gala_rl.methods.resolving import resolve
from gala_rl.plan.options import NETWORK_SETTINGS, PlanOptions

SIMULATORS = (8, 16, 32, 64, 128)
"""Simulators per learner that are compared, besides the method's default."""

MOST_ON_A_RING = 8
"""Learners on the paper's ring; more drift apart there as √n: docs/theory.md."""


@dataclass(frozen=True)
class Machine:
    """The machine that a plan is for.

    Attributes:
        cores: CPU cores.
        gpus: GPUs; 0: networks run on the CPU.
    """

    cores: int
    gpus: int

    @property
    def is_larger_than_this(self) -> bool:
        """Whether this machine has fewer cores."""
        return self.cores > usable_cores()

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        """Where networks run."""
        return "cuda" if self.gpus else "cpu"


def machine_of(options: PlanOptions) -> Machine:
    """Return the machine to plan for.

    Raises:
        UserError: when GPUs are planned for and there is none to measure.
    """
    has_gpu = _has_gpu()
    if options.gpus and not has_gpu:
        raise UserError(
            f"gpus {options.gpus} is impossible: there is no GPU here that PyTorch can use, and "
            f"its speed is measured; leave it out"
        )
    # `gala train` uses one GPU of a machine.
    gpus = int(has_gpu) if options.gpus is None else options.gpus
    return Machine(options.cores or usable_cores(), gpus)


def _has_gpu() -> bool:
    if cuda_devices() == 0:
        return False
    import torch

    return torch.cuda.is_available()


def default_config(options: PlanOptions, machine: Machine) -> ResolvedConfig:
    """Return what `gala train METHOD` does by default on a machine with these cores.

    Raises:
        UserError: when the environment cannot be used here.
    """
    config = TrainConfig(
        method=options.method,
        env=options.env,
        learners=find(options.method).default_learners(machine.cores),
        device=machine.device,
        **_network_of(options),
    )
    return check_new_config(config)


def _network_of(settings: PlanOptions | ResolvedConfig) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in NETWORK_SETTINGS}


def measured_config(default: ResolvedConfig, learners: int, simulators: int) -> ResolvedConfig:
    """Return a config with which learners are measured: in this process, with one thread each."""
    config = TrainConfig(
        method=default.method,
        env=default.env,
        learners=learners,
        simulators=simulators,
        simulator_threads=1,
        network_threads=1,
        device=default.device,
        serial=True,
        **_network_of(default),
    )
    return resolve(config, environment=default.environment)


def candidate(default: ResolvedConfig, learners: int, simulators: int) -> ResolvedConfig:
    """Return a config with these numbers; one learner has the algorithm without gossip."""
    config = TrainConfig(
        method=default.method.removeprefix("gala-") if learners == 1 else default.method,
        env=default.env,
        learners=learners,
        simulators=simulators,
        device=default.device,
        gossip=GossipSettings(topology=topology_for(learners)),
        **_network_of(default),
    )
    return resolve(config, environment=default.environment)


def topology_for(learners: int) -> str:
    """Return the topology that is advised for a number of learners."""
    if learners <= MOST_ON_A_RING:
        return GossipSettings().topology_name
    return "rotating-exponential"


def numbers_of_learners(cores: int) -> list[int]:
    """Return the numbers of learners that are compared: powers of two, and one per core."""
    powers = {1 << power for power in range(cores.bit_length())}
    return sorted(powers | {cores})


def fits_memory(config: ResolvedConfig) -> bool:
    """Return whether this machine has enough memory for a config."""
    return not any(is_wrong for is_wrong, _ in memory_rows(config))
