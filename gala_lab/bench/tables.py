"""Results of benchmarks as tables for people; imports no torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gala_lab.bench.rounds import MIN_ROUNDS
from gala_rl.errors import counted

_ABSENT = "–"


class Table(NamedTuple):
    """A table, every row as long as `columns`."""

    title: str
    columns: list[str]
    rows: list[list[str]]


class Column(NamedTuple):
    """One number of a result: its name there, in words, how it is written."""

    name: str
    text: str
    form: str = "{:,.0f}"


_THROUGHPUT = (
    Column("simulators_bare_sps", "simulators of ALE bare, agent steps/s"),
    Column("simulators_only_sps", "simulators alone, agent steps/s"),
    Column("layer_over_bare", "simulators alone / bare", "{:.2f}"),
    Column("network_plain_sps", "network in plain PyTorch, 1 thread a learner, agent steps/s"),
    Column("network_one_thread_sps", "network alone, 1 thread a learner, agent steps/s"),
    Column("network_over_plain", "network alone / plain", "{:.2f}"),
    Column("network_only_sps", "network alone, agent steps/s"),
    Column("ceiling_sps", "ceiling of simulators and network, agent steps/s"),
    Column("achieved_sps", "training, agent steps/s"),
    Column("achieved_over_ceiling", "training / ceiling", "{:.2f}"),
    Column("achieved_sps_per_learner", "training, agent steps/s a learner"),
    Column("slowest_learner_sps", "… the slowest learner"),
    Column("fastest_learner_sps", "… the fastest learner"),
    Column("a2c_sps", "a2c on all cores, agent steps/s"),
    Column("achieved_over_a2c", "training / a2c", "{:.2f}"),
    Column("gossip_share", "gossip's share of a learner's time", "{:.2%}"),
    Column("cpu_cores_used", "cores that training keeps busy", "{:.2f}"),
    Column("rss_mb_per_learner", "resident memory a learner, MiB"),
    Column("gpu_utilisation", "GPU busy", "{:.0%}"),
    Column("gpu_memory_mb", "GPU memory in use, MiB"),
    Column("cpu_joules_per_million_frames", "processor energy, J a million frames"),
    Column("gpu_joules_per_million_frames", "GPU energy, J a million frames"),
)
_GOSSIP = (
    Column("send_ms", "send, ms", "{:.3f}"),
    Column("poll_ms", "poll, ms", "{:.3f}"),
    Column("mix_ms", "mix, ms", "{:.3f}"),
    Column("exchange_ms", "exchange, ms", "{:.3f}"),
    Column("outbox_exchange_ms", "from the outbox, ms", "{:.3f}"),
    Column("exchange_over_2_learners", "/ 2 learners", "{:.2f}"),
    Column("copy_gb_per_s", "copy, GB/s", "{:.1f}"),
    Column("send_over_copy", "send / copy", "{:.2f}"),
    Column("mix_over_copy", "mix / copy", "{:.2f}"),
    Column("exchange_over_copy", "exchange / copy", "{:.2f}"),
    Column("outbox_exchange_over_copy", "from the outbox / copy", "{:.2f}"),
)
_SCALING = (
    Column("sps", "agent steps/s"),
    Column("sps_per_learner", "a learner"),
    Column("speedup", "speed-up", "{:.2f}"),
    Column("gossip_share", "gossip's share", "{:.2%}"),
    Column("cpu_cores_used", "cores busy", "{:.2f}"),
    Column("rss_mb_per_learner", "MiB a learner"),
)
_STRAGGLERS = (
    Column("running_share", "they run", "{:.0%}"),
    Column("sps", "agent steps/s"),
    Column("ideal_sps", "ideal (arithmetic)"),
    Column("barrier_sps", "barrier (arithmetic)"),
    Column("of_undisturbed", "of undisturbed", "{:.2f}"),
    Column("of_ideal", "of ideal", "{:.2f}"),
    Column("slowest_learner_sps", "slowest learner"),
    Column("fastest_learner_sps", "fastest learner"),
    Column("cpu_cores_used", "cores busy", "{:.2f}"),
    Column("gossip_share", "gossip's share", "{:.2%}"),
)

_FAULTS = (
    Column("before_sps", "agent steps/s before"),
    Column("soon_sps", "in the 5 s after"),
    Column("soon_of_before", "of before", "{:.2f}"),
    Column("longest_pause_before_s", "longest pause of others before, s", "{:.2f}"),
    Column("longest_pause_s", "after, s", "{:.2f}"),
    Column("resolution_s", "pauses seen to, s", "{:.2f}"),
    Column("recovery_s", "0.95 of before after, s", "{:.1f}"),
    Column("lost_agent_steps", "agent steps lost"),
    Column("restarts", "restarts"),
)

_OF_FIRST = Column("of_first_method", "of the first method", "{:.2f}")


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The tables of a result of any benchmark."""
    return {
        "throughput": _throughput,
        "gossip": _gossip,
        "scaling": _scaling,
        "stragglers": _stragglers,
        "faults": _faults,
    }[result["benchmark"]](result)


