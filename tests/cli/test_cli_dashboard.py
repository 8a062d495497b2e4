"""`gala dashboard` and `gala train --dashboard`: mistakes, and the page beside a run."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from gala_lab.main import main
from gala_rl.cli import dashboard
from tests.support.dashboard_runs import make_run

ROOT = Path(__file__).parents[2]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line on standard error of a command that is refused."""
    assert main(["dashboard", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def is_served(address: str) -> bool:
    """Whether the page can be opened."""
    try:
        with urllib.request.urlopen(address, timeout=60) as page:
            return b"gala dashboard" in page.read()
    except OSError:
        return False


def test_folders_without_runs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no folder runs" in complaint(capsys)
    assert "there is no run in" in complaint(capsys, str(tmp_path))
    (tmp_path / "file").touch()
    assert "there is no folder file" in complaint(capsys, "file")


def test_ports_in_use_and_too_large_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", learners=1, duration_s=0).path
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "choose another --port" in complaint(capsys, str(run), "--port", port)
    assert "choose one up to 65535" in complaint(capsys, str(run), "--port", "65536")


def test_a_missing_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gala_rl.dashboard.serve", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    run = make_run(tmp_path / "run", learners=1, duration_s=0).path
    assert "pip install 'gala-rl[dashboard]'" in complaint(capsys, str(run))


def test_the_page_is_served_beside_a_run_and_ends_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "gala_lab.main", "train", "gala-a2c", "--env", "CartPole-v1"]
    size = ["--learners", "2", "--simulators", "2", "--steps", "20k", "--out", str(run)]
    process = subprocess.Popen(
        [*command, *size, "--dashboard"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"dashboard at (http://127\.0\.0\.1:\d+/) while the run trains", line)
    assert found, line
    assert is_served(found[1])
    process.communicate()
    assert process.returncode == 0
    assert not is_served(found[1])


def test_a_killed_run_takes_its_page_along(tmp_path: Path) -> None:
    program = (
        "import pathlib, time; from gala_rl.dashboard.beside import dashboard_beside\n"
        "with dashboard_beside(pathlib.Path('run'), 0) as address:\n"
        "    print(address, flush=True); time.sleep(600)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(
        "if __name__ == '__main__':\n" + "".join(f"    {row}\n" for row in program.splitlines()),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert is_served(address)
    process.kill()
    process.communicate()
    give_up = time.monotonic() + 60
    while is_served(address):
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_a_run_without_a_folder_gets_one_before_it_starts() -> None:
    from gala_rl.config.train import TrainConfig

    config = dashboard.with_folder(TrainConfig(method="a2c", env="CartPole-v1"))
    assert re.fullmatch(r"runs/a2c-CartPole-v1-\d{8}-\d{6}", str(config.out))
    assert dashboard.with_folder(config) == config
