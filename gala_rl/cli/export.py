"""The command `gala export`: a trained policy as a file for another runtime."""

import argparse
import json
from typing import Any

from gala_rl.cli.console import say
from gala_rl.cli.options import add_json
from gala_rl.cli.parser import add_command


def add_export(commands: Any) -> None:
    """Add `export` to the commands of `gala`."""
    parser = add_command(
        commands,
        "export",
        "write a trained policy as ONNX or as a program of torch.export",
        _export,
        "gala export runs/pong",
        "gala export runs/pong --format torch --learner 0 --out pong.pt2",
    )
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--format",
        choices=("onnx", "torch"),
        default="onnx",
        help="onnx needs the extra export (default: onnx)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="file to write (default: policy.onnx or policy.pt2 in the folder of the run)",
    )
    parser.add_argument(
        "--learner",
        default="mean",
        metavar="I|mean",
        help="one learner, or the averaged parameters of all (default: mean)",
    )
    add_json(parser, "lines")


def _export(options: argparse.Namespace) -> int:
    from gala_rl.app import preflight

    file = options.out or f"{options.run}/policy{preflight.EXPORT_SUFFIXES[options.format]}"
    preflight.check_export(options.run, file, options.format, options.learner)
    from gala_rl.app.export import export

    result = export(options.run, file, format=options.format, learner=options.learner)
    if options.json:
        options.document = json.dumps(result, indent=2)
        return 0
    for side in ("inputs", "outputs"):
        shown = ", ".join(f"{name} {kind}" for name, kind in result[side].items())
        say(f"{side}: {shown}")
    say(
        f"compared with the network on {result['observations']} observations: largest relative "
        f"difference {result['largest_difference']:.1e}"
    )
    say(f"written: {file}")
    return 0
