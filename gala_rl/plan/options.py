"""Options of a plan; imports neither NumPy nor PyTorch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from gala_rl.checks import check_rows
from gala_rl.config.settings import setting
from gala_rl.config.train import TrainConfig
from gala_rl.methods import METHODS, find

_TRAIN = TrainConfig()

NETWORK_SETTINGS = ("network", "hidden", "activation", "shared_torso")
"""Settings of the network, which plans and configs have in common."""


def _as_in_train(name: str) -> Any:
    entry = TrainConfig.__dataclass_fields__[name]
    return field(default=entry.default, metadata=entry.metadata)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of `gala plan`."""

    env: str = setting(
        _TRAIN.env, "environment, as in gala train; `gala envs` lists them", metavar="ID"
    )
    method: str = setting(_TRAIN.method, "method whose learners gossip, and act themselves")
    network: str = _as_in_train("network")
    hidden: tuple[int, ...] = _as_in_train("hidden")
    activation: Literal["tanh", "relu", "silu"] = _as_in_train("activation")
    shared_torso: bool | None = _as_in_train("shared_torso")
    cores: int | None = setting(
        None,
        "CPU cores to plan for; more than there are here: for another machine",
        unset="those of this machine",
        minimum=1,
        maximum=4096,
    )
    gpus: int | None = setting(
        None,
        "GPUs to plan for; 0: networks run on the CPU",
        unset="1 if this machine has one, else 0",
        minimum=0,
        maximum=4096,
    )
    seconds: float = setting(
        20.0,
        "time to measure for; building simulators comes on top",
        above=0,
        maximum=3600,
        metavar="SECONDS",
    )


def check_method(name: str) -> None:
    """Raise a UserError if a method is unknown or cannot be planned."""
    method = find(name)
    able = ", ".join(m.name for m in METHODS if m.gossips and not m.has_actors)
    cannot, remedy = f"method {name} cannot be planned", f"choose one of {able}"
    check_rows(
        [
            (method.has_actors, f"{cannot}: its actors run in other processes; {remedy}"),
            (not method.gossips, f"{cannot}: its learners don't gossip; {remedy}"),
        ]
    )
