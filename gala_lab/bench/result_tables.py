"""Results of benchmarks as tables for people; imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gala_lab.bench.rounds import MIN_ROUNDS
from gala_rl.errors import counted

_ABSENT = "–"

Result = Mapping[str, Any]


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
    Column("network_plain_sps", "network in plain PyTorch, 1 thread per learner, agent steps/s"),
    Column("network_one_thread_sps", "network alone, 1 thread per learner, agent steps/s"),
    Column("network_over_plain", "network alone / plain", "{:.2f}"),
    Column("network_only_sps", "network alone, agent steps/s"),
    Column("ceiling_sps", "ceiling of simulators and network, agent steps/s"),
    Column("achieved_sps", "training, agent steps/s"),
    Column("achieved_over_ceiling", "training / ceiling", "{:.2f}"),
    Column("achieved_sps_per_learner", "training, agent steps/s per learner"),
    Column("slowest_learner_sps", "… the slowest learner"),
    Column("fastest_learner_sps", "… the fastest learner"),
    Column("a2c_sps", "a2c on all cores, agent steps/s"),
    Column("achieved_over_a2c", "training / a2c", "{:.2f}"),
    Column("gossip_share", "gossip's share of a learner's time", "{:.2%}"),
    Column("cpu_cores_used", "cores that training keeps busy", "{:.2f}"),
    Column("rss_mb_per_learner", "resident memory per learner, MiB"),
    Column("gpu_utilisation", "GPU busy", "{:.0%}"),
    Column("gpu_memory_mb", "GPU memory in use, MiB"),
    Column("cpu_joules_per_million_frames", "processor energy, J per million frames"),
    Column("gpu_joules_per_million_frames", "GPU energy, J per million frames"),
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
_OVERHEAD = (
    Column("plain_us", "plain PyTorch, µs", "{:,.1f}"),
    Column("training_us", "learner, µs", "{:,.1f}"),
    Column("policy_us", "policy", "{:,.1f}"),
    Column("interface_us", "simulators", "{:,.1f}"),
    Column("storage_us", "storage", "{:,.1f}"),
    Column("loss_us", "loss and backward", "{:,.1f}"),
    Column("optimizer_us", "optimizer", "{:,.1f}"),
    Column("gossip_us", "gossip", "{:,.1f}"),
    Column("rest_us", "rest", "{:,.1f}"),
    Column("training_over_plain", "learner / plain", "{:.2f}"),
    Column("ratio_low", "first quartile", "{:.2f}"),
    Column("ratio_high", "third quartile", "{:.2f}"),
    Column("without_gossip_over_plain", "without gossip / plain", "{:.2f}"),
)
_SCALING = (
    Column("sps", "agent steps/s"),
    Column("sps_per_learner", "per learner"),
    Column("speedup", "speed-up", "{:.2f}"),
    Column("gossip_share", "gossip's share", "{:.2%}"),
    Column("cpu_cores_used", "cores busy", "{:.2f}"),
    Column("rss_mb_per_learner", "MiB per learner"),
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
_OF_FIRST = Column("of_first_method", "of the first method", "{:.2f}")
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


def tables(result: Result) -> list[Table]:
    """Return the tables of a result of any benchmark."""
    make: dict[str, Callable[[Result], list[Table]]] = {
        "throughput": _throughput,
        "gossip": _gossip,
        "overhead": _overhead,
        "scaling": _scaling,
        "stragglers": _stragglers,
        "faults": _faults,
    }
    return make[result["benchmark"]](result)


def notes(result: Result) -> list[str]:
    """Return one line for each case that was skipped or cannot be measured, with the reason."""
    skipped = [
        counted(case["learners"], "learner")
        + (f" x {case['parameters']:,} parameters" if "parameters" in case else "")
        + f" skipped: {case['skipped']}"
        for case in result.get("cases", [])
        if case["skipped"]
    ]
    return [*skipped, *result["notes"]]


def _throughput(result: Result) -> list[Table]:
    learners, cores = result["settings"]["learners"], result["machine"]["cores"]
    where = f"{counted(learners, 'learner')} on {counted(cores, 'core')}"
    rows = [
        [column.text, _cell(result, column), _spread(result, column), _rounds(result, column)]
        for column in _THROUGHPUT
        if result[column.name] is not None or column.name in result["needs_rounds"]
    ]
    title = f"{_training(result)}, {where}: {_medians(result)}"
    return [Table(title, ["", "median", "spread", "rounds"], rows)]


def _gossip(result: Result) -> list[Table]:
    return [
        _table(
            result,
            f"gossip on a directed ring, {size:,} parameters, 1 thread",
            {"learners": "{learners}"},
            _GOSSIP,
            parameters=size,
        )
        for size in result["settings"]["parameters"]
    ]


def _overhead(result: Result) -> list[Table]:
    titles = {"vector": "network for vectors", "convolution": "convolutional network"}
    return [
        _table(
            result,
            f"a learner on simulators that do nothing, {title}, 1 thread, per step of all",
            {"simulators": "{simulators}"},
            _OVERHEAD,
            network=network,
        )
        for network, title in titles.items()
    ]


def _scaling(result: Result) -> list[Table]:
    titles = {"total": "equal simulators in all", "learner": "equal simulators per learner"}
    return [
        _table(
            result,
            f"{_training(result)}, {title}, {result['machine']['cores']} cores",
            {"learners": "{learners}", "simulators each": "{simulators}"},
            _SCALING,
            equal=share,
        )
        for share, title in titles.items()
    ]


def _stragglers(result: Result) -> list[Table]:
    methods = result["settings"]["method"].split(", ")
    learners, cores = result["settings"]["learners"], result["machine"]["cores"]
    return [
        _table(
            result,
            f"{_training(result, method)}, {learners} learners on {cores} cores, some slowed from "
            f"outside",
            {"slowed": "{slowed}", "by": "{factor:g}x"},
            (*_STRAGGLERS, _OF_FIRST) if len(methods) > 1 else _STRAGGLERS,
            method=method,
        )
        for method in methods
    ]


def _faults(result: Result) -> list[Table]:
    plan = result["settings"]["plan"] or "a learner is killed"
    cluster, cores = result["settings"]["cluster"], result["machine"]["cores"]
    where = f"{cores} cores" if cluster is None else f"cluster {cluster}"
    labels = {"method": "{method}", "learners": "{learners}"}
    return [_table(result, f"{_training(result)}, {plan}, {where}", labels, _FAULTS)]


def _table(
    result: Result,
    title: str,
    labels: Mapping[str, str],
    columns: Sequence[Column],
    **only: Any,
) -> Table:
    """Return a table with a row for each case of a result.

    Args:
        result: result of a benchmark with cases.
        title: title of the table, without the number of rounds.
        labels: formats of the first cells of a row, by heading.
        columns: columns of the other cells.
        only: what the cases have, if they say it.
    """
    rows = []
    for case in result["cases"]:
        if any(case.get(name, value) != value for name, value in only.items()):
            continue
        cells = ["skipped", *[""] * (len(columns) - 1)]
        if not case["skipped"]:
            cells = [_cell(case, column) for column in columns]
        known = {name: _ABSENT if value is None else value for name, value in case.items()}
        rows.append([*(label.format_map(known) for label in labels.values()), *cells])
    heads = [*labels, *(column.text for column in columns)]
    return Table(f"{title}: {_medians(result)}", heads, rows)


def _training(result: Result, method: str | None = None) -> str:
    settings = result["settings"]
    return (
        f"{method or settings['method']} on {settings['env']}, {settings['simulators']} simulators "
        f"per learner, {settings['device']}"
    )


def _medians(result: Result) -> str:
    repeats = result["settings"]["repeats"]
    return "1 round" if repeats == 1 else f"medians of {repeats} rounds"


def _cell(case: Result, column: Column) -> str:
    value = case[column.name]
    if column.name in case["needs_rounds"]:
        return f"needs {MIN_ROUNDS} rounds"
    if value is None:
        return _ABSENT
    noisy = " (too noisy)" if column.name in case["too_noisy"] else ""
    return column.form.format(value) + noisy


def _spread(case: Result, column: Column) -> str:
    spread = case["spread"][column.name]
    return _ABSENT if spread is None else f"{spread:.0%}"


def _rounds(case: Result, column: Column) -> str:
    values = (r.get(column.name) for r in case["rounds"])
    return "  ".join(column.form.format(value) for value in values if value is not None)
