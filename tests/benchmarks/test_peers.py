"""The comparison with peers: what it refuses, what it survives, what it concludes."""

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from benchmarks.peers import compare, systems
from benchmarks.peers.compare import Pair
from benchmarks.peers.systems import Options, RunFailure, System
from benchmarks.peers.work import (
    ENV,
    PROTOCOL,
    Result,
    Work,
    layers_of,
    read_line,
    write_line,
)
from gala_rl.errors import UserError

WORK = Work(
    env=ENV,
    simulators=32,
    observation=(4, 84, 84),
    frame_skip=4,
    sticky_actions=0.0,
    protocol=PROTOCOL,
    network=("conv 4>32 8/4", "linear 512>6"),
    parameters=866_439,
)
QUICK = Options(simulators=32, seconds=1.0, warm_up_seconds=1.0, rounds=3)

MakeSystem = Callable[[str, str], System]


def result(system: str = "peer", speed: float = 100.0, work: Work = WORK) -> Result:
    return Result(
        system=system,
        version="1",
        work=work,
        settings={"algorithm": "A2C"},
        notes=(),
        agent_steps=int(10 * speed),
        seconds=10.0,
        resident_mib=512.0,
        cpu_utilisation=0.9,
    )


def printing(outcome: Result) -> str:
    """A runner's source that prints a result after some chatter."""
    line = json.dumps(asdict(outcome) | {"agent_steps_per_s": outcome.agent_steps_per_s})
    return f"print('chatter')\nprint({line!r})\n"


@pytest.fixture
def make_system(tmp_path: Path) -> MakeSystem:
    def make(name: str, source: str) -> System:
        script = tmp_path / f"{name}.py"
        script.write_text(source, encoding="utf-8")
        return System(name, (sys.executable, str(script)))

    return make


def run_main(make_system: MakeSystem, peer: str, *arguments: str) -> int:
    known = {
        systems.OURS: make_system(systems.OURS, printing(result(systems.OURS, 300.0))),
        "peer": make_system("peer", peer),
    }
    return compare.main(["--peers", "peer", "--rounds", "3", *arguments], known)


def test_a_result_survives_being_printed_and_read(capsys: pytest.CaptureFixture[str]) -> None:
    write_line(result())
    assert read_line(f"chatter\n{capsys.readouterr().out}") == result()


@pytest.mark.parametrize("text", ["", "garbage", "{}", "[1]", "3", '{"agent_steps_per_s": 1}'])
def test_anything_else_is_no_result(text: str) -> None:
    with pytest.raises(ValueError, match="no result line"):
        read_line(text)


def test_a_result_without_training_is_none() -> None:
    with pytest.raises(ValueError, match="trained on nothing"):
        read_line(printing(replace(result(), agent_steps=0)).split("'")[-2])


def test_layers_are_those_of_the_module_each_once() -> None:
    import torch

    shared = torch.nn.Linear(512, 6)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 32, 8, stride=4), shared, shared)
    assert layers_of(model) == WORK.network


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"env": "ALE/Pong-v5"}, "env is"),
        ({"simulators": 16}, "simulators is 32 here and 16 there"),
        ({"frame_skip": 1}, "frame_skip is"),
        ({"sticky_actions": 0.25}, "sticky_actions is"),
        ({"protocol": ()}, "protocol is"),
        ({"network": ()}, "network is"),
        ({"parameters": 1_684_128}, "parameters is 866439 here and 1684128 there"),
    ],
)
def test_unlike_work_is_refused(change: dict[str, object], words: str) -> None:
    other = replace(WORK, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words):
        compare.check_alike(Pair(result("gala-a2c"), result(work=other)))


def test_equal_work_is_compared_whatever_the_settings() -> None:
    peer = replace(result(speed=50.0), settings={"algorithm": "APPO"})
    pair = Pair(result("gala-a2c"), peer)
    compare.check_alike(pair)
    assert pair.ratio == 2.0


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([2.0, 2.1, 2.2], "gala-a2c is 2.10 times as fast"),
        ([0.5, 0.5, 0.5], "2.00 times as fast as gala-a2c"),
        ([0.95, 1.0, 1.1], "no clear difference"),
        ([1.0, 2.0, 3.0], "too noisy to conclude"),
        # One run that was disturbed does not spoil five: the middle half is still narrow.
        ([2.0, 2.0, 2.1, 2.1, 4.0], "gala-a2c is 2.10 times as fast"),
    ],
)
def test_a_verdict_needs_ratios_that_agree(ratios: list[float], words: str) -> None:
    found = compare.verdict(ratios)
    assert found.text == words
    assert (found.lowest, found.highest) == (min(ratios), max(ratios))


