"""Consensus watch: how far learners are apart while they train, beside what theory allows."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import StorageError
from gala_rl.gossip import Message
from gala_rl.gossip.journal import Entry, JournalReader, Kind, OverrunError
from gala_rl.gossip.topology import NAMES
from gala_rl.graph import graph_of
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.metrics import MetricsWriter
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.traffic import UNKNOWN, Traffic
from gala_rl.theory import ball
from gala_rl.theory.consensus import Consensus, consensus, mean_pairwise_cosine
from gala_rl.theory.realised import Bounds, Realised, UntrackedError

_LOOK_EVERY_S = 1.0
_SHARE = 0.004
"""Of one core's time may go into measuring: a longer look is followed by a longer pause."""
_ROUNDING = 1e-5
"""Of the parameters' norm: sums in float32 differ from the true ones by less."""
_SLACK = 1.0001
_MOST_DEFECTS = 3
_OWN_GRAPH_LEARNERS = 16
"""The nominal bound of a larger graph of one's own takes seconds to compute."""


class ConsensusMonitor:
    """Measures distances, follows the journal for their bounds, and writes rows of both.

    Args:
        learners: number of members at the beginning, the first so many of all that there can be.
        size: length of the first part of what is sent: the parameters that learn. Behind them may
            be running moments, in units of their own, and the optimiser's state.
        journal: what the learners do; None where nobody can tell in which order: bounds and traffic
            are not known then.
        read: the latest message of a learner where it lies, None before the first.
        gradients: [P] of all learners that there can be, the last that each has shown.
        radius: worst-case radius in units of the update size if so many learners all mixed in every
            round; None where that is too much to compute.
        path: file for the rows.
        defects: folder for what is wrong.

    Attributes:
        latest: the newest row; None before the first, and where one learner is alone.
    """

    def __init__(
        self,
        learners: int,
        size: int,
        *,
        journal: JournalReader | None,
        read: Callable[[int], Message | None],
        gradients: Sequence[Tensor],
        radius: Callable[[int], float | None],
        path: Path,
        defects: Path,
    ) -> None:
        self.latest: dict[str, Any] | None = None
        self._journal = journal
        self._read = read
        self._gradients = gradients
        self._radius_of, self._radius = radius, radius(learners)
        self._path = path
        self._writer: MetricsWriter | None = None
        self._defects = defects
        self._defects_kept = 0
        # Those that are measured, and those that may mix what others of them have sent.
        self._measured = self._followed = learners
        self._realised = None if journal is None else Realised(len(gradients), members=learners)
        self._traffic = Traffic(len(gradients))
        # Rows of learners that never join stay untouched, and take no memory.
        self._sent = torch.empty(len(gradients), size)
        self._next_look = time.monotonic() + _LOOK_EVERY_S
        self._notices: list[str] = []

    def begin_apart(self, start: Checkpoint) -> None:
        """The learners continue from a checkpoint, and with the messages that were under way."""
        assert self._realised is not None
        saved = start.learners()
        size = self._sent.shape[1]
        states = [start.load(i if i in saved else saved[0]) for i in range(self._measured)]
        centre = torch.stack([s.tensors["parameters"][:size] for s in states]).mean(dim=0)

        def distance(vector: Tensor) -> float:
            return float(torch.linalg.vector_norm(vector[:size] - centre))

        for learner, state in enumerate(states):
            self._realised.place(learner, distance(state.tensors["parameters"]))
            if learner in saved and "sent" in state.tensors:
                version = int(state.counters["sent_version"])
                self._realised.place_sent(learner, version, distance(state.tensors["sent"]))

    def begin_change(self, learners: int) -> None:
        """The learners are about to go by another number; those that stay are measured on."""
        self._take_in()
        if self._followed == 1 and self._journal is not None:
            # Whatever it went through alone, there is nobody to be apart from.
            self._realised = Realised(len(self._sent), members=1)
        self._measured, self._followed = sorted((self._measured, learners))

    def end_change(self, learners: int) -> None:
        """All go by the new number: who has left is mixed no more, who has joined has sent."""
        self._take_in()
        for left in range(learners, self._followed):
            self._traffic.forget(left)
            if self._realised is not None:
                self._realised.leave(left)
        self._measured = self._followed = learners
        self._radius = self._radius_of(learners)
        if learners == 1:
            self.latest = None

    def follow(self, total_agent_steps: int) -> None:
        """Take in what the learners wrote, and measure if it is time; called all the while.

        Raises:
            StorageError: when a row cannot be written.
        """
        if time.monotonic() < self._next_look:
            self._take_in()
            return
        began_s = time.process_time()
        self.look(total_agent_steps)
        took_s = time.process_time() - began_s
        self._next_look = time.monotonic() + max(_LOOK_EVERY_S, took_s / _SHARE)

    def look(self, total_agent_steps: int) -> None:
        """Measure now and write a row, once all learners have sent and if one has since the last.

        Raises:
            StorageError: when it cannot be written.
        """
        seen = self._see() if self._measured > 1 else None
        if seen is None or (self.latest and seen[0] == self.latest["versions"]):
            return
        versions, bounds = seen
        measured = consensus(self._sent[: self._measured])
        self.latest = {
            "time": round(time.time(), 3),
            "total_agent_steps": total_agent_steps,
            "versions": versions,
            **self._distances(measured, bounds),
            "gradient_cosine": mean_pairwise_cosine(
                torch.stack([gradient.cpu() for gradient in self._gradients[: self._measured]])
            ),
            **(UNKNOWN if self._journal is None else self._traffic.take_row()),
        }
        self._writer = self._writer or MetricsWriter(self._path)
        self._writer.write(self.latest)
        if bounds is not None and is_exceeded(measured, bounds):
            self._keep_defect(versions, measured, bounds)
        if self._realised is not None:
            # Else updates that all have in common by now would be remembered for its sake.
            self._realised.keep([])

    def take_notices(self) -> list[str]:
        """What there is to tell since the last call, a line each."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _see(self) -> tuple[list[int], Bounds | None] | None:
        """Copy what was sent: its versions and, if known, its bounds; None before all have sent."""
        versions = self._copy_what_was_sent()
        if versions is None:
            return None
        if self._realised is not None:
            self._realised.keep(versions)
        # Whatever has been sent is in the journal by now.
        self._take_in()
        return versions, self._bounds(versions)

    def _copy_what_was_sent(self) -> list[int] | None:
        versions = []
        for learner, row in enumerate(self._sent[: self._measured]):
            message = self._read(learner)
            if message is None:
                return None
            row.copy_(message.parameters[: len(row)])
            if not message.is_whole():
                return None
            versions.append(message.version)
        return versions

    def _take_in(self) -> None:
        if self._journal is None:
            return
        try:
            for entry in self._journal.new_entries():
                self._take(entry)
        except (OverrunError, UntrackedError) as error:
            if self._realised is not None:
                self._notices.append(f"bounds of the consensus distance end here: {error}")
            self._realised = None

    def _take(self, entry: Entry) -> None:
        self._traffic.count(entry)
        if self._realised is None or self._followed == 1:
            return
        if entry.kind == Kind.UPDATE:
            self._realised.update(entry.learner, entry.version, entry.norm)
        elif entry.kind == Kind.MIX:
            self._realised.mix(entry.learner, entry.messages)
        else:
            self._realised.adopt(entry.learner, next(iter(entry.messages), None))

    def _bounds(self, versions: list[int]) -> Bounds | None:
        if self._realised is None:
            return None
        try:
            return self._realised.bounds(versions)
        except UntrackedError:
            return None

    def _distances(self, measured: Consensus, bounds: Bounds | None) -> dict[str, float | None]:
        """The measured distances and what they are held against, None where it is not known."""
        row: dict[str, float | None] = {
            "consensus_rms": measured.rms,
            "consensus_span": measured.span,
            "consensus_rms_bound": None,
            "consensus_span_bound": None,
            "consensus_rms_nominal_bound": None,
            "consensus_rms_independent": None,
        }
        if bounds is not None:
            row["consensus_rms_bound"] = bounds.rms
            row["consensus_span_bound"] = bounds.span
            row["consensus_rms_independent"] = bounds.rms_independent
            if self._radius is not None:
                # What is sent is the mixed parameters and one more update.
                row["consensus_rms_nominal_bound"] = (1.0 + self._radius) * bounds.largest_update
        return row

    def _keep_defect(self, versions: list[int], measured: Consensus, bounds: Bounds) -> None:
        """Keep everything that the bound was computed from, and the vectors that exceed it."""
        if self._realised is None or self._defects_kept == _MOST_DEFECTS:
            return
        self._defects_kept += 1
        name = self._defects / f"consensus_{max(versions):010d}"
        state = {key: torch.from_numpy(value) for key, value in self._realised.state().items()}
        state["sent"] = self._sent[: self._measured]
        told = {"versions": versions, "measured": measured._asdict(), "bounds": bounds._asdict()}
        try:
            self._defects.mkdir(exist_ok=True)
            save_file(state, name.with_suffix(".safetensors"))
            name.with_suffix(".json").write_text(json.dumps(told, indent=2), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise StorageError(f"defect {name} cannot be written ({error})") from error
        self._notices.append(
            f"DEFECT: learners are {measured.span:.4g} apart, more than the {bounds.span:.4g} that "
            f"their updates and mixes allow: please report it with {name}.*"
        )


def is_exceeded(measured: Consensus, bounds: Bounds) -> bool:
    """Whether distances are beyond their bounds by more than rounding explains."""
    rounding = _ROUNDING * measured.mean_norm
    return (
        measured.span > _SLACK * bounds.span + rounding
        or measured.rms > _SLACK * bounds.rms + rounding
    )


def make_consensus_monitor(
    config: ResolvedConfig,
    folder: RunFolder,
    size: int,
    journal: JournalReader | None,
    read: Callable[[int], Message | None],
    gradients: Sequence[Tensor],
) -> ConsensusMonitor:
    """The watch of a run; see `ConsensusMonitor` for what it is given."""

    def radius(learners: int) -> float | None:
        graph = graph_of(config, learners)
        is_quick = graph.name in NAMES or learners <= _OWN_GRAPH_LEARNERS
        return ball(graph).epsilon_factor if is_quick and learners > 1 else None

    return ConsensusMonitor(
        config.learners,
        size,
        journal=journal,
        read=read,
        gradients=gradients,
        radius=radius,
        path=folder.consensus_file,
        defects=folder.defects,
    )
