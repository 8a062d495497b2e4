"""The table of a study: update rules by rows, rates by columns, the best rate's interval."""

from dataclasses import asdict
from typing import Any

from gala_lab.study.cell import Cell
from gala_lab.study.table import tables_of


def row(auc: float | None, seed: int, **values: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"learners": 4, "simulators": 4, **values}
    cell = Cell(env="CartPole-v1", algorithm="a2c", steps=1000, **given)
    return {"cell": asdict(cell), "seed": seed, "auc": auc, "final": auc, "best": auc}


ROWS = [
    *(row(100.0 + seed, seed, rate=1.0) for seed in range(8)),
    *(row(200.0 + seed, seed, rate=2.0) for seed in range(8)),
    *(row(150.0, seed, rate=1.0, learners=1, simulators=16) for seed in range(4)),
    row(None, 0, rate=2.0, second_moment="split", missed=0.2),
]


def test_each_update_rule_has_a_row_with_its_best_rate() -> None:
    ((title, columns, lines),) = tables_of(ROWS, None)
    assert "CartPole-v1, a2c, 1,000 agent steps, 16 simulators in all" in title
    assert columns[2:4] == ["x1", "x2"]
    ring, large, split = lines
    assert ring[:4] == ["4", "directed-ring", "104", "204"]
    assert ring[4].startswith("204 (20")
    assert ring[4].endswith(") at x2")
    assert large[:4] == ["1", "one large batch", "150", "–"]
    assert split[1] == "directed-ring, split, missed 0.2"
    assert split[2:] == ["–", "–", "–", "–"]


def test_runs_that_keep_the_threshold_are_counted() -> None:
    ((title, _, lines),) = tables_of(ROWS, 203.0)
    assert "runs that end at 203 or above" in title
    assert lines[0][2:4] == ["104 (0/8)", "204 (5/8)"]
    assert lines[2][3] == "– (0/1)"


def test_each_task_has_a_table() -> None:
    other = row(1.0, 0)
    other["cell"]["env"] = "Acrobot-v1"
    assert [title.split(",")[0] for title, _, _ in tables_of([*ROWS, other], None)] == [
        "CartPole-v1",
        "Acrobot-v1",
    ]