@pytest.mark.parametrize("ratios", [[], [2.0], [2.0, 2.0]])
def test_no_verdict_comes_from_fewer_than_three_ratios(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="conclude nothing"):
        compare.verdict(ratios)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('no such game')", "ended with code 1: RuntimeError: no such game"),
        ("import sys; sys.exit(3)", "ended with code 3: it said nothing"),
        ("print('no figures today')", "printed no result line"),
        ("", "printed no result line"),
    ],
)
def test_a_run_that_fails_says_why(make_system: MakeSystem, source: str, words: str) -> None:
    with pytest.raises(RunFailure, match=words):
        systems.run_once(make_system("peer", source), QUICK)


def test_a_run_that_hangs_is_killed_with_all_its_processes(
    make_system: MakeSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "START_S", 0.0)
    note = tmp_path / "pids"
    source = f"""
import pathlib, subprocess, time
ordinary = subprocess.Popen(["sleep", "600"])
apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path({str(note)!r}).write_text(f"{{ordinary.pid}} {{apart.pid}}")
time.sleep(600)
"""
    with pytest.raises(RunFailure, match="hung: killed after 3 s"):
        systems.run_once(make_system("peer", source), QUICK)
    children = [
        psutil.Process(int(p)) for p in note.read_text().split() if psutil.pid_exists(int(p))
    ]
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_the_table_and_the_file_hold_all_rounds(
    make_system: MakeSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    assert run_main(make_system, printing(result()), "--out", str(out)) == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    assert [pair["ratio"] for pair in content["pairs"]["peer"]] == [3.0, 3.0, 3.0]
    assert content["verdicts"]["peer"]["text"] == "gala-a2c is 3.00 times as fast"
    assert {"commit", "machine", "versions"} <= content.keys()
    printed = capsys.readouterr().out
    assert "3.00…3.00" in printed
    assert re.search(r"peer .* 100 .* 512 .* 90 %", printed)


def test_unlike_work_ends_the_comparison_with_one_line(
    make_system: MakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    unlike = replace(WORK, parameters=1)
    assert run_main(make_system, printing(result(work=unlike))) == compare.REFUSED
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "compare.py: gala-a2c and peer did unlike work: parameters is 866439 here and 1 there\n"
    )


def test_a_peer_that_fails_is_reported_and_the_others_go_on(make_system: MakeSystem) -> None:
    ours = make_system(systems.OURS, printing(result(systems.OURS, 300.0)))
    peers = [make_system("broken", "1 / 0"), make_system("peer", printing(result()))]
    comparison = compare.compare(ours, peers, QUICK, Console(file=io.StringIO()))
    assert comparison.failures == {
        "broken": "it ended with code 1: ZeroDivisionError: division by zero"
    }
    assert list(comparison.verdicts()) == ["peer"]
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(compare.table_of(comparison, QUICK))
    assert "failed: it ended with code 1" in console.export_text()


def test_the_exit_code_tells_of_a_failure(
    make_system: MakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(make_system, "1 / 0") == compare.FAILED
    assert "failed: it ended with code 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "2"], "rounds 2 is too small"),
        (["--peers", "tianshou"], "peer 'tianshou' is unknown"),
        (["--peers", "gala-a2c"], "peer 'gala-a2c' is unknown"),
        (["--out", "/no/such/folder/result.json"], "cannot be written"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused_at_once(
    make_system: MakeSystem,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    assert run_main(make_system, "raise SystemExit('was run')", *arguments) == compare.REFUSED
    assert words in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = str(tmp_path / "bin" / "python")
    known = {"peer": System("peer", (python,), "benchmarks/peers/install.sh peer")}
    assert compare.main(["--peers", "peer"], known) == compare.REFUSED
    assert capsys.readouterr().err == (
        "compare.py: peer peer is not installed: benchmarks/peers/install.sh peer\n"
    )


def test_every_peer_has_a_runner_and_pinned_requirements() -> None:
    for system in systems.systems().values():
        module = system.command[2]
        assert (systems.ROOT / f"{module.replace('.', '/')}.py").is_file()
        if system.remedy:
            name = system.remedy.split()[-1]
            text = (systems.HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
            assert "torch==2.13.0" in lines
