"""Share of converging runs, and time to a score, against the number of simulators.

    python -m benchmarks.figures.converging --out benchmarks/results/converging
    python -m benchmarks.figures.converging --processes --simulators 16 32 64 --seeds 5 \
        --out benchmarks/results/time-to-score

`a2c` beside `gala-a2c` with as many simulators in all. By default learners take turns in one
process, which repeats and leaves a core for another run, but says nothing about seconds; with
`--processes` runs have their real form, one at a time on the whole machine. Runs whose rows are
in the folder's `runs.jsonl` are not made again: an interrupted figure goes on where it was.
"""

import sys
from collections.abc import Sequence
from typing import get_args

from benchmarks.figures import draw, results, runs, summary
from gala_rl.config.settings import LearningRateRule
from gala_rl.records.provenance import provenance


def main(arguments: Sequence[str]) -> None:
    """Make what runs are missing, and write the figure's folder."""
    parser = results.parser(__doc__)
    parser.add_argument("--env", default="CartPole-v1", help="Gymnasium id")
    parser.add_argument("--steps", type=int, default=500_000, help="agent steps of a run")
    parser.add_argument("--threshold", type=float, default=475.0, help="mean return to reach")
    parser.add_argument("--simulators", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--seeds", type=int, default=10, help="runs of each kind")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, each on a core")
    parser.add_argument("--processes", action="store_true", help="each learner in its own")
    parser.add_argument("--learning-rate-rule", default="sqrt", choices=get_args(LearningRateRule))
    parser.add_argument("--bias-correction", action="store_true", help="as in gala train")
    options = parser.parse_args(arguments)
    origin = provenance()
    common = {
        "env": options.env,
        "steps": options.steps,
        "threshold": options.threshold,
        "serial": not options.processes,
        "learning_rate_rule": options.learning_rate_rule,
        "bias_correction": options.bias_correction,
    }
    wanted = runs.plan(options.simulators, options.seeds, common)
    workers = 1 if options.processes else options.workers
    rows = runs.make(wanted, options.out / "runs.jsonl", workers, origin["commit"])
    result = {
        **common,
        "commits_of_runs": sorted({str(row["commit"]) for row in rows}),
        "groups": summary.groups(rows),
        **origin,
    }
    picture = draw.time_to_score(result) if options.processes else draw.convergence(result)
    results.write(options.out, "converging", arguments, result, picture)


if __name__ == "__main__":
    main(sys.argv[1:])
