"""A run that is scaled by a script, and what must hold of it then."""

import itertools
import json
import signal
from dataclasses import replace
from typing import Any

from gala_rl.gossip.journal import Entry, Kind
from gala_rl.methods.resolving import resolve
from gala_rl.records import scale_request
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.status import RunOutcome, RunStatus
from tests.support.run_processes import (
    CONFIG,
    send_to,
)

TWO = resolve(replace(CONFIG, env="CartPole-v1", learners=2, max_learners=4, max_restarts=5))
ROUNDING = 1e-4
Step = tuple[str, int]
"""("scale", number of learners), ("kill", rank) or ("stop", rank): SIGSTOP, for ever."""


class Script:
    """An observer: each step follows once all members live and have made some more updates."""

    def __init__(self, folder: RunFolder, *steps: Step, updates: int = 40) -> None:
        self.folder, self.steps, self.updates = folder, list(steps), updates
        self.seen: list[RunStatus] = []
        self.notices: list[str] = []
        self.refusals: list[Exception | None] = []
        self.system: LocalRun
        self._before: list[int] = []

    def run(self, system: LocalRun) -> RunOutcome:
        self.system = system
        return system.run(self)

    def __call__(self, status: RunStatus) -> None:
        self.seen.append(status)
        self.notices += status.notices
        self.refusals.append(scale_request.why_refused(self.folder))
        if self.folder.scale_request.exists() or not self._all_have_moved(status):
            return
        self._before = status.updates
        if not self.steps:
            self.system.stop()
            return
        what, number = self.steps.pop(0)
        if what == "scale":
            scale_request.place(self.folder, number)
        else:
            send_to(self.system, number, signal.SIGKILL if what == "kill" else signal.SIGSTOP)

    def _all_have_moved(self, status: RunStatus) -> bool:
        before = self._before + [0] * len(status.updates)
        alone, row = len(status.alive) == 1, status.consensus
        if not alone and (row is None or len(row["versions"]) != len(status.alive)):
            return False  # The monitor has not measured them yet.
        return all(
            alive and status.updates[rank] > before[rank] + self.updates
            for rank, alive in enumerate(status.alive)
        )


def check_consensus(folder: RunFolder, learners: set[int]) -> None:
    """The monitor has measured groups of just these sizes, each within its bounds."""
    text = folder.consensus_file.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert {len(row["versions"]) for row in rows} == learners
    for row in rows:
        assert 0 < row["consensus_rms"] <= row["consensus_rms_bound"] + ROUNDING
        assert row["consensus_span"] <= row["consensus_span_bound"] + ROUNDING
        assert row["consensus_rms_nominal_bound"] > 0
        ranks = {rank for edge in row["edges"] for rank in (edge["sender"], edge["receiver"])}
        assert all(edge["skipped_updates"] >= 0 for edge in row["edges"])
        assert ranks <= set(range(4))
    assert not folder.defects.exists()


def check_counters_never_decrease(seen: list[RunStatus]) -> None:
    for before, after in itertools.pairwise(seen):
        assert before.total_agent_steps <= after.total_agent_steps
        for then, now in ((before.updates, after.updates), (before.restarts, after.restarts)):
            # A former member keeps its counters.
            assert len(then) <= len(now)
            assert all(a <= b for a, b in zip(then, now, strict=False))


def check_joining_learners_adopted_messages(entries: list[Entry], ranks: set[int]) -> None:
    """Each started from the latest message of a live learner, as the journal shows."""
    sent: dict[int, int] = {}
    adopted: set[int] = set()
    for entry in entries:
        if entry.kind == Kind.UPDATE:
            assert entry.learner in {0, 1} | adopted
            sent[entry.learner] = entry.version
        elif entry.kind == Kind.ADOPT:
            ((sender, version),) = entry.messages
            assert sent[sender] - 3 <= version <= sent[sender]
            assert entry.learner not in ranks or sender != entry.learner
            adopted.add(entry.learner)
    assert ranks <= adopted
