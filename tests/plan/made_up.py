"""Configs and measurements for tests of plans."""

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.plan.measuring import Measurement, Timing

ENV = "tests.environments:Drifting-v0"
SIMULATORS = (8, 16, 32, 64, 128)


def default_of(learners: int = 2, method: str = "gala-a2c") -> ResolvedConfig:
    """What gala train does on a machine whose default is this number of learners."""
    return resolve(TrainConfig(method=method, env=ENV, learners=learners, device="cpu"))


def measurement(
    noise: float | None, overhead_s: float = 0.0, simulators: tuple[int, ...] = SIMULATORS
) -> Measurement:
    """Rollout and update take 1 ms per simulator each, besides the overhead of an update."""
    timings = {b: Timing(b, b * 1e-3, b * 1e-3 + overhead_s) for b in simulators}
    return Measurement(timings, noise, noise, rounds=100, left_out=())
