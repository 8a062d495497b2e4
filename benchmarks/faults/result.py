"""Prints and saves the result of a benchmark of faults as JSON with its provenance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gala_rl.records.provenance import provenance


def publish(found: Mapping[str, Any], out: Path | None) -> None:
    """Print it with versions, machine and commit, and write it to a file if there is one."""
    text = json.dumps({**found, **provenance()}, indent=2)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
