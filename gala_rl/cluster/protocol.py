"""What crosses between the machines of a cluster; Ray serialises it."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.cluster.rendezvous import ReplicaAddresses
from gala_rl.faults.costs import ProgressSample

Precision = Literal["float32", "bfloat16"]


class MessagePrecision(NamedTuple):
    """How parameters cross.

    Attributes:
        precision: of all but the running moments, for which eight bits are no digits left where a
            mean is far from 0.
        moments: where those are, [M].
    """

    precision: Precision = "float32"
    moments: slice = slice(0, 0)


_EXACT = MessagePrecision()


class WireMessage(NamedTuple):
    """The latest parameters of a learner, for another node.

    Attributes:
        sender: rank.
        version: number of updates the sender had made.
        parameters: as packed.
        optimizer_state: [S] float32, for a learner that is started again there; seldom sent.
    """

    sender: int
    version: int
    parameters: NDArray[Any]
    optimizer_state: NDArray[Any] | None


class LearnerProgress(NamedTuple):
    """How far a learner is, as a node knows it."""

    agent_steps: int
    updates: int
    ready: int


@dataclass(frozen=True)
class MessageBatch:
    """What a node sends another.

    Attributes:
        node: index of the sender.
        incarnation: how often the sender has been started; a late parcel of an earlier one is void.
        counters: of the sender's learners, by rank.
        known: of the receiver's learners, as the sender knows them, by rank: whoever was started
            again goes on from there.
        down: ranks of the sender's learners that are dead.
        letters: what is new for the receiver.
        introduction: of the sender's learners, if they are replicas.
    """

    node: int
    incarnation: int
    counters: dict[int, LearnerProgress]
    known: dict[int, LearnerProgress]
    down: frozenset[int]
    letters: tuple[WireMessage, ...]
    introduction: ReplicaAddresses | None = None


@dataclass(frozen=True)
class ScaleChange:
    """The number of learners that the run goes by, once it has been changed.

    Attributes:
        number: of the change; the first is 1.
        learners: that are members from now on.
        actors: of all nodes, by index.
    """

    number: int
    learners: int
    actors: dict[int, Any]


@dataclass(frozen=True)
class NodeSpec:
    """What the driver starts a node with.

    Attributes:
        node: its index.
        incarnation: 1 at the start of a run, one more each time it is started again.
        ranks: of the learners of each node, as many as there can be.
        files: for its own copy of the run's folder, by path: config, topology, and what its
            learners wrote before; the plan of faults and those that have come, if there is one.
        agent_steps: made by each learner of the run before.
        updates: made by each learner of the run before.
        parts: of a checkpoint to continue from, by name of the file; empty if there is none.
        actors: indices of those of each node, if one learner has actors on all of them.
        change: the newest of the number of learners; None if it is what the config says.
        joins: ranks that begin with what others have sent, or not at all.
        elapsed_s: since the run's first update, by which faults come; None: it was not yet.
    """

    node: int
    incarnation: int
    ranks: tuple[range, ...]
    files: dict[str, bytes]
    agent_steps: list[int]
    updates: list[int]
    parts: dict[str, bytes] = field(default_factory=dict)
    actors: tuple[range, ...] = ()
    change: ScaleChange | None = None
    joins: range = range(0)
    elapsed_s: float | None = None


@dataclass(frozen=True)
class HeartbeatRequest:
    """What the driver asks of a node at each look.

    Attributes:
        stop: whether its learners are to end after the update they are in.
        checkpoint: number of the newest checkpoint that is asked for.
        read: bytes of each file that the driver has already, by path.
        change: of the number of learners, until the node goes by it.
        left: counters of those that are members no more, by rank.
    """

    stop: bool
    checkpoint: int
    read: dict[str, int]
    change: ScaleChange | None = None
    left: dict[int, LearnerProgress] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeStatus:
    """What a node tells the driver.

    Attributes:
        agent_steps, updates, alive, restarts: of its learners, in the order of their ranks, those
            that there can be too.
        written: number of the newest checkpoint to which each learner has contributed.
        notices: what has happened, a line each.
        news: what was added to files since, by path.
        done: whether all its learners have ended for good.
        failure: class and text of the error for which the run has to be given up; None if none.
        change: number of the change by which it goes; 0 before the first.
        told: number of learners that each learner went by in its last update.
        has_let_go: whether of those that are members no more none is at work.
        rejected: why learners cannot join; None if they can.
        left: as in `HeartbeatRequest`, as far as they are known here.
        elapsed_s: as in `NodeSpec`, by the node's clock; None without a plan of faults too.
        left_alone: whether its learners were ended since the driver was silent.
    """

    agent_steps: list[int]
    updates: list[int]
    alive: list[bool]
    restarts: list[int]
    written: list[int]
    notices: list[str]
    news: dict[str, bytes]
    done: bool
    failure: tuple[str, str] | None
    change: int = 0
    told: list[int] = field(default_factory=list)
    has_let_go: bool = True
    rejected: str | None = None
    left: dict[int, LearnerProgress] = field(default_factory=dict)
    elapsed_s: float | None = None
    left_alone: bool = False


class ParameterSnapshot(NamedTuple):
    """What a learner has last sent, for the driver's watch.

    Attributes:
        rank: of the learner.
        version: number of updates it had made.
        parameters: [P] float32 that learn, without what else gossip takes along.
        gradient: [P] float32, the last that it has shown.
    """

    rank: int
    version: int
    parameters: NDArray[np.float32]
    gradient: NDArray[np.float32]


class ProgressSamples(NamedTuple):
    """What a node has seen of its learners, for the driver that measures what a fault costs.

    Attributes:
        life_ns: tells one life of the node from the next.
        told_s: the node's time now.
        taken: new looks, by the node's clock.
    """

    life_ns: int
    told_s: float
    taken: list[ProgressSample]


def pack(parameters: Tensor, packing: MessagePrecision) -> NDArray[Any]:
    """Parameters [P] float32 as they cross; bfloat16 rounds to nearest.

    Returns:
        [P] float32, or the bits, as int16, of [M] float32 and behind them those of [P] bfloat16.
    """
    if packing.precision == "bfloat16":
        exact = parameters[packing.moments].view(torch.int16)
        rounded = parameters.to(torch.bfloat16).view(torch.int16)
        return np.asarray(torch.cat([exact, rounded]).numpy())
    return np.asarray(parameters.numpy())


def unpack(array: NDArray[Any], packing: MessagePrecision = _EXACT) -> Tensor | None:
    """What `pack` packed, as [P] float32; None when that cannot be what has crossed."""
    if array.ndim != 1 or not array.size or array.dtype not in (np.float32, np.int16):
        return None
    # Ray lends memory that must not be written, for which PyTorch has no tensors.
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