def notes(result: Mapping[str, Any]) -> list[str]:
    """What the tables leave open, a line each: what was skipped or cannot be measured, and why."""
    skipped = [
        counted(case["learners"], "learner")
        + (f" x {case['parameters']:,} parameters" if "parameters" in case else "")
        + f" skipped: {case['skipped']}"
        for case in result.get("cases", [])
        if case["skipped"]
    ]
    return [*skipped, *result["notes"]]


def _throughput(result: Mapping[str, Any]) -> list[Table]:
    learners, cores = result["settings"]["learners"], result["machine"]["cores"]
    where = f"{counted(learners, 'learner')} on {counted(cores, 'core')}"
    title = f"{_training(result)}, {where}: {_medians(result)}"
    rows = [
        [column.text, _cell(result, column), _spread(result, column), _rounds(result, column)]
        for column in _THROUGHPUT
        if result[column.name] is not None or column.name in result["needs_rounds"]
    ]
    return [Table(title, ["", "median", "spread", "rounds"], rows)]


def _gossip(result: Mapping[str, Any]) -> list[Table]:
    columns = ["learners", *(column.text for column in _GOSSIP)]
    sizes = result["settings"]["parameters"]
    return [
        Table(
            f"gossip on a directed ring, {size:,} parameters, 1 thread: {_medians(result)}",
            columns,
            [
                _row([f"{case['learners']}"], case, _GOSSIP)
                for case in result["cases"]
                if case["parameters"] == size
            ],
        )
        for size in sizes
    ]


def _scaling(result: Mapping[str, Any]) -> list[Table]:
    columns = ["learners", "simulators each", *(column.text for column in _SCALING)]
    titles = {"total": "equal simulators in all", "learner": "equal simulators a learner"}
    return [
        Table(
            f"{_training(result)}, {title}, {result['machine']['cores']} cores: {_medians(result)}",
            columns,
            [
                _row([f"{case['learners']}", f"{case['simulators'] or _ABSENT}"], case, _SCALING)
                for case in result["cases"]
                if case["equal"] == share
            ],
        )
        for share, title in titles.items()
    ]


def _stragglers(result: Mapping[str, Any]) -> list[Table]:
    methods = result["settings"]["method"].split(", ")
    columns = (*_STRAGGLERS, _OF_FIRST) if len(methods) > 1 else _STRAGGLERS
    return [_stragglers_of(result, method, columns) for method in methods]


def _stragglers_of(result: Mapping[str, Any], method: str, columns: tuple[Column, ...]) -> Table:
    learners, cores = result["settings"]["learners"], result["machine"]["cores"]
    training = _training(result, method)
    title = f"{training}, {learners} learners on {cores} cores, some slowed from outside"
    rows = [
        _row([f"{case['slowed']}", f"{case['factor']:g}x"], case, columns)
        for case in result["cases"]
        if case.get("method", method) == method
    ]
    texts = ["slowed", "by", *(column.text for column in columns)]
    return Table(f"{title}: {_medians(result)}", texts, rows)


def _faults(result: Mapping[str, Any]) -> list[Table]:
    plan = result["settings"]["plan"] or "a learner is killed"
    cluster, cores = result["settings"]["cluster"], result["machine"]["cores"]
    where = f"{cores} cores" if cluster is None else f"cluster {cluster}"
    title = f"{_training(result)}, {plan}, {where}: {_medians(result)}"
    rows = [_row([c["method"], f"{c['learners']}"], c, _FAULTS) for c in result["cases"]]
    return [Table(title, ["method", "learners", *(c.text for c in _FAULTS)], rows)]


def _training(result: Mapping[str, Any], method: str | None = None) -> str:
    settings = result["settings"] | ({} if method is None else {"method": method})
    return (
        f"{settings['method']} on {settings['env']}, {settings['simulators']} simulators a "
        f"learner, {settings['device']}"
    )


def _medians(result: Mapping[str, Any]) -> str:
    repeats = result["settings"]["repeats"]
    return "1 round" if repeats == 1 else f"medians of {repeats} rounds"


def _row(labels: list[str], case: Mapping[str, Any], columns: tuple[Column, ...]) -> list[str]:
    if case["skipped"]:
        return [*labels, "skipped", *[""] * (len(columns) - 1)]
    return [*labels, *(_cell(case, column) for column in columns)]


def _cell(case: Mapping[str, Any], column: Column) -> str:
    value = case[column.name]
    if column.name in case["needs_rounds"]:
        return f"needs {MIN_ROUNDS} rounds"
    if value is None:
        return _ABSENT
    noisy = " (too noisy)" if column.name in case["too_noisy"] else ""
    return column.form.format(value) + noisy


def _spread(case: Mapping[str, Any], column: Column) -> str:
    spread = case["spread"][column.name]
    return _ABSENT if spread is None else f"{spread:.0%}"


def _rounds(case: Mapping[str, Any], column: Column) -> str:
    values = (r.get(column.name) for r in case["rounds"])
    return "  ".join(column.form.format(value) for value in values if value is not None)
