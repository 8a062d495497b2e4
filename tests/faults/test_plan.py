"""A plan says in one line what is wrong with it, before anything starts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala_lab.main import main
from gala_rl.app.preflight import check_unchanged
from gala_rl.checks.config import check_config
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.faults.plan import Fault, read_plan
from gala_rl.records.run_folder import RunFolder

CONFIG = TrainConfig(method="gala-a2c", env="CartPole-v1", learners=4, simulators=2)
KILL = {"kind": "kill", "learner": 1, "at_updates": 5}
CUT = {"kind": "cut", "senders": [0, 1], "receivers": [2, 3], "at_s": 1, "both_ways": True}


def write(path: Path, *entries: Any) -> str:
    path.write_text(json.dumps({"faults": list(entries)}), encoding="utf-8")
    return str(path)


def test_a_plan_is_read_as_it_is_written(tmp_path: Path) -> None:
    slow = {"kind": "slow", "learner": 0, "at_updates": 100, "factor": 4, "updates": 1000}
    plan = read_plan(write(tmp_path / "plan.json", KILL, slow, CUT))
    pairs = frozenset({(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (3, 0), (2, 1), (3, 1)})
    assert plan == (
        Fault(index=0, kind="kill", learner=1, at_updates=5),
        Fault(index=1, kind="slow", learner=0, at_updates=100, factor=4, updates=1000),
        Fault(index=2, kind="cut", edges=pairs, at_s=1),
    )
    assert [sorted(fault.learners) for fault in plan] == [[1], [0], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (7, "must be an object"),
        ({"learner": 1}, "kind None: choose one of kill, kill-node"),
        ({**KILL, "kind": "explode"}, "kind 'explode': choose one of kill, kill-node"),
        ({**KILL, "kind": ["kill"]}, "choose one of kill, kill-node"),
        ({**KILL, "factor": 2}, "'factor': beside kind it has learner, at_updates"),
        ({**KILL, "updates": 2}, "'updates': beside kind it has learner, at_updates"),
        ({**KILL, "at_s": 2}, "one of at_updates and at_s"),
        ({"kind": "kill", "learner": 1}, "one of at_updates and at_s"),
        ({"kind": "kill", "at_updates": 5}, "no learner: it must be the rank of a learner"),
        ({**KILL, "learner": True}, "learner True: it must be the rank"),
        ({**KILL, "at_updates": -1}, "at_updates -1: it must be a whole number, 0 or more"),
        ({"kind": "kill", "learner": 1, "at_s": False}, "at_s False"),
        ({"kind": "kill", "learner": 1, "at_s": float("nan")}, "at_s nan"),
        ({**KILL, "kind": "stop"}, "no seconds: it must be a number above 0"),
        ({**KILL, "kind": "stop", "seconds": 0}, "seconds 0: it must be a number above 0"),
        ({**KILL, "kind": "slow", "factor": 1}, "factor 1: it must be a number above 1"),
        ({**CUT, "senders": []}, r"senders \[\]: it must be a list of ranks"),
        ({**CUT, "updates": 3}, "'updates': beside kind it has senders"),
        ({**CUT, "kind": "corrupt", "how": "badly"}, "one of nan, size, bits"),
        ({**CUT, "kind": "delay", "delay_s": 61}, "delay_s 61: it must be a number of seconds"),
    ],
)
def test_a_mistake_names_its_entry_and_what_is_allowed(
    tmp_path: Path, entry: Any, told: str
) -> None:
    file = write(tmp_path / "plan.json", KILL, KILL, KILL, entry)
    with pytest.raises(UserError, match=rf"faults\[3\].*{told}"):
        read_plan(file)


@pytest.mark.parametrize(
    ("entry", "changes", "told"),
    [
        ({**KILL, "learner": 4}, {}, "names learner 4: learners are 0 to 3"),
        ({**CUT, "senders": [9]}, {}, "names learner 9: learners are 0 to 3"),
        (KILL, {"serial": True}, "needs a process per learner: leave out --serial"),
        (CUT, {"method": "a2c-allreduce"}, "a2c-allreduce sends none: gala-a2c, gala-ppo"),
        ({**CUT, "receivers": [3], "senders": [1]}, {}, None),
        ({**CUT, "receivers": [3], "senders": [1], "both_ways": False}, {}, "learner 3 hears 2"),
        ({**CUT, "receivers": [1], "senders": [1]}, {}, "senders and receivers are the same"),
        ({**KILL, "kind": "simulator-crash", "simulator": 2}, {}, "simulators are 0 to 1"),
        (
            {**KILL, "kind": "simulator-crash", "simulator": 0},
            {"env": "PongNoFrameskip-v4"},
            "Atari games run in C",
        ),
        (
            {**KILL, "kind": "simulator-crash", "simulator": 0},
            {"method": "gala-impala"},
            "those of gala-impala are its actors'",
        ),
        (
            {**KILL, "kind": "simulator-crash", "simulator": 0},
            {"simulator_processes": 1},
            "leave out --simulator-processes",
        ),
    ],
)
def test_what_cannot_happen_in_a_run_is_refused(
    tmp_path: Path, entry: Any, changes: dict[str, Any], told: str | None
) -> None:
    file = write(tmp_path / "plan.json", entry)
    told = told or "is about no edge of topology directed-ring"
    with pytest.raises(UserError, match=rf"faults\[0\].*{told}"):
        check_config(replace(CONFIG, fault_plan=file, **changes))


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"faults": 3}', '{"faults": [], "more": 1}', "\udcff", None]
)
def test_a_file_that_is_no_plan_is_one_line_and_nothing_is_written(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    arguments = ["train", "gala-a2c", "--env", "CartPole-v1", "--fault-plan", str(file)]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gala: fault plan {file}")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_plan_and_goes_on_with_no_other(tmp_path: Path) -> None:
    file = write(tmp_path / "plan.json", KILL)
    folder = RunFolder(tmp_path / "run")
    config = check_config(replace(CONFIG, fault_plan=file))
    folder.create(config)
    assert folder.read_config().fault_plan == str(folder.fault_plan_file)
    check_unchanged(folder.path, config, {"fault_plan": file})
    write(tmp_path / "plan.json", CUT)
    with pytest.raises(UserError, match=r"fault_plan .* is not what run"):
        check_unchanged(folder.path, config, {"fault_plan": file})
    assert read_plan(folder.fault_plan_file)[0].kind == "kill"


@given(
    at=st.integers(0, 50),
    length=st.integers(1, 50),
    now=st.integers(0, 120),
    by_updates=st.booleans(),
)
def test_a_lasting_fault_is_on_from_its_moment_for_its_length(
    at: int, length: int, now: int, by_updates: bool
) -> None:
    when = {"at_updates": at, "updates": length} if by_updates else {"at_s": at, "seconds": length}
    fault = Fault(index=0, kind="slow", learner=0, **when)  # type: ignore[arg-type]
    updates, elapsed_s = (now, 0.0) if by_updates else (0, float(now))
    assert fault.has_begun(updates, elapsed_s) is (now >= at)
    assert fault.is_active(updates, elapsed_s) is (at <= now < at + length)
    endless = replace(fault, updates=None, seconds=None)
    assert endless.is_active(updates, elapsed_s) is (now >= at)


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    with pytest.raises(UserError) as error:
        read_plan(file)
    assert str(error.value).count(str(file)) == 1
    assert "Errno" not in str(error.value)
