"""Mistakes are found before any work starts, and what is left open is filled in."""

import ctypes
import dataclasses
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from gala_rl.app import preflight
from gala_rl.checks import machine
from gala_rl.checks.config import check_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder

CONFIG = resolve(TrainConfig(env="tests.environments:Counting-v0", learners=2, steps=1000))


def make_run(folder: Path, *checkpoints: int, config: ResolvedConfig = CONFIG) -> Path:
    RunFolder(folder).create(config)
    for agent_steps in checkpoints:
        (RunFolder(folder).checkpoints / f"step_{agent_steps:012d}").mkdir()
    return folder


def values(config: TrainConfig, *names: str) -> dict[str, Any]:
    """Values of settings, by their names on the command line."""
    return {name: attrgetter(name)(config) for name in names}


def test_a_config_that_can_start_is_filled_in() -> None:
    checked = preflight.check_start(TrainConfig(method="a2c", env=CONFIG.env))
    assert checked.learners == 1


def test_nothing_is_written_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preflight.check_start(dataclasses.replace(CONFIG, out="new"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps 0"),
        ({"steps": 1.5}, "steps 1.5"),
        ({"algorithm": A2CSettings(discount=2.0)}, "algorithm.discount 2.0"),
        ({"method": "sarsa"}, "method 'sarsa'"),
        ({"method": "a2c"}, "learners 2 is too many"),
        ({"env": "Countng-v0"}, "env 'Countng-v0'"),
        ({"env": "tests.environments:Letters-v0"}, "Sequence observations in part 'said.0'"),
        ({"lstm_size": -1}, "lstm_size -1 is too small: it must be at least 0"),
        ({"lstm_size": 2.5}, "lstm_size 2.5 has the wrong type"),
        ({"gossip": GossipSettings(topology="star")}, "topology 'star'"),
        ({"device": "cuda"}, "device 'cuda' is not there"),
        ({"simulator_groups": 2}, "simulator_groups 2 is of no use"),
        (
            {"env": "PongNoFrameskip-v4", "simulator_groups": 99},
            "simulator_groups 99 is too many for",
        ),
        ({"simulator_processes": 0}, "simulator_processes 0 is too small"),
        ({"simulator_deadline": 0.0}, "simulator_deadline 0.0 is too small"),
        (
            {"simulators": 3, "simulator_processes": 4},
            "simulator_processes 4 is too many for 3 simulators: use at most as many",
        ),
        (
            {"env": "PongNoFrameskip-v4", "simulator_processes": 2},
            "simulator_processes 2 is of no use for env 'PongNoFrameskip-v4'",
        ),
        (
            {
                "method": "impala",
                "learners": 1,
                "simulators": 6,
                "algorithm": ImpalaSettings(actors=2),
                "simulator_processes": 3,
            },
            "simulator_processes 3 cannot be shared out among 2 actors: use a multiple of 2",
        ),
        (
            {"simulator_processes": 2, "simulator_deadline": 20.0, "hang_after": 60.0},
            "simulator_deadline 20 is too long beside hang_after 60, by which the learner",
        ),
        (
            {"hang_after": 2.0},
            "deadline 2 is too long beside hang_after 2, by which a learner that waits is itself",
        ),
        ({"precision": "float16"}, "precision 'float16'"),
        (
            {
                "env": "PongNoFrameskip-v4",
                "algorithm": A2CSettings(normalize_observations=True),
            },
            "normalize_observations is for vectors, and env 'PongNoFrameskip-v4' shows images",
        ),
        (
            {
                "env": "tests.environments:Parts-v0",
                "algorithm": A2CSettings(normalize_observations=True),
            },
            "normalize_observations is for vectors, and env 'tests.environments:Parts-v0' shows",
        ),
    ],
)
def test_what_cannot_start_is_refused(
    changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cuda_devices", lambda: 0)
    with pytest.raises(UserError) as refusal:
        preflight.check_start(dataclasses.replace(CONFIG, **changes))
    assert words in str(refusal.value)


def test_cuda_is_accepted_where_the_driver_sees_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cuda_devices", lambda: 1)
    config = dataclasses.replace(CONFIG, device="cuda")
    assert preflight.check_start(config) == config


class FakeDriver:
    """An NVIDIA driver with scripted answers."""

    def __init__(self, status: int, devices: int) -> None:
        self._status = status
        self._devices = devices

    def cuInit(self, flags: int) -> int:
        return self._status

    def cuDeviceGetCount(self, count: Any) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self._devices
        return self._status


@pytest.mark.parametrize(("status", "devices", "seen"), [(0, 2, 2), (0, 0, 0), (100, 2, 0)])
def test_gpus_are_counted_by_asking_the_driver(
    monkeypatch: pytest.MonkeyPatch, status: int, devices: int, seen: int
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver(status, devices))
    assert machine.cuda_devices() == seen


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert machine.cuda_devices() == 0


def test_a_run_that_is_not_complete_can_be_continued(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 400, 999)
    assert preflight.check_resume(run) == CONFIG


def test_a_complete_run_can_be_continued_to_more_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1000)
    with pytest.raises(UserError, match=r"complete: it has made 1,000 of 1,000"):
        preflight.check_resume(run)
    assert preflight.check_resume(run, {"steps": 1001}) == dataclasses.replace(CONFIG, steps=1001)


