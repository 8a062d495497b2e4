"""The command line of `gala bench`: tables for people, JSON for programs."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gala_lab.bench import (
    benchmark_plans,
    overhead_benchmark,
    result_tables,
    scaling_benchmark,
    straggler_benchmark,
    throughput_benchmark,
)
from gala_lab.bench.results import case, result
from gala_lab.main import main
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve

GOSSIP = ["bench", "gossip", "--learners", "4", "--parameters", "1k,3k", "--seconds", "0.01"]
TRAINING = {
    "method": "gala-a2c",
    "env": "CartPole-v1",
    "learners": 2,
    "simulators": 16,
    "device": "cpu",
}


def printed_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_gossip_is_measured_for_every_size_and_number_of_learners(
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = printed_json(GOSSIP, capsys)
    told = [(c["parameters"], c["learners"]) for c in content["cases"]]
    assert told == [(p, n) for p in (1000, 3000) for n in (1, 2, 4)]
    for c in content["cases"]:
        pieces = ("send_ms", "poll_ms", "mix_ms", "mix_gb_per_s", "mix_over_copy")
        assert all((c[name] is None) is (c["learners"] == 1) for name in pieces)
        assert c["exchange_ms"] > 0
        assert c["copy_gb_per_s"] > 0
        assert len(c["rounds"]) == 3
        assert c["mix_gb_per_s"] is None or c["mix_gb_per_s"] > 0
    assert content["benchmark"] == "gossip"
    assert content["settings"]["repeats"] == 3
    assert content["noisy"] is any(c["noisy"] for c in content["cases"])


def test_what_does_not_fit_into_memory_is_skipped_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        benchmark_plans, "_free_bytes", lambda: benchmark_plans.gossip_bytes(2, 3000)
    )
    assert main(GOSSIP) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "4 learners x 3,000 parameters skipped: needs 0.0 GiB" in text
    assert "4 learners x 1,000" not in text


def test_one_round_prints_rates_but_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GOSSIP, "--repeats", "1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "needs 3 rounds" in text
    assert "1 round" in text
    assert "ratios need 3 rounds: --repeats 3" in text


def test_overhead_is_measured_for_every_network_and_number_of_simulators(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--simulators", "2,3", "--image-simulators", "1", "--seconds", "0.05"]
    content = printed_json(["bench", "overhead", *given], capsys)
    told = [(c["network"], c["simulators"]) for c in content["cases"]]
    assert told == [("vector", 2), ("vector", 3), ("convolution", 1)]
    for c in content["cases"]:
        assert all(c[f"{part}_us"] > 0 for part in overhead_benchmark.PARTS)
        assert c["training_over_plain"] > c["without_gossip_over_plain"] > 0
        assert c["ratio_low"] <= c["ratio_high"]
        assert len(c["rounds"]) == 3
    assert content["settings"]["image_simulators"] == [1]
    vectors, images = result_tables.tables(content)
    assert [row[0] for row in vectors.rows] == ["2", "3"]
    assert [row[0] for row in images.rows] == ["1"]
    assert {len(row) for row in (*vectors.rows, *images.rows)} == {len(vectors.columns)}


def test_every_option_of_training_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def note(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        return {}

    monkeypatch.setattr(throughput_benchmark, "bench_throughput", note)
    monkeypatch.setattr(scaling_benchmark, "bench_scaling", note)
    monkeypatch.setattr(straggler_benchmark, "bench_stragglers", note)
    given = ["--env", "CartPole-v1", "--learners", "2", "--simulators", "3", "--device", "cpu"]
    given += ["--seconds", "4", "--repeats", "5", "--json"]
    plain = TrainConfig(env="CartPole-v1", learners=2, simulators=3, device="cpu")
    config, allreduce = resolve(plain), resolve(replace(plain, method="a2c-allreduce"))
    assert main(["bench", "throughput", *given]) == 0
    assert main(["bench", "scaling", *given]) == 0
    assert main(["bench", "stragglers", *given, "--slowed", "1,0"]) == 0
    assert main(["bench", "stragglers", *given, "--method", "gala-a2c,a2c-allreduce"]) == 0
    throughput, scaling, *stragglers = calls
    assert throughput == (config, 4.0, 5)
    plan, *rest = scaling
    assert plan[-1].config == config
    assert rest == [4.0, 5]
    assert stragglers == [
        ({"gala-a2c": config}, [0, 1], 4.0, 5),
        ({"gala-a2c": config, "a2c-allreduce": allreduce}, [0, 1], 4.0, 5),
    ]


def rounds(names: set[str], **values: float) -> list[dict[str, float | None]]:
    return [{**dict.fromkeys(names, 1.0), **values} for _ in range(3)]


def text_of(content: dict[str, Any]) -> str:
    shown = result_tables.tables(content)
    for table in shown:
        assert all(len(row) == len(table.columns) for row in table.rows)
    cells = [cell for table in shown for row in table.rows for cell in row]
    return " | ".join([*(table.title for table in shown), *cells, *result_tables.notes(content)])


def measured(columns: tuple[result_tables.Column, ...], ratios: Any) -> set[str]:
    return {column.name for column in columns} - set(ratios) | {
        name for ratio in ratios.values() for name in ratio
    }


def test_the_table_of_throughput_leaves_out_what_was_not_measured_and_says_why() -> None:
    names = measured(result_tables._THROUGHPUT, throughput_benchmark.RATIOS)
    done = rounds(names, achieved_sps=1234.0, ceiling_sps=1543.0)
    for number, a2c in enumerate((600.0, 617.0, 900.0)):
        done[number] |= {"a2c_sps": a2c, "gpu_utilisation": None}
    settings = TRAINING | {"seconds": 1.0, "repeats": 3}
    content = result(
        "throughput", settings, case({}, done, throughput_benchmark.RATIOS), ["no GPU is used"] * 2
    )
    text = text_of(content)
    assert "training / ceiling | 0.80 | 0% | 0.80  0.80  0.80" in text
    assert "training / a2c | 2.00 (too noisy) |" in text
    assert "GPU busy" not in text
    assert text.count("no GPU is used") == 1
    assert (content["noisy"], content["too_noisy"]) == (True, ["achieved_over_a2c"])
    assert "too noisy to conclude from" in text


def test_the_tables_of_scaling_are_one_for_each_series() -> None:
    names = measured(result_tables._SCALING, scaling_benchmark.RATIOS)
    labels = {"learners": 2, "simulators": 8, "skipped": None}
    cases = [
        case(labels | {"equal": "total"}, rounds(names, sps=3.0), scaling_benchmark.RATIOS),
        {"equal": "total", "learners": 4, "simulators": None, "skipped": "no"},
        case(labels | {"equal": "learner"}, rounds(names, sps=2.5), scaling_benchmark.RATIOS),
    ]
    settings = TRAINING | {"seconds": 1.0, "repeats": 3}
    text = text_of(result("scaling", settings, {"cases": cases}, []))
    assert "equal simulators in all" in text
    assert "2 | 8 | 3 | 1 | 3.00 |" in text
    assert "4 | – | skipped |" in text
    assert "4 learners skipped: no" in text
    assert "2 | 8 | 2 | 1 | 2.50 |" in text


def test_the_table_of_stragglers_says_what_is_arithmetic() -> None:
    names = measured(result_tables._STRAGGLERS, straggler_benchmark.RATIOS)
    labels = {"slowed": 1, "factor": 4.0, "skipped": None}
    cases = [case(labels, rounds(names, running_share=0.25), straggler_benchmark.RATIOS)]
    settings = TRAINING | {"slowed": [1], "seconds": 1.0, "repeats": 3}
    content = result("stragglers", settings, {"cases": cases}, [])
    assert "1 | 4x | 25% |" in text_of(content)
    assert "barrier (arithmetic)" in result_tables.tables(content)[0].columns
