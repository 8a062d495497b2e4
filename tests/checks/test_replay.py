"""Replays that are saved need room on the disk for two of each."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gala_rl.checks import check_rows
from gala_rl.checks.machine import replay_bytes
from gala_rl.checks.replay import disk_rows, saved_bytes
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.resolving import resolve

CONFIG = TrainConfig(method="gala-dqn", env="CartPole-v1", learners=3)
SAVING = resolve(CONFIG, {"save_replay": True})
SIZE = saved_bytes(SAVING)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The disk, with that many bytes free."""
    usage = SimpleNamespace(free=0, asked=[])

    def disk_usage(path: Path) -> SimpleNamespace:
        usage.asked.append(path)
        return usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return usage


def test_every_learner_saves_its_replay_if_asked_to() -> None:
    assert SIZE == 3 * replay_bytes(SAVING) > 0
    assert saved_bytes(resolve(CONFIG)) == 0


def test_two_copies_have_to_fit_of_which_one_may_be_there(
    free: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "run"
    free.free = 2 * SIZE
    check_rows(disk_rows(SAVING, folder))
    free.free = SIZE
    check_rows(disk_rows(SAVING, folder, already=SIZE))
    with pytest.raises(UserError, match=r"save_replay needs .* GiB of disk, twice .* use a small"):
        check_rows(disk_rows(SAVING, folder, already=SIZE - 1))
    assert free.asked == [tmp_path] * 3


def test_the_disk_is_of_no_interest_without_saved_replays(
    free: SimpleNamespace, tmp_path: Path
) -> None:
    check_rows(disk_rows(resolve(CONFIG), tmp_path))


def test_an_atari_replay_has_the_size_that_the_docs_give() -> None:
    for method, gigabytes in (("dqn", 3.54), ("r2d2", 3.59)):
        config = resolve(TrainConfig(method=method, env="PongNoFrameskip-v4"))
        assert replay_bytes(config) / 1e9 == pytest.approx(gigabytes, abs=0.01)
        assert replay_bytes(config) / 500_000 <= 1.05 * 7_056