def test_a_run_without_a_checkpoint_cannot_be_continued(tmp_path: Path) -> None:
    remedy = f"gala train {CONFIG.method} --resume --out {tmp_path / 'run'}"
    with pytest.raises(UserError, match=f"no checkpoint yet: start it anew: {remedy}"):
        preflight.check_resume(make_run(tmp_path / "run"))


def test_a_run_that_this_machine_cannot_run_cannot_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cuda_devices", lambda: 0)
    run = make_run(tmp_path / "run", 400, config=dataclasses.replace(CONFIG, device="cuda"))
    with pytest.raises(UserError, match="device 'cuda'"):
        preflight.check_resume(run)


def test_only_steps_and_out_may_change_in_a_run_that_is_continued(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 400)
    new = dataclasses.replace(CONFIG, steps=9, out="x", seed=7, algorithm=A2CSettings(discount=0.5))
    preflight.check_unchanged(
        run, new, values(new, "steps", "out", "env", "algorithm.entropy_cost")
    )
    for name in ("seed", "algorithm.discount"):
        with pytest.raises(UserError, match=f"{name} .* is not what run"):
            preflight.check_unchanged(run, new, values(new, "steps", name))


def test_a_hierarchy_of_machines_may_be_shared_out_when_they_are_known() -> None:
    gossip = dataclasses.replace(CONFIG.gossip, topology="hierarchical")
    config = dataclasses.replace(CONFIG, learners=4, gossip=gossip)
    with pytest.raises(UserError, match="give --learners-per-node"):
        check_config(config)
    assert check_config(dataclasses.replace(config, cluster="auto")).learners == 4


def test_the_nodes_of_a_run_that_is_continued_may_not_change(tmp_path: Path) -> None:
    gossip = dataclasses.replace(CONFIG.gossip, topology="hierarchical")
    old = dataclasses.replace(CONFIG, learners=2, learners_per_node=1, gossip=gossip)
    run = make_run(tmp_path / "run", 400, config=old)
    preflight.check_unchanged(
        run, old, values(old, "gossip.topology", "gossip.when", "learners_per_node")
    )
    # The same mixing rule by its other name.
    same = dataclasses.replace(old, gossip=dataclasses.replace(gossip, when="any"))
    preflight.check_unchanged(run, same, values(same, "gossip.when"))
    other = dataclasses.replace(old, gossip=dataclasses.replace(gossip, when="all"))
    with pytest.raises(UserError, match=r"gossip.when .* is not what run"):
        preflight.check_unchanged(run, other, values(other, "gossip.when"))
    other = dataclasses.replace(old, learners_per_node=2)
    with pytest.raises(UserError, match=r"learners_per_node .* is not what run"):
        preflight.check_unchanged(run, other, values(other, "learners_per_node"))


