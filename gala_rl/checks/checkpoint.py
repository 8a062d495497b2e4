"""Checks that a run can continue from the content of a checkpoint, before anything starts.

Checksums detect damage only: a program that can write the files can write checksums too. So the
content of a checkpoint is compared with what a run of that config saves.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gala_rl.agent import acts_in_process, build_agent, message_size
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.decode import Count, Number, fits
from gala_rl.envs import seeded_generators
from gala_rl.errors import UserError
from gala_rl.gossip import MemoryNetwork
from gala_rl.gossip.mixing import defect
from gala_rl.learners.optimizers import state_size
from gala_rl.methods import find
from gala_rl.methods.resolving import capacity, why_not_scaled
from gala_rl.records.checkpoint import Checkpoint

_COUNTS = ("updates", "agent_steps", "episodes", "mixes", "overdue", "staleness_updates")
_VERSIONS = ("version", "sent_version")
_MAX_RATIO, _TINY = 10.0, 1e-15
"""Adam's m is at most 7.3 √v with its β (Cauchy-Schwarz), except where v was rounded to 0."""


def check_checkpoint(
    start: Checkpoint, config: ResolvedConfig, size: int, device: torch.device
) -> None:
    """Raise a UserError if a run cannot continue from a checkpoint.

    Args:
        start: the checkpoint.
        config: resolved config of the run.
        size: P, length of its parameter vector.
        device: torch device of the learners.
    """
    learners, saved = config.learners, len(start.manifest["learner_agent_steps"])
    is_scaled = why_not_scaled(config) is None
    if saved > capacity(config) or (saved != learners and not is_scaled):
        raise UserError(f"checkpoint {start.path} has {saved} learners, not {learners}")
    for rank in start.learners():
        state = start.load(rank)
        _check_counters(start, rank, state.counters, max(learners, saved))
        for name, length in _vectors(config, size, state.tensors).items():
            check_vector(start, state.tensors, name, length)
            if name == "optimizer":
                _check_squares(start, state.tensors[name], config, size)
        if config.algorithm.learns_action_values:
            _check_replay(start, state.tensors, size)
        if config.algorithm.draws_in_updates:
            _check_generator(start, state.tensors.get("learner_generator"), device)
        if "observations" in state.tensors and acts_in_process(config):
            _check_simulators(start, config, device, state.tensors)


def check_vector(start: Checkpoint, tensors: Mapping[str, Tensor], name: str, length: int) -> None:
    """Raise a UserError unless a checkpoint's tensor is a vector of `length` finite numbers."""
    if name not in tensors:
        raise _unfit(start, f"{name} is missing")
    if wrong := defect(tensors[name], length):
        changed = (
            "; have the environment's spaces or the network changed since?"
            if name == "parameters"
            else ""
        )
        raise _unfit(start, f"{name} is not {length:,} finite numbers ({wrong}){changed}")


def _unfit(start: Checkpoint, why: str) -> UserError:
    return UserError(f"checkpoint {start.path} is not one that its run can have saved: {why}")


def _vectors(config: ResolvedConfig, size: int, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the lengths of the vectors in a learner's part, by name."""
    if find(config.method).sharing in ("parameters", "locked-parameters"):
        return {"parameters": size, "copy": size}  # All learners share the rest.
    lengths = {"parameters": size, "optimizer": state_size(config.algorithm, size)}
    return lengths | ({"sent": message_size(config, size)} if "sent" in tensors else {})


def _check_counters(start: Checkpoint, rank: int, counters: dict[str, Any], learners: int) -> None:
    for name in (*_COUNTS, *_VERSIONS):
        if not fits(Count, counters.get(name)):
            raise _unfit(start, f"{name} of learner {rank} is not a count")
    if any(counters[name] > counters["updates"] for name in _VERSIONS):
        raise _unfit(start, f"learner {rank} is ahead of its own updates")
    for name, keys in (("rejected", None), ("mixed_versions", set(map(str, range(learners))))):
        counts: Any = counters.get(name)
        if not fits(dict[str, Count], counts):
            raise _unfit(start, f"{name} of learner {rank} are not counts")
        if keys is not None and not keys >= counts.keys():
            raise _unfit(start, f"{name} of learner {rank} name learners that do not exist")
    if not fits(list[Number], counters.get("recent_returns")):
        raise _unfit(start, f"recent_returns of learner {rank} are not numbers")


def _check_squares(start: Checkpoint, state: Tensor, config: ResolvedConfig, size: int) -> None:
    """Reject an optimizer state that no gradients lead to: its next step may be infinite."""
    is_adam = config.algorithm.optimizer == "adam"
    if (state[size:] if is_adam else state).min() < 0.0:
        raise _unfit(start, "optimizer has negative averages of squares")
    if is_adam and (state[:size].abs() > _MAX_RATIO * state[size : 2 * size].sqrt() + _TINY).any():
        raise _unfit(start, "optimizer has averages too large for those of their squares")


def _check_replay(start: Checkpoint, tensors: Mapping[str, Tensor], size: int) -> None:
    check_vector(start, tensors, "target", size)
    counts = tensors.get("replay_counts")
    if counts is None or (counts.dtype, counts.shape) != (torch.int64, (3,)) or counts.min() < 0:
        raise _unfit(start, "replay_counts are not counts")


def _check_generator(start: Checkpoint, state: Tensor | None, device: torch.device) -> None:
    try:
        # Restoring a GPU's generator would initialise the whole device here.
        if device.type == "cpu":
            torch.Generator().set_state(state)  # type: ignore[arg-type]
    except (TypeError, RuntimeError) as error:
        raise _unfit(start, f"learner_generator is not a random state ({error})") from error


def _check_simulators(
    start: Checkpoint, config: ResolvedConfig, device: torch.device, tensors: Mapping[str, Tensor]
) -> None:
    """Check the saved state of simulators by restoring it in simulators like the run's."""
    transport = MemoryNetwork(config.learners).transport(0)
    with seeded_generators(config.seed):
        agent = build_agent(config, 0, transport, device, seed=0)
        try:
            like = agent.source.state() | {"discounted_sums": agent.normalizer.discounted_sums}
            for name, own in like.items():
                tensor = tensors.get(name)
                if tensor is None or (tensor.shape, tensor.dtype) != (own.shape, own.dtype):
                    raise _unfit(start, f"{name} has another shape than that of its simulators")
                if not torch.isfinite(tensor).all():
                    raise _unfit(start, f"{name} is not finite")
            agent.source.restore(tensors)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise _unfit(start, f"its simulators cannot continue from it ({error!r})") from error
        finally:
            agent.source.close()
