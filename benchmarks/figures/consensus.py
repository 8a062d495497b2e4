"""Distance between learners over the training of a run, between its prediction and its bounds.

    python -m benchmarks.figures.consensus RUN --out benchmarks/results/consensus

RUN is the folder of a run with a `metrics/consensus.jsonl`; the result names the run's machine,
versions and commit, and has its settings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import draw, results
from gala_rl.records.files import read_json
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder

ROWS = 400
"""Number of rows kept, evenly spread: more than a figure shows."""


def thinned(rows: Sequence[dict[str, Any]], most: int = ROWS) -> list[dict[str, Any]]:
    """Return at most this many rows, evenly spread, with the first and the last."""
    if len(rows) <= most:
        return list(rows)
    return [rows[k * (len(rows) - 1) // (most - 1)] for k in range(most)]


def violations(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many rows are above each of their bounds."""
    pairs = {
        "consensus_span_bound": "consensus_span",
        "consensus_rms_bound": "consensus_rms",
        "consensus_rms_nominal_bound": "consensus_rms",
    }
    return {
        bound: sum(row[measured] > row[bound] for row in rows if row.get(bound) is not None)
        for bound, measured in pairs.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Write the figure's folder from the run's."""
    parser = results.parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    options = parser.parse_args(arguments)
    run = RunFolder(options.run)
    config, rows = (
        run.read_config(),
        MetricsReader(run.path / "metrics" / "consensus.jsonl").new_rows(),
    )
    if not rows:
        parser.error(f"run {run.path} has no rows of consensus")
    title = (
        f"{config.method} on {config.env}, {config.learners} x {config.simulators} simulators, "
        f"{config.gossip.topology_name}"
    )
    result = {
        "title": title,
        "rows": thinned(rows),
        "rows_in_all": len(rows),
        "violations": violations(rows),
        **read_json(run.config_file),
    }
    result["config"]["out"] = None
    # The folder of the run is of no use to anybody else.
    command = ["RUN", "--out", str(options.out)]
    results.write(options.out, "consensus", command, result, draw.consensus(rows, title))


if __name__ == "__main__":
    main(sys.argv[1:])
