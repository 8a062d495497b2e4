"""Rejects options without effect in a new run; the config of an older run may have some."""

import dataclasses
from typing import Any

from gala_rl.checks import Row
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.methods import find, gossiping


def unused_rows(config: ResolvedConfig) -> list[Row]:
    """Return checks of settings that differ from their defaults but have no effect."""
    method, rows = find(config.method), list[Row]()
    if config.environment.kind != "atari":
        remedy = f"is for Atari games, and env {config.env!r} is not one: leave it out"
        atari = _changed(config.atari)
        rows += [(value is not None, f"{name} {value} {remedy}") for name, value in atari]
    if config.environment.backend not in ("ale", "envpool"):
        remedy = f"is for C++ threads, which do not step env {config.env!r}: leave it out"
        threads = config.simulator_threads
        rows += [(threads is not None, f"simulator_threads {threads} {remedy}")]
    if not method.gossips:
        reason = f"learners of {method.name} don't gossip"
        if method.sharing == "nothing":
            reason = f"{method.name} has one learner, which exchanges parameters with no other"
        remedy = f"leave it out, or choose a method whose learners do: {gossiping()}"
        gossip = _changed(config.gossip)
        rows += [(True, f"{name} {v} is of no use: {reason}; {remedy}") for name, v in gossip]
    deadline_s = config.simulator_deadline
    without = "is of no use without --simulator-processes: give them, or leave it out"
    is_unused = deadline_s is not None and config.simulator_processes is None
    return [*rows, (is_unused, f"simulator_deadline {deadline_s} {without}")]


def _changed(settings: Any) -> list[tuple[str, Any]]:
    """Return name and value of each setting that differs from its default."""
    values = {entry.name: entry.default for entry in dataclasses.fields(settings)}
    now = ((name, getattr(settings, name)) for name in values)
    return [(name, value) for name, value in now if value != values[name]]
