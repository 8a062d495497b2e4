"""The plan of a comparison: which runs with which settings; checked before any run starts."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypedDict

from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.variants import Variant, folder_name, read_variant
from gala_rl.checks import check_rows
from gala_rl.checks.config import check_resolved
from gala_rl.checks.unused import unused_rows
from gala_rl.config import fields
from gala_rl.config.resolved import RULE_SIMULATORS, ResolvedConfig
from gala_rl.config.settings import AlgorithmSettings, GossipSettings
from gala_rl.config.train import TrainConfig, from_dict, to_dict
from gala_rl.decode import Count, Rule, decode
from gala_rl.envs import read_environment
from gala_rl.errors import UserError
from gala_rl.methods import algorithms_of, find
from gala_rl.methods.resolving import algorithm_of, learners_of, resolve
from gala_rl.records.files import read_json, write_json
from gala_rl.records.provenance import provenance
from gala_rl.records.run_folder import RunFolder
from gala_rl.spaces import EnvironmentSpec

FILE = "compare.json"
"""File in the folder of a comparison: its arguments, machine and versions."""

MAX_SEEDS = 1_000
_ROWS = 200
"""Approximate number of metrics rows per run, so that its curve is smooth."""

Settings = Literal["published", "equal"]


class _Call(TypedDict):
    at_once: Count


class Record(TypedDict):
    """Content of `compare.json`, as far as it is read; every call may add methods and seeds."""

    methods: dict[str, Any]
    seeds: list[Any]
    calls: Annotated[list[_Call], Rule("a list of calls", bool)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Methods, settings and seeds of a comparison.

    Attributes:
        folder: folder of the comparison.
        configs: resolved config per method; `run` sets the seed and the folder of a run.
        options: how the methods are compared.
        names: names of the methods, with settings of their own; empty: they have none.
    """

    folder: Path
    configs: tuple[ResolvedConfig, ...]
    options: CompareOptions
    names: tuple[str, ...] = ()

    @property
    def methods(self) -> dict[str, ResolvedConfig]:
        """Config per name, in the order in which they were given."""
        names = self.names or [config.method for config in self.configs]
        return dict(zip(names, self.configs, strict=True))

    @property
    def seeds(self) -> range:
        """Seeds that every method is trained with."""
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def runs(self) -> list[ResolvedConfig]:
        """Config of each run in the order of training: all methods with a seed, then the next."""
        return [self.run(name, seed) for seed in self.seeds for name in self.methods]

    def run(self, name: str, seed: int) -> ResolvedConfig:
        """Return the config of a method's run with that seed."""
        out = self.folder / "runs" / f"{folder_name(name)}-seed-{seed}"
        return replace(self.methods[name], seed=seed, out=str(out))


