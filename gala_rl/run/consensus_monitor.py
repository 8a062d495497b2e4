"""Measures distances between learners during training, and their theoretical bounds."""

import json
import time
from collections.abc import Callable, Sequence
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
from gala_rl.theory.noise import noise_share, normalizer_gain
from gala_rl.theory.realised import Bounds, Realised, UntrackedError

_SAMPLE_EVERY_S = 1.0
_CPU_SHARE = 0.004
"""Largest share of a core's time for measuring: the longer a sample takes, the longer the pause
after it."""
_ROUNDING = 1e-5
"""Largest rounding error of sums in float32, as a share of the parameters' norm."""
_SLACK = 1.0001
_MOST_DEFECTS = 3
_CUSTOM_GRAPH_LEARNERS = 16
"""Computing the nominal bound of a larger graph that is not a named topology takes seconds."""


class ConsensusMonitor:
    """Measures distances, computes bounds on them from the journal, and writes rows with both.

    Args:
        config: resolved config of the run.
        folder: folder of the run; gets rows, and a report of distances that exceed bounds.
        size: number of learned parameters, which come first in a message. Running moments, which
            have other units, and the optimiser's state may follow them.
        read: returns the latest message of a learner without a copy; None before its first.
        gradients: [P] latest published gradient, per learner up to the capacity.
        journal: updates and mixes of all learners; None if their order is not known: rows then
            have neither bounds nor traffic.
        checkpoint: checkpoint to continue from, if there is a journal; None for a new run.

    Attributes:
        latest: the newest row; None before the first, and while the run has one learner.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        size: int,
        *,
        read: Callable[[int], Message | None],
        gradients: Sequence[Tensor],
        journal: JournalReader | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.latest: dict[str, Any] | None = None
        self._config = config
        self._journal = journal
        self._read = read
        self._gradients = gradients
        self._path, self._defects = folder.consensus_file, folder.defects
        self._writer: MetricsWriter | None = None
        self._defects_kept = 0
        # While the number of learners changes, only those that stay are measured, but messages of
        # those that leave or join may be mixed too.
        learners = self._measured = self._mixing = config.learners
        self._radius = self._radius_of(learners)
        self._realised = None if journal is None else Realised(len(gradients), members=learners)
        self._traffic = Traffic(len(gradients))
        # Pages of rows that are never written, of learners that never join, take no memory.
        self._sent = torch.empty(len(gradients), size)
        self._next_sample = time.monotonic() + _SAMPLE_EVERY_S
        self._notices: list[str] = []
        if checkpoint is not None:
            self._restore(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Start the bounds from a checkpoint, whose messages may not have been mixed yet."""
        assert self._realised is not None
        saved = checkpoint.learners()
        size = self._sent.shape[1]
        states = [checkpoint.load(i if i in saved else saved[0]) for i in range(self._measured)]
        centre = torch.stack([s.tensors["parameters"][:size] for s in states]).mean(dim=0)

        def distance(vector: Tensor) -> float:
            return float(torch.linalg.vector_norm(vector[:size] - centre))

        for learner, state in enumerate(states):
            self._realised.set_distance(learner, distance(state.tensors["parameters"]))
            if learner in saved and "sent" in state.tensors:
                version = int(state.counters["sent_version"])
                self._realised.set_sent_distance(learner, version, distance(state.tensors["sent"]))

    def begin_scaling(self, learners: int) -> None:
        """Prepare for a new number of learners; until `end_scaling`, measure those that stay."""
        self._read_journal()
        if self._mixing == 1 and self._journal is not None:
            # With a single learner, its updates so far have created no distance.
            self._realised = Realised(len(self._sent), members=1)
        self._measured, self._mixing = sorted((self._measured, learners))

    def end_scaling(self, learners: int) -> None:
        """Measure the new number of learners; messages of former members are no longer mixed."""
        self._read_journal()
        for left in range(learners, self._mixing):
            self._traffic.forget(left)
            if self._realised is not None:
                self._realised.leave(left)
        self._measured = self._mixing = learners
        self._radius = self._radius_of(learners)
        if learners == 1:
            self.latest = None

    def poll(self, total_agent_steps: int) -> None:
        """Read the journal, and sample if due; to be called a few times per second.

        Raises:
            StorageError: when a row cannot be written.
        """
        if time.monotonic() < self._next_sample:
            self._read_journal()
            return
        start_s = time.process_time()
        self.sample(total_agent_steps)
        duration_s = time.process_time() - start_s
        self._next_sample = time.monotonic() + max(_SAMPLE_EVERY_S, duration_s / _CPU_SHARE)

    def sample(self, total_agent_steps: int) -> None:
        """Measure and write a row, unless messages are missing or unchanged since the last row.

        Raises:
            StorageError: when it cannot be written.
        """
        sampled = self._copy_messages() if self._measured > 1 else None
        if sampled is None or (self.latest and sampled[0] == self.latest["versions"]):
            return
        versions, bounds = sampled
        measured = consensus(self._sent[: self._measured])
        self.latest = {
            "time": round(time.time(), 3),
            "total_agent_steps": total_agent_steps,
            "versions": versions,
            **self._distances(measured, bounds),
            **self._similarity(),
            **(UNKNOWN if self._journal is None else self._traffic.take_row()),
        }
        self._writer = self._writer or MetricsWriter(self._path)
        self._writer.write(self.latest)
        if bounds is not None and is_exceeded(measured, bounds):
            self._report_defect(versions, measured, bounds)
        if self._realised is not None:
            # Otherwise it would remember updates that all learners share by now.
            self._realised.retain_versions([])

    def take_notices(self) -> list[str]:
        """Return notices since the last call, one line each."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """Close the file of rows."""
        if self._writer is not None:
            self._writer.close()

    def _radius_of(self, learners: int) -> float | None:
        """Return the worst-case radius, in units of the update size, if all mix in every round.

        None for one learner, and if computing it would take too long.
        """
        graph = graph_of(self._config, learners)
        is_quick = graph.name in NAMES or learners <= _CUSTOM_GRAPH_LEARNERS
        return ball(graph).epsilon_factor if is_quick and learners > 1 else None

    def _copy_messages(self) -> tuple[list[int], Bounds | None] | None:
        """Copy the latest messages; return their versions and bounds, None if one is missing."""
        versions: list[int] = []
        for learner, row in enumerate(self._sent[: self._measured]):
            message = self._read(learner)
            if message is None:
                return None
            row.copy_(message.parameters[: len(row)])
            if not message.is_whole():
                return None
            versions.append(message.version)
        if self._realised is not None:
            self._realised.retain_versions(versions)
        # Learners write to the journal before they send, so it covers these messages by now.
        self._read_journal()
        return versions, self._bounds(versions)

    def _read_journal(self) -> None:
        if self._journal is None:
            return
        try:
            for entry in self._journal.new_entries():
                self._on_entry(entry)
        except (OverrunError, UntrackedError) as error:
            if self._realised is not None:
                self._notices.append(f"bounds of the consensus distance end here: {error}")
            self._realised = None

    def _on_entry(self, entry: Entry) -> None:
        self._traffic.count(entry)
        if self._realised is None or self._mixing == 1:
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

    def _distances(self, measured: Consensus, bounds: Bounds | None) -> dict[str, Any]:
        """Return a row's distances and bounds; None for a bound that is not known."""
        row: dict[str, Any] = {
            "consensus_rms": measured.rms,
            "consensus_span": measured.span,
            "consensus_rms_bound": None,
            "consensus_span_bound": None,
            "consensus_rms_nominal_bound": None,
            "consensus_rms_independent": None,
            "distances": _short(measured.distances),
            "distance_bounds": None,
        }
        if bounds is not None:
            row["distance_bounds"] = _short(bounds.distances)
            row["consensus_rms_bound"] = bounds.rms
            row["consensus_span_bound"] = bounds.span
            row["consensus_rms_independent"] = bounds.rms_independent
            if self._radius is not None:
                # The radius is for parameters after a mix; a message has one more update in it.
                row["consensus_rms_nominal_bound"] = (1.0 + self._radius) * bounds.largest_update
        return row

    def _similarity(self) -> dict[str, float | None]:
        """Return how similar the latest gradients are; None before all learners have one."""
        gradients = torch.stack([gradient.cpu() for gradient in self._gradients[: self._measured]])
        cosine = mean_pairwise_cosine(gradients)
        share = None if cosine is None else noise_share(gradients)
        gain = None if share is None else normalizer_gain(share, self._measured)
        return {"gradient_cosine": cosine, "noise_share": share, "normalizer_gain": gain}

    def _report_defect(self, versions: list[int], measured: Consensus, bounds: Bounds) -> None:
        """Save the vectors whose distance exceeds its bound, and the state behind the bound."""
        if self._realised is None or self._defects_kept == _MOST_DEFECTS:
            return
        self._defects_kept += 1
        name = self._defects / f"consensus_{max(versions):010d}"
        state = {key: torch.from_numpy(value) for key, value in self._realised.state().items()}
        state["sent"] = self._sent[: self._measured]
        report = {"versions": versions, "measured": measured._asdict(), "bounds": bounds._asdict()}
        try:
            self._defects.mkdir(exist_ok=True)
            save_file(state, name.with_suffix(".safetensors"))
            name.with_suffix(".json").write_text(json.dumps(report, indent=2), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise StorageError(f"defect {name} cannot be written ({error})") from error
        self._notices.append(
            f"DEFECT: learners are {measured.span:.4g} apart, more than the {bounds.span:.4g} that "
            f"their updates and mixes allow: please report it with {name}.*"
        )


def _short(values: list[float]) -> list[float]:
    """Return values with four digits, since a row has one for each of many learners."""
    return [float(f"{value:.4g}") for value in values]


def is_exceeded(measured: Consensus, bounds: Bounds) -> bool:
    """Return whether distances exceed their bounds by more than rounding explains."""
    rounding = _ROUNDING * measured.mean_norm
    return (
        measured.span > _SLACK * bounds.span + rounding
        or measured.rms > _SLACK * bounds.rms + rounding
    )
