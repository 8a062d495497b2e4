"""The consensus monitor: rows of real runs keep their bounds; what exceeds them is saved."""

import json
import math
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gala_rl.agent import initial_parameters_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.errors import StorageError
from gala_rl.gossip import MemoryNetwork, Message
from gala_rl.gossip.journal import Journal, JournalWriter
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import ConsensusMonitor
from gala_rl.run.serial import run_serial
from gala_rl.run.status import RunStatus
from gala_rl.theory.consensus import consensus
from tests.support.run_processes import CONFIG, make_local_run, send_to
from tests.support.run_records import newest

ROUNDING = 1e-4
UNSCALED = resolve(
    replace(
        CONFIG,
        env="tests.environments:Unscaled-v0",
        algorithm=A2CSettings(normalize_observations=True, normalize_rewards=True),
    )
)
SIZE = 6


def rows_of(folder: RunFolder) -> list[dict[str, Any]]:
    text = folder.consensus_file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def check(rows: Sequence[dict[str, Any]], learners: int) -> None:
    """Every row is complete and within its bounds."""
    assert rows
    for row in rows:
        assert 0 < row["consensus_rms"] <= row["consensus_span"]
        assert row["consensus_rms"] <= row["consensus_rms_bound"] + ROUNDING
        assert row["consensus_span"] <= row["consensus_span_bound"] + ROUNDING
        assert 0 < row["consensus_rms_independent"] < row["consensus_rms_bound"]
        assert row["consensus_rms_nominal_bound"] > 0
        assert len(row["versions"]) == learners
        distances, bounds = row["distances"], row["distance_bounds"]
        assert len(distances) == len(bounds) == learners
        assert all(d <= 1.001 * b + ROUNDING for d, b in zip(distances, bounds, strict=True))
        squares = [distance**2 for distance in distances]
        assert math.sqrt(sum(squares) / learners) == pytest.approx(row["consensus_rms"], rel=1e-3)
    busy = [row for row in rows if row["updates"]]
    assert all(0 < row["update_norm_mean"] <= row["update_norm_max"] for row in busy)
    assert all(0 <= row["mixed_share"] <= 1 for row in busy)
    assert any(row["mixed_share"] > 0 for row in busy)


class StopAt:
    """An observer: stops the system once every learner has made so many updates."""

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self.system: Any = None
        self.notices: list[str] = []
        self.seen: list[RunStatus] = []

    def __call__(self, status: RunStatus) -> None:
        self.notices += status.notices
        self.seen.append(status)
        if min(status.updates) >= self.updates:
            self.system.stop()


@pytest.mark.parametrize("gossip", [GossipSettings(), GossipSettings(mix_optimizer=True)])
def test_learners_in_processes_stay_within_the_bounds(
    tmp_path: Path, gossip: GossipSettings
) -> None:
    folder = RunFolder(tmp_path / "run")
    config = replace(CONFIG, gossip=gossip)
    observer = StopAt(updates=80)
    observer.system = make_local_run(config, folder)
    observer.system.run(observer)
    rows = rows_of(folder)
    check(rows, 3)
    assert observer.seen[-1].consensus == rows[-1]
    assert not folder.defects.exists()
    similar = [row for row in rows if row["gradient_cosine"] is not None]
    assert similar
    assert all(1.0 <= row["normalizer_gain"] < 1.7321 for row in similar)
    edges = {(e["sender"], e["receiver"]) for row in rows for e in row["edges"]}
    assert edges == {(2, 0), (0, 1), (1, 2)}
    assert all(e["age_s"] > 0 and e["skipped_updates"] >= 0 for r in rows for e in r["edges"])


def test_so_they_do_when_one_is_killed_and_restarted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(replace(CONFIG, max_restarts=3), folder)
    killed: list[int] = []

    def observe(status: RunStatus) -> None:
        if len(killed) < 2 and min(status.updates) > 30 * (1 + len(killed)) and all(status.alive):
            killed.append(send_to(system, 1, signal.SIGKILL))
        if len(killed) == 2 and min(status.updates) > 120:
            system.stop()

    outcome = system.run(observe)
    assert outcome.status.restarts[1] == 2
    check(rows_of(folder), 3)
    assert not folder.defects.exists()


def test_so_they_do_when_the_run_is_resumed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for updates in (40, 90):
        observer = StopAt(updates)
        start = checkpoint.newest(folder.checkpoints)
        observer.system = make_local_run(CONFIG, folder, start)
        observer.system.run(observer)
    check(rows_of(folder), 3)
    assert not folder.defects.exists()
    assert not [notice for notice in observer.notices if "bounds" in notice]


def moments_are_far_apart(folder: RunFolder) -> bool:
    """Return whether a monitor that measured moments too would have reported a defect."""
    saved = newest(folder)
    whole = torch.stack([saved.load(rank).tensors["parameters"] for rank in range(3)])
    largest_bound: float = max(row["consensus_span_bound"] for row in rows_of(folder))
    return consensus(whole).span > 10 * largest_bound


