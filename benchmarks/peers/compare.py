"""Speed of this package and of its peers at the same work, in turn, in one table.

    benchmarks/peers/install.sh
    python -m benchmarks.peers.compare --out result.json
    python -m benchmarks.peers.compare --ours ppo

Machines are noisy and differ: only a ratio of two runs that stood beside each other in time means
anything, and only with others like it. So every round runs a method of this package right before
each peer, and the table shows the median of the rounds' ratios with its spread.
"""

import argparse
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers.systems import (
    OURS,
    Options,
    RunFailure,
    System,
    run_once,
    systems,
)
from benchmarks.peers.work import Result, Work
from gala_rl.errors import UserError
from gala_rl.records.files import write_json
from gala_rl.records.provenance import provenance

PEERS = {
    OURS: ("a2c", "sb3-a2c", "sample-factory-appo", "torchrl-a2c", "rllib-impala"),
    "ppo": ("sb3-ppo",),
    "gala-ppo": ("ppo", "sb3-ppo"),
}
"""What each method of this package is held against."""
MINIMUM_ROUNDS = 3
NOISE_LIMIT = 0.2
"""Ratios whose middle half is wider than this share of their median conclude nothing.

The middle half, since the full range, which is printed too, only grows with more rounds."""
FAILED, REFUSED = 1, 2


@dataclass(frozen=True)
class Pair:
    """Two runs right after each other."""

    ours: Result
    peer: Result

    @property
    def ratio(self) -> float:
        """How many times as fast this package was."""
        return self.ours.agent_steps_per_s / self.peer.agent_steps_per_s


@dataclass(frozen=True)
class Verdict:
    """What the ratios of one peer say.

    Attributes:
        ratio: median.
        lowest: ratio.
        highest: ratio.
        noise: width of the middle half of the ratios over their median.
        text: in words.
    """

    ratio: float
    lowest: float
    highest: float
    noise: float
    text: str


def chosen(names: Sequence[str], known: Mapping[str, System], options: Options) -> list[System]:
    """The peers of those names.

    Raises:
        UserError: when a comparison of them would be worth nothing, or cannot be made.
    """
    if options.rounds < MINIMUM_ROUNDS:
        raise UserError(
            f"rounds {options.rounds} is too small: one run beside another says nothing on a noisy "
            f"machine; it must be at least {MINIMUM_ROUNDS}"
        )
    for name in names:
        if name not in known or name == options.ours:
            others = ", ".join(n for n in known if n != options.ours)
            raise UserError(f"peer {name!r} is unknown: choose of {others}")
        if not known[name].installed:
            raise UserError(f"peer {name} is not installed: {known[name].remedy}")
    return [known[name] for name in names]


def difference(ours: Work, peer: Work) -> str | None:
    """What makes two pieces of work unlike; None when they are alike."""
    for entry in fields(Work):
        mine, its = getattr(ours, entry.name), getattr(peer, entry.name)
        if mine != its:
            return f"{entry.name} is {mine} here and {its} there"
    return None


def check_alike(pair: Pair) -> None:
    """Raise a UserError unless both did the same work."""
    unlike = difference(pair.ours.work, pair.peer.work)
    if unlike is not None:
        raise UserError(f"{pair.ours.system} and {pair.peer.system} did unlike work: {unlike}")


def verdict(ratios: Sequence[float], ours: str = OURS) -> Verdict:
    """Median, spread and conclusion of paired ratios, of which there are at least three."""
    if len(ratios) < MINIMUM_ROUNDS:
        raise ValueError(f"{len(ratios)} ratios conclude nothing")
    lower, middle, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    noise = (upper - lower) / middle
    if noise > NOISE_LIMIT:
        text = "too noisy to conclude"
    elif min(ratios) <= 1.0 <= max(ratios):
        text = "no clear difference"
    elif middle > 1.0:
        text = f"{ours} is {middle:.2f} times as fast"
    else:
        text = f"{1 / middle:.2f} times as fast as {ours}"
    return Verdict(middle, min(ratios), max(ratios), noise, text)


