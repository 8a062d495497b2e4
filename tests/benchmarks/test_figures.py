"""The paper's figures: what is counted, what is made once, and each figure with a tiny budget."""

import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.figures import agreement, consensus, converging, draw, runs, summary, tables
from benchmarks.figures.runs import Run
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder

COMMON = {"env": "CartPole-v1", "steps": 4000, "threshold": 10.0}
RUN = Run("a2c", 16, 0, "CartPole-v1", 4000, 10.0)
SMALL = ["--steps", "4000", "--seeds", "1", "--threshold", "10"]


def row(run: Run, reached: int | None, last: float | None = 0.0) -> runs.Row:
    seconds = None if reached is None else reached / 1000
    how = {"reached_agent_steps": reached, "reached_s": seconds, "best": last, "last": last}
    return {**asdict(run), "learners": run.learners, **how}


def read(out: Path) -> Any:
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def assert_complete(out: Path, arguments: Sequence[str]) -> None:
    command = (out / "command.txt").read_text(encoding="utf-8")
    assert command.startswith("python -m benchmarks.figures.")
    assert shlex.split(command)[3:] == list(arguments)
    assert 5_000 < (out / "figure.png").stat().st_size < 200_000
    assert read(out)["machine"]["cores"] > 0


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Agresti and Coull 1998, and the rule's closed form at 0: z² / (n + z²).
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_the_interval_of_a_share(successes: int, trials: int, low: float, high: float) -> None:
    assert summary.wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "share", "by"),
    [
        ([3.0, 1.0, 2.0, 4.0], 0.5, 2.0),
        ([3.0, 1.0, 2.0, 4.0], 0.75, 3.0),
        ([3.0, None, 2.0, None], 0.5, 3.0),
        ([3.0, None, None, None], 0.5, None),
        ([None], 0.25, None),
    ],
)
def test_runs_that_never_arrive_count_among_all(
    values: list[float | None], share: float, by: float | None
) -> None:
    assert summary.reached_by(values, share) == by


def test_the_interval_of_a_mean_holds_it_and_shrinks_with_more_values() -> None:
    low, high = summary.bootstrap([1.0, 2.0, 3.0])
    narrow_low, narrow_high = summary.bootstrap([1.0, 2.0, 3.0] * 20)
    assert low < narrow_low < 2.0 < narrow_high < high
    assert summary.bootstrap([4.0, 4.0]) == (4.0, 4.0)


def test_groups_are_of_one_method_and_number_of_simulators() -> None:
    gossiping = replace(RUN, method="gala-a2c", simulators=32)
    found = summary.groups(
        [row(RUN, 100, 12.0), row(gossiping, None), row(RUN, 300, 9.0), row(RUN, None, None)]
    )
    assert [(g["method"], g["simulators"], g["learners"]) for g in found] == [
        ("a2c", 16, 1),
        ("gala-a2c", 32, 2),
    ]
    assert (found[0]["runs"], found[0]["converged"], found[0]["above_at_the_end"]) == (3, 2, 1)
    assert found[0]["reached_agent_steps_quartiles"] == [100, 300, None]
    assert found[0]["reached_s_quartiles"] == [0.1, 0.3, None]
    assert found[1]["share"] == 0.0


def test_a_run_converges_where_a_full_hundred_games_first_reach_the_threshold() -> None:
    scores = [(10, 30.0, 99), (20, 12.0, 100), (30, 25.0, 100), (40, 15.0, 100)]
    points = [
        {"total_agent_steps": k, "hours": k / 3600, "mean_return": score, "games": games}
        for k, score, games in scores
    ]
    assert runs.outcome(points, 20.0) == {
        "reached_agent_steps": 30,
        "reached_s": 30.0,
        "best": 25.0,
        "last": 15.0,
    }
    never = runs.outcome(points[:1], 20.0)
    assert set(never.values()) == {None}


def test_methods_are_compared_at_equal_totals_and_a_lone_learner_is_run_once() -> None:
    wanted = runs.plan([16, 64], 2, COMMON)
    kinds = [(run.method, run.simulators, run.learners) for run in wanted if run.seed == 0]
    assert kinds == [("a2c", 16, 1), ("a2c", 64, 1), ("gala-a2c", 64, 4)]
    assert len(wanted) == 6
    configs = [resolve(run.config(Path("run"))) for run in wanted if run.simulators == 64]
    assert {config.total_simulators for config in configs} == {64}
    assert len({config.initial_learning_rate for config in configs}) == 1


def test_what_is_on_file_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Run] = []

    def train_one(run: Run) -> runs.Row:
        trained.append(run)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return row(run, 100 + run.seed)

    monkeypatch.setattr(runs, "train_one", train_one)
    wanted, file = [replace(RUN, seed=seed) for seed in range(3)], tmp_path / "runs.jsonl"
    with pytest.raises(KeyboardInterrupt):
        runs.make(wanted, file, workers=1, commit="c0")
    with file.open("a", encoding="utf-8") as cut:
        cut.write('{"method": "a2c", "sim')
    rows = runs.make(wanted, file, workers=1, commit="c1")
    assert [run.seed for run in trained] == [0, 1, 1, 2]
    assert [r["reached_agent_steps"] for r in rows] == [100, 101, 102]
    assert [r["commit"] for r in rows] == ["c0", "c1", "c1"]
    slower = [replace(run, learning_rate_rule="linear", bias_correction=True) for run in wanted]
    runs.make(slower, file, workers=1, commit="c2")
    assert trained[4:] == slower


