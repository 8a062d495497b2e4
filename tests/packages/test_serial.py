"""Many environments of other packages: trained, saved, resumed and evaluated for a few steps."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gala_rl import TrainConfig, evaluate, resume, train
from gala_rl.errors import SimulatorFailure
from gala_rl.records.run_folder import RunFolder
from tests.packages import SUMMED
from tests.support.run_records import ascending_rows

pytestmark = [
    pytest.mark.environments,
    # Theirs, not ours.
    pytest.mark.filterwarnings("ignore"),
]

CONFIG = TrainConfig(method="gala-a2c", simulators=1, steps=20, serial=True, log_every=1)

POPGYM = (
    "Autoencode",
    "Battleship",
    "Concentration",
    "CountRecall",
    "HigherLower",
    "LabyrinthEscape",
    "LabyrinthExplore",
    "MineSweeper",
    "MultiarmedBandit",
    "NoisyPositionOnlyCartPole",
    "NoisyPositionOnlyPendulum",
    "PositionOnlyCartPole",
    "PositionOnlyPendulum",
    "RepeatFirst",
    "RepeatPrevious",
    "VelocityOnlyCartpole",
)
IDS = (
    *(f"popgym:popgym-{name}{level}-v0" for name in POPGYM for level in ("Easy", "Medium", "Hard")),
    *(f"tests.packages:Summed-{name}" for name in SUMMED),
    pytest.param("highway_env:highway-v0", marks=pytest.mark.timeout(900)),
    *(f"highway_env:{name}-v0" for name in ("lane-keeping", "merge", "parking", "racetrack")),
    *(f"panda_gym:Panda{name}-v3" for name in ("PickAndPlaceJointsDense", "Reach", "Stack")),
    "flappy_bird_gymnasium:FlappyBird-v0",
    *(f"minigrid:MiniGrid-{name}-v0" for name in ("Empty-5x5", "LavaGapS5", "Fetch-5x5-N2")),
    "BipedalWalker-v3",
    "LunarLander-v3",
    "Ant-v5",
    "HalfCheetah-v5",
    "Humanoid-v5",
    "InvertedDoublePendulum-v5",
    "Pusher-v5",
)


@pytest.mark.parametrize("env", IDS)
def test_it_is_trained_resumed_and_evaluated(env: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    quiet = Console(file=io.StringIO())
    config = replace(CONFIG, env=env, learners=2, out=str(folder))
    assert train(config, quiet)["agent_steps"] >= 20
    assert resume(folder, 40, quiet)["agent_steps"] >= 40
    for rank in range(2):
        rows = ascending_rows(RunFolder(folder), rank)
        assert rows
        assert rows[-1]["simulator_failures"] == 0
    (result,) = evaluate(folder, episodes=1, max_steps=100)["results"]
    assert np.isfinite(result["returns"]).tolist() == [True]
    assert result["simulator_failures"] == 0


def test_rewards_of_several_objectives_are_refused_with_their_shape(tmp_path: Path) -> None:
    env = "mo_gymnasium:deep-sea-treasure-v0"
    config = replace(CONFIG, env=env, out=str(tmp_path / "run"))
    with pytest.raises(SimulatorFailure, match=r"reward has shape \(2,\)"):
        train(config, Console(file=io.StringIO()))
