"""The command `gala evaluate`: plays full games with a trained policy, and prints their scores."""

import argparse
import json
from typing import Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.options import add_checkpoint, add_max_steps, count
from gala_rl.cli.parser import add_command
from gala_rl.cli.watch import add_player
from gala_rl.records.metrics import score_text


def add_evaluate(commands: Any) -> None:
    """Add `evaluate` to the commands of `gala`."""
    parser = add_command(
        commands,
        "evaluate",
        "play full games with a trained policy and report raw returns",
        _evaluate,
        "gala evaluate runs/pong",
        "gala evaluate runs/pong --checkpoint best",
        "gala evaluate runs/pong --episodes 30 --policy sample --learner all --json",
    )
    parser.add_argument("run", metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--episodes", type=count, default=10, metavar="N", help="games per policy (default: 10)"
    )
    add_max_steps(parser)
    add_checkpoint(parser, "whose policy plays")
    add_player(parser, "I|all|mean", "one learner, each, or their average (default: mean)")
    parser.add_argument(
        "--video",
        metavar="FILE",
        help="write the first game to a .mp4, .webm or .gif file; needs the extra video",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _evaluate(options: argparse.Namespace) -> int:
    from gala_rl.app import preflight

    preflight.check_evaluation(
        options.run,
        options.episodes,
        options.learner,
        options.seed,
        options.max_steps,
        options.checkpoint,
    )
    from gala_rl.app.evaluate import evaluate

    result = evaluate(
        options.run,
        episodes=options.episodes,
        policy=options.policy,
        learner=options.learner,
        seed=options.seed,
        max_steps=options.max_steps,
        checkpoint=options.checkpoint,
        video=options.video,
    )
    code = 130 if result["interrupted"] else 0
    if options.json:
        options.document = json.dumps(result, indent=2)
        return code
    _print_evaluation(result)
    return code


def _print_evaluation(result: dict[str, Any]) -> None:
    actions = "most probable actions" if result["policy"] == "greedy" else "sampled actions"
    rows, wanted = result["results"], result["episodes"]
    cut = sum(row["games_cut"] for row in rows)
    columns = {
        "learner": [row["learner"] for row in rows],
        "games": [f"{len(row['returns']):,}" for row in rows],
        **({"cut": [f"{row['games_cut']:,}" for row in rows]} if cut else {}),
        **{
            label: ["–" if row[name] is None else score_text(row[name]) for row in rows]
            for label, name in (
                ("mean", "mean_return"),
                ("standard error", "standard_error"),
                ("min", "min"),
                ("max", "max"),
            )
        },
    }
    if rows:
        print_table(
            f"{result['env']}, {result['agent_steps']:,} agent steps, {actions}, raw returns",
            list(columns),
            [list(cells) for cells in zip(*columns.values(), strict=True)],
        )
    if cut:
        say(
            f"games cut after {result['max_steps']:,} agent steps (--max-steps): {cut:,}; each "
            f"counts with its score so far"
        )
    if failures := sum(row["simulator_failures"] for row in rows):
        say(f"simulator failures: {failures}; a game that one ended counts with its score so far")
    if video := result.get("video"):
        seconds = video["images"] / video["images_per_second"]
        say(f"video: {video['file']}, {seconds:,.0f} s, score {score_text(video['score'])}")
        if video["score"] != rows[0]["returns"][0]:
            say("the game in the video has another score: its environment ignores the seed")
    if result["interrupted"]:
        why = "long games are missing above" if rows else "--max-steps cuts long ones"
        say(f"stopped before all {wanted:,} games of each policy were over: {why}")