def test_a_row_from_before_a_field_was_there_has_its_default(tmp_path: Path) -> None:
    old = {k: v for k, v in row(RUN, 100).items() if k != "learning_rate_rule"}
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps(old) + "\n", encoding="utf-8")
    assert runs.make([RUN], file, workers=1, commit="c1") == [old]


@pytest.mark.slow
def test_the_figure_of_converging_runs(tmp_path: Path) -> None:
    arguments = [*SMALL, "--simulators", "32", "--out", str(tmp_path)]
    converging.main(arguments)
    assert_complete(tmp_path, arguments)
    result = read(tmp_path)
    assert [(g["method"], g["converged"]) for g in result["groups"]] == [
        ("a2c", 1),
        ("gala-a2c", 1),
    ]
    assert "seconds to it" not in tables.convergence(result)[1]


def test_a_figure_on_which_nothing_converges_can_be_drawn(tmp_path: Path) -> None:
    common = COMMON | {"learning_rate_rule": "constant"}
    result = {**common, "groups": summary.groups([row(RUN, None)])}
    draw.convergence(result).savefig(tmp_path / "figure.png")
    draw.time_to_score(result).savefig(tmp_path / "figure.png")


def test_the_figure_of_time_to_a_score(tmp_path: Path) -> None:
    arguments = [*SMALL, "--simulators", "16", "--processes", "--out", str(tmp_path)]
    converging.main(arguments)
    assert_complete(tmp_path, arguments)
    _, columns, rows = tables.convergence(read(tmp_path))
    assert "seconds to it" in columns
    assert {len(line) for line in rows} == {len(columns)}


def test_cosines_within_and_between_learners_are_those_of_all_their_pairs() -> None:
    gradients = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    pairs: dict[str, list[float]] = {"within": [], "between": []}
    flat = [(learner, g) for learner, groups in enumerate(gradients) for g in groups]
    for (i, a), (j, b) in itertools.combinations(flat, 2):
        cosine = torch.nn.functional.cosine_similarity(a, b, dim=0)
        pairs["within" if i == j else "between"].append(float(cosine))
    assert agreement.cosines(gradients) == pytest.approx(
        {kind: sum(found) / len(found) for kind, found in pairs.items()}
    )
    assert agreement.cosines(gradients[:1]).keys() == {"within"}


def test_the_gradient_of_a_batch_is_the_mean_of_its_groups() -> None:
    config = TrainConfig(
        method="gala-a2c",
        env="CartPole-v1",
        learners=2,
        simulators=8,
        device="cpu",
        serial=True,
        algorithm=A2CSettings(max_grad_norm=1e6),
    )
    halves, whole = (
        list(itertools.islice(agreement.gradients(resolve(config), group), 3))[-1]
        for group in (4, 8)
    )
    assert (halves.shape[:2], whole.shape[:2]) == ((2, 2), (2, 1))
    torch.testing.assert_close(halves.mean(dim=1), whole[:, 0])


def test_the_figure_of_agreement(tmp_path: Path) -> None:
    arguments = ["--simulators", "32", "--steps", "3200", "--seeds", "2", "--out", str(tmp_path)]
    agreement.main(arguments)
    assert_complete(tmp_path, arguments)
    result = read(tmp_path)
    names = ["a2c, within", "gala-a2c, within", "gala-a2c, between"]
    assert list(result["cosines"]) == names
    assert {torch.tensor(rows).shape for rows in result["cosines"].values()} == {
        (2, agreement.WINDOWS)
    }
    assert [line[0] for line in tables.agreement(result)[2]][:3] == [
        "a2c, one learner",
        "gala-a2c, one learner",
        "gala-a2c, two learners",
    ]


CONSENSUS = [
    {
        "time": float(k),
        "total_agent_steps": 1000 * k,
        "consensus_rms": 0.01 * k,
        "consensus_span": 0.02 * k,
        "consensus_span_bound": 0.07,
        "consensus_rms_nominal_bound": 0.5 if k > 2 else None,
        "consensus_rms_independent": 0.012 * k,
    }
    for k in range(1, 6)
]


def test_the_figure_of_consensus(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(TrainConfig(learners=4, env="CartPole-v1"))
    file = run.path / "metrics" / "consensus.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in CONSENSUS), encoding="utf-8")
    arguments = ["--out", str(tmp_path / "out")]
    consensus.main([str(run.path), *arguments])
    assert_complete(tmp_path / "out", ["RUN", *arguments])
    result = read(tmp_path / "out")
    assert result["violations"] == {
        "consensus_span_bound": 2,
        "consensus_rms_bound": 0,
        "consensus_rms_nominal_bound": 0,
    }
    assert result["rows"] == CONSENSUS
    assert tables.consensus(result)[2][0] == ["root mean square, measured", "0.03", "0.05", ""]


def test_a_run_without_consensus_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder(tmp_path / "run").create(TrainConfig(learners=4))
    with pytest.raises(SystemExit):
        consensus.main([str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    assert "has no rows of consensus" in capsys.readouterr().err


def test_rows_are_thinned_evenly() -> None:
    rows = [{"k": k} for k in range(1000)]
    kept = [line["k"] for line in consensus.thinned(rows, 5)]
    assert kept == [0, 249, 499, 749, 999]
    assert consensus.thinned(rows[:3], 5) == rows[:3]
