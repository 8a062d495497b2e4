"""Clusters that tests simulate: constant times, tiny messages, unless a test says otherwise."""

from typing import Any

from gala_lab.simulation.simulation_config import SimulationConfig

PROMPT = {"parameters": 1, "bandwidth_bytes_per_s": 1e30, "latency_s": 0.0}
"""A network on which a message is there at the instant at which it is sent."""


def cluster(**settings: Any) -> SimulationConfig:
    """Learners that each take a second an update, on a perfect network."""
    defaults: dict[str, Any] = {"compute_s": 1.0, "compute_variation": 0.0, "dimension": 3}
    return SimulationConfig(**{**defaults, **PROMPT, **settings})
