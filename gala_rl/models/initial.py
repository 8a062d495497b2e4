"""Reads the parameters of another run, with which the learners of a run start."""

from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file
from torch import Tensor, nn

from gala_rl.config.train import TrainConfig
from gala_rl.flat import FlatParameters

_Module = TypeVar("_Module", bound=nn.Module)


def with_initial(config: TrainConfig, model: _Module) -> _Module:
    """Load the run's own copy of these parameters, once it exists, into a network; return it."""
    if config.init_from is not None and Path(config.init_from).is_file():
        FlatParameters(model).load(load_file(config.init_from)["parameters"])
    return model


def load_optimizer(config: TrainConfig, state: Tensor) -> None:
    """Load an optimizer's state [S] likewise, if the run starts with one."""
    if config.init_from is not None and config.init_optimizer:
        state.copy_(load_file(config.init_from)["optimizer"])
