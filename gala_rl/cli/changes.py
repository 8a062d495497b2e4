"""Options of `gala resume`: settings that may change, and one line for each that may not."""

import dataclasses
from typing import Any, get_type_hints

from gala_rl.cli.options import add_setting
from gala_rl.config.changes import CHANGEABLE, why_fixed
from gala_rl.config.settings import AlgorithmSettings, AtariProtocol, GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.methods import ALGORITHMS


def add_changes(parser: Any) -> None:
    """Add an option for each setting that may change; where None is a value, it takes `none`."""
    text = "settings that may change; config.json records each change"
    titles = {"": "run", "gossip": "gossip", "algorithm": "algorithm", "some": "only some methods"}
    groups = {name: parser.add_argument_group(title, text) for name, title in titles.items()}
    added = set[str]()
    for table, kind in (("", TrainConfig), ("gossip", GossipSettings), *_algorithms()):
        for entry in dataclasses.fields(kind):
            name = f"{table}.{entry.name}".removeprefix(".")
            if name in CHANGEABLE - added:
                added.add(name)
                hint = get_type_hints(kind)[entry.name]
                is_of_all = hasattr(AlgorithmSettings, entry.name) or table != "algorithm"
                group = groups[table if is_of_all else "some"]
                add_setting(group, entry, hint, "as before", table, may_be_none=True)
    parser.explain_unknown = _why_fixed


def _algorithms() -> list[tuple[str, Any]]:
    return [("algorithm", kind) for kind in ALGORITHMS.values()]


def _why_fixed(option: str) -> str | None:
    """Return why an option of `gala train` is none of `gala resume`; None for any other."""
    tables = (("", TrainConfig), ("atari", AtariProtocol), ("gossip", GossipSettings))
    for table, kind in (*tables, *_algorithms()):
        for entry in dataclasses.fields(kind):
            flag = entry.metadata.get("flag") or f"--{entry.name.replace('_', '-')}"
            if option in (flag, flag.replace("--", "--no-", 1)):
                why = why_fixed(f"{table}.{entry.name}")
                return f"option {option} cannot change when a run is resumed: {why}"
    return None