def configs_of(
    config: TrainConfig,
    methods: Sequence[str],
    *,
    simulators_total: int | None = None,
    settings: Settings = "published",
    algorithm: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[ResolvedConfig, ...]:
    """Return the config of each method: equal budgets, equal protocol, equal simulators in all.

    Args:
        config: settings of all methods; `learners` is for those that train several.
        methods: names, perhaps with settings: see `read_variant`.
        simulators_total: simulators per method, over all its learners; None: 16, or the next
            larger number that every method's learners divide.
        settings: "equal" gives the other methods the first method's values of shared settings.
        algorithm: settings of algorithms, for all methods that have them.

    Raises:
        UserError: when a method is unknown or cannot be trained so.
    """
    fields.check(config)
    for name in methods:
        if methods.count(name) > 1:
            raise UserError(f"method {name!r} is named twice: name each once")
    variants = [read_variant(name) for name in methods]
    alone = [find(variant.method).sharing == "nothing" for variant in variants]
    several = [
        # Where all methods have one learner, `learners` is a mistake, which `resolve` reports.
        variant.applied_to(
            replace(config, learners=None if one and not all(alone) else config.learners)
        )
        for variant, one in zip(variants, alone, strict=True)
    ]
    learners = [learners_of(one) for one in several]
    total = _total(methods, learners, simulators_total)
    several = [
        replace(one, learners=count, simulators=total // count)
        for one, count in zip(several, learners, strict=True)
    ]
    if any(find(one.method).gossips for one in several):
        several = [one if find(one.method).gossips else _without_graph(one) for one in several]
    environment = read_environment(config.source)
    # A preset fits itself to the number of simulators.
    several = [
        _with_settings(one, algorithm, variant, [v.method for v in variants], environment)
        for one, variant in zip(several, variants, strict=True)
    ]
    if settings == "equal":
        several[1:] = [
            share(several[0], one, variant.algorithm)
            for one, variant in zip(several[1:], variants[1:], strict=True)
        ]
    # What depends on a learner's simulators and cores is filled in last.
    return tuple(resolve(one, environment=environment) for one in several)


def _with_settings(
    config: TrainConfig,
    algorithm: Mapping[str, Any],
    variant: Variant,
    methods: Sequence[str],
    environment: EnvironmentSpec,
) -> TrainConfig:
    """Return the config with those settings that its algorithm has; refuse what no method has."""
    known = {name: _names(find(name).settings(environment.kind)) for name in methods}
    others = set().union(*known.values()) - known[config.method]
    given = {name: value for name, value in algorithm.items() if name not in others}
    given |= variant.algorithm
    return replace(config, algorithm=algorithm_of(config, given, environment))


def _names(settings: AlgorithmSettings) -> set[str]:
    return {entry.name for entry in dataclasses.fields(settings)}


def _without_graph(config: TrainConfig) -> TrainConfig:
    """Drop edges and nodes that are meant for the methods that gossip."""
    gossip = replace(config.gossip, topology=GossipSettings().topology)
    return replace(config, learners_per_node=None, gossip=gossip)


def _total(methods: Sequence[str], learners: Sequence[int], wanted: int | None) -> int:
    divisor = math.lcm(*learners)
    if wanted is None:
        return divisor * math.ceil(RULE_SIMULATORS / divisor)
    for method, count in zip(methods, learners, strict=True):
        if wanted % count:
            raise UserError(
                f"simulators_total {wanted} cannot be shared by the {count} learners of "
                f"{method}: use a multiple of {divisor}, or other --learners"
            )
    return wanted


def share(first: TrainConfig, other: TrainConfig, own: Mapping[str, Any]) -> TrainConfig:
    """Return the other config with the first's values of the algorithm's settings both have.

    Args:
        first: config of the first method.
        other: config of another method.
        own: settings that were given for the other method alone, which it keeps.
    """
    source, target = first.algorithm, other.algorithm
    assert source is not None
    assert target is not None
    both = _names(source) & _names(target) - set(own)
    values = {name: getattr(source, name) for name in both}
    return replace(other, algorithm=replace(target, **values))


def with_many_rows(config: ResolvedConfig) -> ResolvedConfig:
    """Return the config with metrics rows often enough for a smooth curve."""
    updates = config.steps // (config.learners * config.update_agent_steps)
    return replace(config, log_every=min(config.updates_per_row, max(1, updates // _ROWS)))


def check(plan: Plan) -> None:
    """Raise a UserError if a run cannot be trained, or something else is in the plan's folder."""
    seeds, max_steps = plan.options.seeds, plan.options.max_steps
    check_rows(
        [
            (
                not 1 <= seeds <= MAX_SEEDS,
                f"seeds {seeds:,} is impossible: it must be from 1 to {MAX_SEEDS:,}",
            ),
            (
                max_steps is not None and not plan.options.episodes,
                f"max_steps {max_steps} cuts games of evaluation: give --episodes too",
            ),
        ]
    )
    is_new = not (plan.folder / FILE).is_file()  # Older comparisons may have unused options.
    for config in plan.configs:
        for seed in (plan.seeds[0], plan.seeds[-1]):
            fields.check(replace(config, seed=seed))
        check_resolved(config)
        # Options for gossip are for the methods that gossip, if there is one.
        is_for_another = any(find(other.method).gossips for other in plan.configs)
        own = replace(config, gossip=GossipSettings()) if is_for_another else config
        if is_new:
            check_rows(unused_rows(own))
        if config.steps < config.total_simulators:
            raise UserError(
                f"steps {config.steps} is too small: {config.total_simulators} simulators make "
                f"more in one step"
            )
    _check_folder(plan)


def _check_folder(plan: Plan) -> None:
    """Refuse every change of a comparison except additional methods and seeds."""
    folder, file = RunFolder(plan.folder), plan.folder / FILE
    if not file.is_file():
        folder.check_unused()
        return
    folder.check_unlocked()
    before = read_record(file)
    new = plan.methods
    for name, values in before["methods"].items():
        if name not in new:
            raise UserError(
                f"method {name} is left out, which comparison {plan.folder} has: name it too, or "
                f"choose another --out"
            )
        if (found := _difference(from_dict(values, algorithms_of(values)), new[name])) is not None:
            raise UserError(
                f"{found[0]} {found[2]} of {name} is not what comparison {plan.folder} was started "
                f"with ({found[1]}): give it as before, or choose another --out"
            )
    for seed in before["seeds"]:
        if seed not in plan.seeds:
            raise UserError(
                f"seed {seed} is left out, which comparison {plan.folder} has: ask for more "
                f"--seeds, or choose another --out"
            )


def _difference(old: Any, new: Any, prefix: str = "") -> tuple[str, Any, Any] | None:
    """Return name, old and new value of the first setting that differs, but for seed and folder."""
    for entry in dataclasses.fields(old):
        left, right = getattr(old, entry.name), getattr(new, entry.name)
        name = f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(left) and type(left) is type(right):
            if (found := _difference(left, right, f"{name}.")) is not None:
                return found
        elif left != right and name not in ("seed", "out"):
            return name, left, right
    return None


def read_record(file: Path) -> Record:
    """Return what `record` wrote.

    Raises:
        UserError: when the file holds something else.
    """
    content = read_json(file)
    try:
        return decode(Record, content, str(file))
    except UserError as error:
        raise UserError(f"{file} is not that of a comparison: choose another --out") from error


def record(plan: Plan) -> None:
    """Write the arguments, the time and the machine into the plan's folder.

    Raises:
        StorageError: when it cannot be written.
    """
    file, options = plan.folder / FILE, plan.options
    calls = read_record(file)["calls"] if file.is_file() else []
    write_json(
        file,
        {
            "methods": {name: to_dict(config) for name, config in plan.methods.items()},
            "seeds": list(plan.seeds),
            "settings": options.settings,
            "threshold": options.threshold,
            "episodes": options.episodes,
            "max_steps": options.max_steps,
            "calls": [*calls, {"at_once": options.at_once, **provenance()}],
        },
    )