def test_so_they_do_with_moments_in_units_of_a_hundred_thousand(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    observer = StopAt(updates=100)
    observer.system = make_local_run(UNSCALED, folder)
    observer.system.run(observer)
    check(rows_of(folder), 3)
    assert moments_are_far_apart(folder)


@pytest.mark.parametrize("config", [CONFIG, UNSCALED])
def test_so_they_do_when_they_take_turns_and_the_run_is_resumed(
    tmp_path: Path, config: ResolvedConfig
) -> None:
    folder = RunFolder(tmp_path / "run")
    config = replace(config, serial=True)
    folder.create(config)
    for steps in (1000, 2000):
        start = checkpoint.newest(folder.checkpoints)
        cpu = torch.device("cpu")
        budget = replace(config, steps=steps)
        run_serial(budget, folder, cpu, initial_parameters_of(config), start, lambda status: None)
    rows = rows_of(folder)
    assert len(rows) >= 2
    check(rows, 3)
    assert moments_are_far_apart(folder) == (config.env == UNSCALED.env)


def test_one_learner_alone_is_not_measured(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    observer = StopAt(updates=5)
    observer.system = make_local_run(replace(CONFIG, learners=1), folder)
    observer.system.run(observer)
    assert not folder.consensus_file.exists()
    assert observer.seen[-1].consensus is None


class Scene:
    """A monitor of two learners whose messages and journals a test writes itself."""

    def __init__(self, path: Path) -> None:
        journal = Journal(learners=2, in_degree=1)
        self.network = MemoryNetwork(2)
        self.writers: list[JournalWriter] = [journal.writer(0), journal.writer(1)]
        folder, config = RunFolder(path / "run"), replace(CONFIG, learners=2)
        folder.create(config)
        self.defects = folder.defects
        self.monitor = ConsensusMonitor(
            config,
            folder,
            SIZE,
            read=self.network.latest,
            gradients=[torch.ones(SIZE), torch.ones(SIZE)],
            journal=journal.reader(),
        )
        self.monitor._radius = 2.0

    def sample(self) -> dict[str, Any] | None:
        self.monitor.sample(0)
        return self.monitor.latest

    def send(self, learner: int, version: int, value: float, norm: float) -> None:
        self.writers[learner].update(version, norm)
        self.network.put(Message(learner, version, torch.full((SIZE,), value)))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.monitor.close()


def test_nothing_is_measured_before_all_have_sent(scene: Scene) -> None:
    scene.send(0, 1, 0.5, 0.5 * SIZE**0.5)
    assert scene.sample() is None
    scene.send(1, 1, -0.5, 0.5 * SIZE**0.5)
    row = scene.sample()
    assert row is not None
    assert row["consensus_span"] == pytest.approx(SIZE**0.5)
    assert row["consensus_span_bound"] == pytest.approx(SIZE**0.5)
    assert row["gradient_cosine"] == pytest.approx(1.0)
    assert row["noise_share"] == pytest.approx(0.0, abs=1e-6)
    assert row["normalizer_gain"] == pytest.approx(1.0, abs=1e-6)
    assert row["consensus_rms_nominal_bound"] == pytest.approx(3.0 * 0.5 * SIZE**0.5)


def test_a_distance_beyond_its_bound_is_reported_with_its_evidence(scene: Scene) -> None:
    scene.send(0, 1, 0.5, 0.1)
    scene.send(1, 1, -0.5, 0.1)
    for version in range(2, 7):
        scene.sample()
        scene.sample()
        scene.send(0, version, 0.5, 0.0)
    (first, *others) = scene.monitor.take_notices()
    assert first.startswith("DEFECT: learners are 2.449 apart, more than the 0.2 ")
    assert len(others) == 2, "reported three times at most"
    assert scene.monitor.take_notices() == []
    report = json.loads((scene.defects / "consensus_0000000001.json").read_text(encoding="utf-8"))
    kept = load_file(scene.defects / "consensus_0000000001.safetensors")
    assert consensus(kept["sent"]).span == pytest.approx(report["measured"]["span"])
    apart = (kept["coefficients"][2] - kept["coefficients"][3]).abs()
    assert float(apart @ kept["norms"]) == pytest.approx(report["bounds"]["span"])


def test_evidence_that_cannot_be_written_is_a_storage_error(
    scene: Scene,
) -> None:
    scene.defects.touch()
    scene.send(0, 1, 0.5, 0.1)
    scene.send(1, 1, -0.5, 0.1)
    with pytest.raises(StorageError, match=r"defect .* cannot be written"):
        scene.sample()


def test_bounds_end_with_a_notice_when_entries_are_lost(scene: Scene) -> None:
    for version in range(1, 40_000):
        scene.writers[0].update(version, 0.1)
    scene.send(0, 40_000, 0.0, 0.1)
    scene.send(1, 1, 0.0, 0.1)
    row = scene.sample()
    (notice,) = scene.monitor.take_notices()
    assert notice.startswith("bounds of the consensus distance end here: learner 0 wrote ")
    assert row is not None
    assert row["consensus_span_bound"] is None
    assert row["consensus_span"] == 0.0
    scene.sample()
    assert scene.monitor.take_notices() == []


def test_a_learner_that_is_faster_than_a_sample_has_its_bounds_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.send(0, 1, 0.5, 0.5 * SIZE**0.5)
    scene.send(1, 1, -0.5, 0.5 * SIZE**0.5)
    sent = scene.network.latest

    def overtaken(learner: int) -> Message | None:
        if learner == 1:
            for version in range(2, 2_000):
                scene.send(0, version, 0.5, 0.0)
        return sent(learner)

    monkeypatch.setattr(scene.monitor, "_read", overtaken)
    row = scene.sample()
    assert row is not None
    assert row["versions"] == [1, 1]
    assert row["consensus_span_bound"] == pytest.approx(SIZE**0.5)
