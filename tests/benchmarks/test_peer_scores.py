"""Speed and score beside other libraries: what is refused, what is resumed, what is read."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.peers.scores import __main__ as scores
from benchmarks.peers.scores.cleanrl_ppo import Watch
from benchmarks.peers.scores.gala_ppo import run
from benchmarks.peers.scores.table import table
from benchmarks.peers.scores.tasks import CARTPOLE, TASKS, Outcome, read_line
from benchmarks.peers.systems import HERE, ROOT, System

OUTCOME = Outcome(
    version="1",
    network=("linear 4>64",),
    parameters=9155,
    agent_steps=20_000,
    score=450.0,
    games=100,
    agent_steps_per_s=1000.0,
    processor_s=25.0,
)
STEPS = "20000"

MakeSystem = Callable[..., System]


@pytest.fixture
def make_system(tmp_path: Path) -> MakeSystem:
    """A system that notes each of its runs and reports an outcome."""

    def make(name: str, outcome: Outcome = OUTCOME) -> System:
        script, runs = tmp_path / f"{name}.py", tmp_path / f"{name}.runs"
        script.write_text(
            f"open({str(runs)!r}, 'a').write('x')\nprint('chatter')\n"
            f"print({json.dumps(asdict(outcome))!r})\n",
            encoding="utf-8",
        )
        return System(name, (sys.executable, str(script)))

    return make


def compared(out: Path, *chosen: System, seeds: int = 3, steps: str = STEPS) -> int:
    arguments = ["CartPole-v1", "--seeds", str(seeds), "--steps", steps, "--out", str(out)]
    return scores.main(arguments, chosen)


def test_systems_train_in_turn_and_a_stopped_comparison_goes_on(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    out, ours, peer = tmp_path / "result.json", make_system("ppo"), make_system("peer")
    assert compared(out, ours, peer, seeds=1) == 0
    assert compared(out, ours, peer, seeds=3) == 0
    runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
    order = [(run["seed"], run["system"]) for run in runs]
    assert order == [(seed, name) for seed in (1, 2, 3) for name in ("ppo", "peer")]
    assert (tmp_path / "ppo.runs").read_text(encoding="utf-8") == "xxx"
    assert runs[0]["score"] == 450.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": ("linear 4>32",)}, "network is ['linear 4>64'] here and ['linear 4>32']"),
        ({"parameters": 9156}, "parameters is 9155 here and 9156 there"),
    ],
)
def test_unlike_networks_are_refused(
    make_system: MakeSystem,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    words: str,
) -> None:
    other = make_system("peer", replace(OUTCOME, **change))  # type: ignore[arg-type]
    assert compared(tmp_path / "result.json", make_system("ppo"), other) == 2
    assert words in capsys.readouterr().err


def test_a_file_of_another_comparison_is_not_continued(
    make_system: MakeSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, ours = tmp_path / "result.json", make_system("ppo")
    assert compared(out, ours) == 0
    assert compared(out, ours, steps="30000") == 2
    assert "holds a comparison by other settings" in capsys.readouterr().err


def test_a_system_that_fails_ends_the_comparison_and_keeps_the_runs_before(
    make_system: MakeSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    broken = System("peer", (sys.executable, "-c", "raise SystemExit('no simulators')"))
    assert compared(out, make_system("ppo"), broken) == 1
    assert "peer failed: it ended with code 1: no simulators" in capsys.readouterr().err
    assert len(json.loads(out.read_text(encoding="utf-8"))["runs"]) == 1


def test_too_few_steps_for_a_score_are_refused(
    make_system: MakeSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path / "result.json", make_system("ppo"), steps="512") == 2
    assert "steps 512 is too small: it must be at least 10240" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "chatter", "{}", "[1]", '{"network": 3}'])
def test_anything_but_an_outcome_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no outcome"):
        read_line(text)


def test_the_output_of_cleanrls_script_is_read_as_it_is_printed() -> None:
    watch = Watch(update_steps=512)
    print("global_step=60, episodic_return=15.0", file=watch)
    print("global_step=76, episodic_return=-4.5", file=watch)
    print("SPS:", 1200, file=watch)
    print("SPS:", 1300, file=watch)
    assert (list(watch.returns), watch.agent_steps) == ([15.0, -4.5], 1024)
    assert watch.stopwatch.agent_steps_per_s() > 0


@pytest.mark.parametrize("env", TASKS)
def test_every_peer_has_a_runner_and_requirements(env: str) -> None:
    for system in scores.systems(env):
        assert (ROOT / f"{system.command[2].replace('.', '/')}.py").is_file()
        if system.remedy:
            assert (HERE / "requirements" / f"{system.remedy.split()[-1]}.txt").is_file()


def test_our_runner_trains_with_the_settings_of_the_task() -> None:
    outcome = run(CARTPOLE, 10_240, 1, "")
    hidden = ["linear 4>64", "linear 4>64", "linear 64>1", "linear 64>2"]
    assert list(outcome.network) == [*hidden, "linear 64>64", "linear 64>64"]
    assert (outcome.agent_steps, outcome.parameters, outcome.games) == (10_240, 9155, 100)
    assert 10 < outcome.score < 500
    # The learner's process is counted too, although it has ended.
    assert outcome.processor_s > 10_240 / 20_000


def test_the_table_has_mean_scores_and_ratios_of_the_same_seeds() -> None:
    def row(system: str, seed: int, score: float, processor_s: float) -> dict[str, object]:
        measured = replace(OUTCOME, score=score, processor_s=processor_s)
        return {"system": system, "seed": seed, "load": 3.0 + seed, **asdict(measured)}

    runs = [row("ppo", seed, 400.0 + seed, 10.0 * seed) for seed in (1, 2, 3)]
    runs += [row("sb3-ppo", seed, 300.0, 20.0 * seed) for seed in (1, 2, 3)]
    plan = {"task": asdict(CARTPOLE), "steps": 20_000, "seeds": 3, "machine": {"cores": 2}}
    title, columns, (ours, peer) = table(plan | {"runs": runs})
    assert len(columns) == len(ours) == len(peer)
    assert ours == ["`ppo`", "1", "402", "401  402  403", "1,000", "1,000", "", "", ""]
    assert peer[2] == "300"
    assert peer[6:] == ["2.00", "2.00 … 2.00", "ppo is 2.00 times as fast"]
    assert "20,000 agent steps" in title
    assert "load of the machine's 2 cores was 4 to 6" in title
