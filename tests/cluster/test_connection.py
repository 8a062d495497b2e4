"""A cluster that cannot run the learners is rejected in one line before anything starts."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl.checks import shared_memory
from gala_rl.cluster.probe import compare, config_to_probe, probe, probe_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.resolving import resolve
from tests.cluster.machines import ROOT, Machines, node_actors, wait_until

SMALL = resolve(
    TrainConfig(method="gala-a2c", env="CartPole-v1", learners=4, steps=1000, learners_per_node=2)
)
TRAIN = ["train", "gala-a2c", "--env", "CartPole-v1", "--learners", "4", "--simulators", "2"]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*TRAIN, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learners-per-node", "3"], ("learners_per_node 3", "3 CPU", "2 CPU")),
        (["--learners", "6", "--learners-per-node", "2"], ("3 nodes", "2 machines")),
        (["--device", "cuda"], ("1 GPU", "0 GPU")),
    ],
    ids=["cpus", "nodes", "gpus"],
)
def test_a_cluster_that_is_too_small_is_rejected(
    arguments: list[str],
    words: tuple[str, ...],
    machines: Machines,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gala_rl.cluster.connection.PLACEMENT_S", 0.5)
    out = tmp_path / "run"
    line = refusal(capsys, "--cluster", machines.address, *arguments, "--out", str(out))
    assert all(word in line for word in words), line
    assert not out.exists()
    wait_until(lambda: not node_actors())


def test_an_address_that_does_not_answer_is_rejected_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert address in refusal(capsys, "--cluster", address)


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "127.0.0.1:port"])
def test_an_invalid_address_is_rejected(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{address!r} is no address" in refusal(capsys, "--cluster", address)


def test_without_ray_the_line_names_the_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n == "ray" or n.startswith("gala_rl.cluster.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'ray>=2.52'" in refusal(capsys, "--cluster", "auto")


def test_a_machine_without_the_environment_is_named(
    machines: Machines,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "only_here.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Here-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cluster = ["--cluster", machines.address, "--env", "only_here:Here-v0"]
    line = refusal(capsys, *cluster, "--out", str(tmp_path / "run"))
    assert "machine" in line
    assert "only_here" in line
    assert not (tmp_path / "run").exists()


PROBE = {
    "host": "a",
    "python": "3.11",
    "gala-rl": "0.1.0",
    "torch": "2.9.0",
    "gymnasium": "1.1",
    "ale-py": "0.12",
    "parameters": 100,
}


@pytest.mark.parametrize("name", sorted(set(PROBE) - {"host"}))
def test_machines_that_differ_are_rejected(name: str) -> None:
    other: dict[str, Any] = PROBE | {"host": "b", name: "other"}
    compare([PROBE, PROBE])
    with pytest.raises(UserError, match=f"machine b has {name} other, a has {PROBE[name]}"):
        compare([PROBE, PROBE, other])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(SMALL, device="cuda"), "there is no GPU"),
        (SMALL, "MiB of shared memory, and /proc has 0 free"),
    ],
    ids=["gpu", "shared-memory"],
)
def test_only_machines_with_learners_need_what_learners_need(
    config: ResolvedConfig, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(shared_memory, "_MEMORY", Path("/proc"))
    values = config_to_probe(config)
    assert reason in probe(values, has_learners=True)["error"]
    assert "error" not in probe(values, has_learners=False)


TOKEN = "a-token-that-only-the-cluster-knows-0123456789"


@pytest.mark.slow
def test_a_program_without_the_token_is_rejected(tmp_path: Path) -> None:
    with_token = environment(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    head = subprocess.Popen(
        command, env=with_token, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: answers(port))
        address = f"127.0.0.1:{port}"
        gala = [sys.executable, "-m", "gala_lab.main", *TRAIN, "--cluster", address]
        without = environment(tmp_path, RAY_AUTH_MODE="disabled")
        wrong = environment(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN[::-1])
        for env in (without, wrong):
            refused = subprocess.run(
                gala, env=env, cwd=tmp_path, check=False, capture_output=True, text=True
            )
            assert refused.returncode == 2
            (line,) = refused.stderr.splitlines()
            assert "the same token" in line
        assert not (tmp_path / "runs").exists()
        join = f"from gala_rl.cluster import connection; connection._join({address!r})"
        subprocess.run([sys.executable, "-c", join], env=with_token, check=True)
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process' environment with no token from elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "RAY_NUM_REDIS_GET_RETRIES": "2",
        **variables,
    }


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_a_machine_with_too_little_memory_for_a_replay_cannot_run_its_learner() -> None:
    config = resolve(TrainConfig(method="dqn", env="CartPole-v1"), {"replay_size": 10**10})
    error = probe_config(config, has_learners=True)["error"]
    assert error.startswith("replay_size 10,000,000,000 x learners 1 needs")
    assert "error" not in probe_config(config, has_learners=False)