def test_the_method_of_a_run_that_is_continued_may_not_change(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 400)
    with pytest.raises(UserError, match=r"method a2c .*\(gala-a2c\)"):
        preflight.check_unchanged(run, dataclasses.replace(CONFIG, method="a2c"), {})


@pytest.mark.parametrize("learner", ["0", "1", "all", "mean"])
def test_an_evaluation_that_can_be_made_is_accepted(tmp_path: Path, learner: str) -> None:
    run = make_run(tmp_path / "run", 400)
    preflight.check_evaluation(run, 1, learner, seed=2**31 - 1)
    with pytest.raises(UserError, match=r"seed 2147483648"):
        preflight.check_evaluation(run, 1, learner, seed=2**31)


@pytest.mark.parametrize(
    ("episodes", "learner", "words"),
    [(0, "mean", "episodes 0"), (1, "2", "'2' is unknown"), (1, "", "'' is unknown")],
)
def test_an_evaluation_that_cannot_be_made_is_refused(
    tmp_path: Path, episodes: int, learner: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        preflight.check_evaluation(make_run(tmp_path / "run", 400), episodes, learner)


def test_a_run_that_is_trained_can_be_scaled_to_what_it_has_room_for(tmp_path: Path) -> None:
    folder = RunFolder(make_run(tmp_path / "run", 400))
    with pytest.raises(UserError, match="is not being trained: start it with gala resume"):
        preflight.check_scale(folder.path, 1)
    with folder.lock():
        for learners in (1, 3, 4):
            assert preflight.check_scale(folder.path, learners) == CONFIG
        with pytest.raises(UserError, match="room for 4; a new run has more with --max-learners"):
            preflight.check_scale(folder.path, 5)
        with pytest.raises(UserError, match="learners 2 is what run"):
            preflight.check_scale(folder.path, 2)
        with pytest.raises(UserError, match="learners 0 is too small"):
            preflight.check_scale(folder.path, 0)
        folder.record_scale(2, 1, 100, capacity=4)
        assert preflight.check_scale(folder.path, 4).learners == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "a2c", "learners": 1}, "a2c has one learner; these can be scaled: gala-a2c"),
        ({"method": "a2c-allreduce"}, "a2c-allreduce averages each gradient over all learners"),
        ({"method": "a3c"}, "a3c has learners with one parameter vector"),
        ({"serial": True}, "without --serial"),
        ({"gossip": GossipSettings(topology="edges.json")}, "these can be scaled: directed-ring"),
    ],
)
def test_a_run_whose_learners_cannot_join_or_leave_is_not_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edges.json").write_text("[[0, 1], [1, 0]]")
    config = resolve(dataclasses.replace(CONFIG, **{"algorithm": A2CSettings()} | changes))
    folder = RunFolder(make_run(tmp_path / "run", config=config))
    with folder.lock(), pytest.raises(UserError) as refusal:
        preflight.check_scale(folder.path, 2)
    assert words in str(refusal.value)


def test_a_scaled_run_is_continued_by_the_command_that_started_it(tmp_path: Path) -> None:
    folder = RunFolder(make_run(tmp_path / "run", 400))
    folder.record_scale(2, 4, 100, capacity=4)
    folder.record_scale(4, 3, 200, capacity=4)
    for learners in (2, 3):
        same = dataclasses.replace(CONFIG, learners=learners)
        preflight.check_unchanged(folder.path, same, values(same, "learners"))
    with pytest.raises(UserError, match="learners 4 is not what run"):
        preflight.check_unchanged(
            folder.path,
            dataclasses.replace(CONFIG, learners=4),
            values(dataclasses.replace(CONFIG, learners=4), "learners"),
        )
    assert preflight.check_resume(folder.path).learners == 3
