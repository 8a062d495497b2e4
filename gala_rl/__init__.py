"""Gossip-based actor-learner reinforcement learning.

    import gala_rl

    if __name__ == "__main__":  # learners are processes of their own
        gala_rl.train(gala_rl.TrainConfig(method="gala-a2c", env="CartPole-v1", steps=500_000))

Names are imported when they are first used, so that `import gala_rl` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gala_rl.app.evaluate import evaluate, load_network
    from gala_rl.app.export import export
    from gala_rl.app.scale import scale
    from gala_rl.app.train import resume, train
    from gala_rl.config.settings import AtariProtocol, GossipSettings
    from gala_rl.config.train import TrainConfig
    from gala_rl.errors import LearnerFailure, StorageError, SupervisorFailure, UserError
    from gala_rl.flat import FlatParameters
    from gala_rl.gossip import Gossip
    from gala_rl.methods.a2c import A2CSettings
    from gala_rl.methods.dqn import DQNSettings
    from gala_rl.methods.impala import ImpalaSettings
    from gala_rl.methods.ppo import PPOSettings
    from gala_rl.methods.r2d2 import R2D2Settings
    from gala_rl.methods.resolving import with_settings
    from gala_rl.records.config_file import read_config
    from gala_rl.sinks.sink import Sink

__all__ = [
    "A2CSettings",
    "AtariProtocol",
    "DQNSettings",
    "FlatParameters",
    "Gossip",
    "GossipSettings",
    "ImpalaSettings",
    "LearnerFailure",
    "PPOSettings",
    "R2D2Settings",
    "Sink",
    "StorageError",
    "SupervisorFailure",
    "TrainConfig",
    "UserError",
    "evaluate",
    "export",
    "load_network",
    "read_config",
    "resume",
    "scale",
    "train",
    "with_settings",
]

_HOMES = {
    "gala_rl.config.train": ("TrainConfig",),
    "gala_rl.errors": ("LearnerFailure", "StorageError", "SupervisorFailure", "UserError"),
    "gala_rl.app.evaluate": ("evaluate", "load_network"),
    "gala_rl.app.export": ("export",),
    "gala_rl.app.scale": ("scale",),
    "gala_rl.app.train": ("resume", "train"),
    "gala_rl.flat": ("FlatParameters",),
    "gala_rl.gossip": ("Gossip",),
    "gala_rl.methods.resolving": ("with_settings",),
    "gala_rl.records.config_file": ("read_config",),
    "gala_rl.config.settings": ("AtariProtocol", "GossipSettings"),
    "gala_rl.methods.a2c": ("A2CSettings",),
    "gala_rl.methods.dqn": ("DQNSettings",),
    "gala_rl.methods.impala": ("ImpalaSettings",),
    "gala_rl.methods.ppo": ("PPOSettings",),
    "gala_rl.methods.r2d2": ("R2D2Settings",),
    "gala_rl.sinks.sink": ("Sink",),
}


if not TYPE_CHECKING:  # A type checker would accept every name.

    def __getattr__(name: str) -> Any:
        import importlib

        for home, names in _HOMES.items():
            if name in names:
                return getattr(importlib.import_module(home), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
