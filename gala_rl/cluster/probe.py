"""What a machine of a cluster has to be like, so that learners can run there as elsewhere."""

import platform
from importlib import metadata
from typing import Any

import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.checks.shared_memory import check_shared_memory
from gala_rl.config import run as configs
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS, resolve

PACKAGES = ("gala-rl", "torch", "gymnasium", "ale-py")


def probe(values: dict[str, Any], *, has_learners: bool) -> dict[str, Any]:
    """What has to be equal on all machines, or why learners cannot run on this one.

    Args:
        values: the run's config, as `config.to_dict`.
        has_learners: whether it is to; the driver's machine, and one with actors alone, need no
            GPU and no shared memory for them.
    """
    host = platform.node()
    try:
        config = resolve(configs.from_dict(values, ALGORITHMS))
        parameters = initial_parameters_of(config).parameters.numel()
        if has_learners:
            device_of(config)
        versions = {name: metadata.version(name) for name in PACKAGES}
        if has_learners:
            check_shared_memory(config, parameters)
    except (UserError, metadata.PackageNotFoundError) as error:
        return {"host": host, "error": str(error)}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"host": host, "python": python, **versions, "parameters": parameters}


def device_of(config: ResolvedConfig) -> str:
    """Where learners of this machine learn.

    Raises:
        UserError: when it has not what the config asks for.
    """
    if config.device == "cpu" or not torch.cuda.is_available():
        if config.device == "cuda":
            raise UserError("there is no GPU that PyTorch can use: choose --device cpu")
        return "cpu"
    return "cuda"