class Comparison:
    """The pairs of all rounds, and why some peers have too few of them."""

    def __init__(self, peers: Sequence[System]) -> None:
        self.pairs: dict[str, list[Pair]] = {peer.name: [] for peer in peers}
        self.failures: dict[str, str] = {}

    def run_round(self, ours: System, peers: Sequence[System], options: Options) -> None:
        """One pair of every peer that has not failed.

        Raises:
            RunFailure: when this package itself fails.
            UserError: when a peer does other work.
        """
        for peer in peers:
            if peer.name in self.failures:
                continue
            mine = run_once(ours, options)
            try:
                pair = Pair(mine, run_once(peer, options))
            except RunFailure as failure:
                # Not tried again: a peer that hangs would cost its deadline every round.
                self.failures[peer.name] = str(failure)
                continue
            check_alike(pair)
            self.pairs[peer.name].append(pair)

    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdict on each peer that ran in every round."""
        return {
            name: verdict([pair.ratio for pair in pairs], pairs[0].ours.system)
            for name, pairs in self.pairs.items()
            if name not in self.failures
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, each run and each ratio."""
        return {
            "verdicts": {name: asdict(verdict) for name, verdict in self.verdicts().items()},
            "failures": self.failures,
            "pairs": {
                name: [asdict(pair) | {"ratio": pair.ratio} for pair in pairs]
                for name, pairs in self.pairs.items()
            },
        }


def table_of(comparison: Comparison, options: Options) -> Table:
    """The result, a line a system."""
    table = Table(
        title=f"Pong, {options.simulators} simulators, training included, medians of "
        f"{options.rounds} rounds"
    )
    for column in ("system", "version", "agent steps/s", "memory MiB", "cores busy"):
        table.add_column(column, justify="left" if column in ("system", "version") else "right")
    table.add_column(f"{options.ours} / it", justify="right")
    table.add_column("spread", justify="right")
    table.add_column("verdict")
    verdicts = comparison.verdicts()
    ours = [pair.ours for pairs in comparison.pairs.values() for pair in pairs]
    if ours:
        table.add_row(*_figures(ours), "", "", "")
    for name, pairs in comparison.pairs.items():
        if name in comparison.failures:
            table.add_row(name, *[""] * 6, f"failed: {comparison.failures[name]}")
            continue
        v = verdicts[name]
        spread = f"{v.lowest:.2f}…{v.highest:.2f}"
        table.add_row(*_figures([p.peer for p in pairs]), f"{v.ratio:.2f}", spread, v.text)
    return table


def _figures(results: Sequence[Result]) -> tuple[str, ...]:
    return (
        results[0].system,
        results[0].version,
        f"{statistics.median(r.agent_steps_per_s for r in results):,.0f}",
        f"{statistics.median(r.resident_mib for r in results):,.0f}",
        f"{100 * statistics.median(r.cpu_utilisation for r in results):.0f} %",
    )


def compare(
    ours: System, peers: Sequence[System], options: Options, console: Console
) -> Comparison:
    """All rounds, one after the other."""
    comparison = Comparison(peers)
    for number in range(options.rounds):
        with console.status(f"round {number + 1} of {options.rounds}"):
            comparison.run_round(ours, peers, options)
    return comparison


def _parser(known: Mapping[str, System]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join(known)
    parser.add_argument("--ours", choices=PEERS, default=OURS, help="method of this package")
    parser.add_argument(
        "--peers", help=f"of {names}; with commas (default: those of its algorithm)"
    )
    parser.add_argument("--simulators", type=int, default=32, help="of each system in all")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each measurement")
    parser.add_argument("--warm-up-seconds", type=float, default=15.0, help="before each")
    parser.add_argument("--rounds", type=int, default=5, help="at least 3")
    parser.add_argument("--out", type=Path, help="JSON file for all that was measured")
    return parser


def main(arguments: Sequence[str] | None = None, known: Mapping[str, System] | None = None) -> int:
    """Compare and print; returns 0, 1 when a system failed, 2 when the comparison was refused."""
    known = systems() if known is None else known
    values = _parser(known).parse_args(arguments)
    options = Options(
        values.simulators, values.seconds, values.warm_up_seconds, values.rounds, values.ours
    )
    names = PEERS[options.ours] if values.peers is None else values.peers.split(",")
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        peers = chosen(names, known, options)
        if values.out is not None and not values.out.absolute().parent.is_dir():
            raise UserError(f"out {values.out} cannot be written: there is no such folder")
        comparison = compare(known[options.ours], peers, options, console)
    except UserError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return REFUSED
    except RunFailure as failure:
        print(f"compare.py: {options.ours} itself failed: {failure}", file=sys.stderr)
        return FAILED
    console.print(table_of(comparison, options))
    if values.out is not None:
        write_json(values.out, asdict(options) | comparison.to_dict() | provenance())
    return FAILED if comparison.failures else 0


if __name__ == "__main__":
    # As an exception, so that the run in hand is killed too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
