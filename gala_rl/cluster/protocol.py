"""Defines the data that machines of a cluster send each other; Ray serialises it."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.cluster.rendezvous import ReplicaAddresses

GOSSIP, HEARTBEATS, ROLLOUTS = "gossip", "heartbeats", "rollouts"
CONCURRENCY_GROUPS = {GOSSIP: 1, HEARTBEATS: 1, ROLLOUTS: 1}
"""Ray's concurrency groups of calls to a node, and their numbers of threads. Calls do not wait for
other groups, or for a node that is starting or ending its learners."""

Precision = Literal["float32", "bfloat16"]


class MessagePrecision(NamedTuple):
    """How parameters are packed between nodes.

    Attributes:
        precision: of all elements but the running moments, which need more than the 8 bits of
            bfloat16 where a mean is far from 0.
        moments: position of the running moments, [M].
    """

    precision: Precision = "float32"
    moments: slice = slice(0, 0)


_EXACT = MessagePrecision()


class WireMessage(NamedTuple):
    """The latest parameters of a learner, as sent to another node.

    Attributes:
        sender: rank of the sender.
        version: number of updates the sender had made.
        parameters: packed, see `pack`.
        optimizer_state: [S] float32, for learners restarted there; usually None.
    """

    sender: int
    version: int
    parameters: NDArray[Any]
    optimizer_state: NDArray[Any] | None


class LearnerProgress(NamedTuple):
    """Progress of a learner, as known to a node."""

    agent_steps: int
    updates: int
    ready: int


@dataclass(frozen=True)
class MessageBatch:
    """Argument of one gossip call from a node to another.

    Attributes:
        node: index of the sender.
        incarnation: incarnation of the sender; a late batch of an earlier incarnation is dropped.
        progress: progress of the sender's learners, by rank.
        known_progress: of the receiver's learners, by rank, as the sender knows it: a restarted
            node continues from there.
        down: ranks of the sender's learners that are dead.
        messages: latest messages that the receiver does not have yet.
        addresses: addresses of the sender's replicas; None if learners gossip.
    """

    node: int
    incarnation: int
    progress: dict[int, LearnerProgress]
    known_progress: dict[int, LearnerProgress]
    down: frozenset[int]
    messages: tuple[WireMessage, ...]
    addresses: ReplicaAddresses | None = None


@dataclass(frozen=True)
class ScaleChange:
    """A change of the number of learners.

    Attributes:
        number: serial number of the change, from 1.
        learners: number of members from now on.
        nodes: Ray actors of all nodes, by index.
    """

    number: int
    learners: int
    nodes: dict[int, Any]


@dataclass(frozen=True)
class NodeSpec:
    """Everything that the driver passes to a node to set it up.

    Attributes:
        node: index of the node.
        incarnation: 1 at the start of a run, one more after each restart of the node.
        ranks: ranks of the learners that each node can have.
        files: initial content of its copy of the run folder, by path: config, topology, fault plan
            and log of faults, and what its learners wrote before.
        agent_steps: agent steps so far, per learner of the run.
        updates: updates so far, per learner of the run.
        checkpoint: files of the checkpoint to continue from, by name; empty if there is none.
        actors: indices of the actors per node, if one learner has actors on all of them.
        change: newest change of the number of learners; None before the first.
        joining: ranks that must start from a live learner's message.
        elapsed_s: time since the run's first update, for faults; None before it.
    """

    node: int
    incarnation: int
    ranks: tuple[range, ...]
    files: dict[str, bytes]
    agent_steps: list[int]
    updates: list[int]
    checkpoint: dict[str, bytes] = field(default_factory=dict)
    actors: tuple[range, ...] = ()
    change: ScaleChange | None = None
    joining: range = range(0)
    elapsed_s: float | None = None


@dataclass(frozen=True)
class HeartbeatRequest:
    """Request that the driver sends to a node a few times per second.

    Attributes:
        stop: whether learners have to stop after their current update.
        checkpoint: number of the newest requested checkpoint.
        offsets: size in bytes of the driver's copy of each file, by path.
        change: change of the number of learners, until the node has confirmed it.
        former: progress of learners that have left, by rank.
    """

    stop: bool
    checkpoint: int
    offsets: dict[str, int]
    change: ScaleChange | None = None
    former: dict[int, LearnerProgress] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeStatus:
    """A node's answer to a heartbeat.

    Attributes:
        agent_steps, updates, alive, restarts: values per learner that the node may run, by rank.
        written: number of the newest checkpoint to which each of them contributed.
        notices: what has happened since the last status, one line each.
        appended: bytes appended to files since `offsets`, by path.
        done: whether all its learners have ended for good.
        failure: class and text of the error that ends the run; None without one.
        change: number of the change that the node has adopted; 0 before the first.
        learners_seen: number of learners that each learner used in its last update.
        former_ended: whether all learners that have left the run have ended.
        rejected: why joining learners cannot start; None if they can.
        former: as in `HeartbeatRequest`, as known to the node.
        elapsed_s: as in `NodeSpec`, by the node's clock; None without a fault plan.
        driver_lost: whether it ended its learners because the driver was silent.
    """

    agent_steps: list[int]
    updates: list[int]
    alive: list[bool]
    restarts: list[int]
    written: list[int]
    notices: list[str]
    appended: dict[str, bytes]
    done: bool
    failure: tuple[str, str] | None
    change: int = 0
    learners_seen: list[int] = field(default_factory=list)
    former_ended: bool = True
    rejected: str | None = None
    former: dict[int, LearnerProgress] = field(default_factory=dict)
    elapsed_s: float | None = None
    driver_lost: bool = False


class ParameterSnapshot(NamedTuple):
    """A learner's latest message and gradient, for the consensus monitor.

    Attributes:
        rank: rank of the learner.
        version: number of updates it had made.
        parameters: [P] float32, learned parameters only.
        gradient: [P] float32, the last that it has published.
    """

    rank: int
    version: int
    parameters: NDArray[np.float32]
    gradient: NDArray[np.float32]


def pack(parameters: Tensor, packing: MessagePrecision) -> NDArray[Any]:
    """Return parameters [P] float32 as they are sent between nodes; bfloat16 rounds to nearest.

    Returns:
        [P] float32; or [2 M + P] int16: the bits of the moments [M] float32, then those of all
        parameters [P] bfloat16.
    """
    if packing.precision == "bfloat16":
        exact = parameters[packing.moments].view(torch.int16)
        rounded = parameters.to(torch.bfloat16).view(torch.int16)
        return np.asarray(torch.cat([exact, rounded]).numpy())
    return np.asarray(parameters.numpy())


def unpack(array: NDArray[Any], packing: MessagePrecision = _EXACT) -> Tensor | None:
    """Return packed parameters as [P] float32; None for an array that `pack` cannot have made."""
    if array.ndim != 1 or not array.size or array.dtype not in (np.float32, np.int16):
        return None
    # Ray's arrays are read-only, which PyTorch does not support.
    tensor = torch.from_numpy(array.copy())
    if array.dtype == np.float32:
        return tensor
    moments = packing.moments
    exact = 2 * (moments.stop - moments.start)
    parameters = tensor[exact:].view(torch.bfloat16).float()
    if parameters.numel() < moments.stop:
        return None
    parameters[moments] = tensor[:exact].view(torch.float32)
    return parameters
