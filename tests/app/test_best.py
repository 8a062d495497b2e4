"""A run keeps its best checkpoint, which can be evaluated and continued, as any other can."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gala_lab.main import main
from gala_rl.app.evaluate import evaluate, load_network
from gala_rl.app.train import resume, train
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records.best import best_folder, read_score
from gala_rl.records.files import read_json
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder, agent_steps_of, checkpoint_folders
from tests.support.run_records import newest

QUIET = Console(quiet=True)
CONFIG = TrainConfig(
    method="gala-a2c",
    env="tests.environments:Counting-v0",
    learners=2,
    simulators=2,
    log_every=1,
    steps=2_000,
    checkpoint_every=0.2,
    checkpoints_kept=1_000,
    serial=True,
)


def test_the_best_checkpoint_of_a_run_is_played_and_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(replace(CONFIG, out=str(run)), QUIET)
    folder = RunFolder(run)
    score = read_score(folder.checkpoints)
    assert score is not None
    assert (score["mean_return"], score["by"]) == (28.0, "training")
    steps = [agent_steps_of(path) for path in checkpoint_folders(folder.checkpoints)]
    assert score["agent_steps"] in steps, "the first of equal ones"
    assert score["agent_steps"] < newest(folder).agent_steps

    result = evaluate(run, episodes=2, checkpoint="best", console=QUIET)
    assert (result["checkpoint"], result["agent_steps"]) == ("best", score["agent_steps"])
    own, last = (load_network(run, checkpoint=name) for name in ("best", "newest"))
    with_steps = load_network(run, checkpoint=score["agent_steps"])
    for mine, same, other in zip(
        own.parameters(), with_steps.parameters(), last.parameters(), strict=True
    ):
        assert torch.equal(mine, same)
        assert not torch.equal(mine, other)
    assert main(["evaluate", str(run), "--episodes", "1", "--checkpoint", "7"]) == 2
    assert "has no checkpoint of 7 agent steps: it has " in capsys.readouterr().err

    resume(run, checkpoint="best", console=QUIET)
    (entry,) = read_json(folder.config_file)["resumes"]
    assert entry["agent_steps"] == score["agent_steps"]
    aside = {agent_steps_of(path) for path in (folder.earlier / "1").iterdir()}
    assert aside == {made for made in steps if made > score["agent_steps"]}
    rows = MetricsReader(folder.metrics_file(0)).new_rows()
    made = [row["agent_steps"] for row in rows]
    assert made == sorted(set(made)), "rows after the best checkpoint have been removed"
    assert newest(folder).agent_steps >= (CONFIG.steps or 0) > 0


def test_a_run_of_few_games_has_no_best_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(replace(CONFIG, steps=100, out=str(run)), QUIET)
    assert not best_folder(RunFolder(run).checkpoints).exists()
    with pytest.raises(UserError, match="has no best checkpoint yet"):
        resume(run, 200, QUIET, checkpoint="best")
