"""What an actor saw and remembered is what a replay shows, from real games and across rollouts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import Simulators, make_simulators
from gala_rl.envs.atari import AtariSimulators
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.replay import ReplaySettings, SequenceReplay, TransitionReplay
from gala_rl.replay.replay import Replay
from gala_rl.spaces import ObservationSpec
from tests.support.acting import LENGTH

STEPS, COUNT = 40, 2


class Drifter(ActorCritic):
    """Acts at random; a state, if any, is the number of steps of the episode so far."""

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: object = None,
    ) -> Tensor:
        if state is not None:
            state += 1.0
        return torch.randint(0, 4, (len(observations),), generator=generator)

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        return torch.zeros(len(observations))


class Recorded:
    """Adds an actor's rollouts to a replay and remembers what was seen at which position."""

    def __init__(self, simulators: Simulators, lstm_size: int | None = None) -> None:
        network = Drifter(simulators.observation, simulators.action, lstm_size=lstm_size)
        self.actor = Actor(simulators, network, STEPS, seed=0, for_replay=True)
        self.seen: dict[tuple[int, int], Tensor] = {}
        self.ends = {"lost life": 0, "truncated": 0, "game over": 0}

    def add(self, replay: Replay) -> None:
        ring = replay._ring
        heads = ring.cursor.heads.copy()
        rollout = self.actor.collect()
        replay.add(rollout)
        games = len(self.actor.episodes)
        self.actor.episodes.clear()
        finals = rollout.final_observations
        assert finals is not None
        self.ends["truncated"] += int(rollout.truncated.sum())
        self.ends["game over"] += games - int(rollout.truncated.sum())
        self.ends["lost life"] += int(rollout.terminated.sum() + rollout.truncated.sum()) - games
        for b in range(COUNT):
            positions = np.arange(heads[b], ring.cursor.heads[b])
            rings = np.full_like(positions, b)
            steps = positions[ring.read("offsets", rings, positions) >= 0].tolist()
            assert len(steps) == STEPS
            for t, position in enumerate(steps):
                self.seen[b, position] = rollout.observations[t, b].clone()
                if rollout.truncated[t, b]:
                    self.seen[b, position + 1] = finals[t, b].clone()


def settings(observation: ObservationSpec, slots: int, **others: int) -> ReplaySettings:
    return ReplaySettings(
        size=slots * COUNT, simulators=COUNT, observation=observation, n_steps=3, **others
    )


@pytest.mark.parametrize("grayscale", [True, False])
@pytest.mark.parametrize(
    ("game", "frames", "ends"),
    [
        ("BreakoutNoFrameskip-v4", 108_000, {"lost life", "game over"}),
        ("BreakoutNoFrameskip-v4", 420, {"lost life", "truncated"}),
    ],
)
def test_stacks_are_exactly_what_the_actor_saw_in_atari(
    game: str, frames: int, ends: set[str], grayscale: bool
) -> None:
    protocol = AtariProtocol(max_episode_frames=frames, grayscale=grayscale)
    simulators = AtariSimulators(EnvironmentSource(game, atari=protocol), COUNT, 1, True)
    recorded = Recorded(simulators)
    # Zero images are not stored, so that hardly a slot is lost; the ring wraps around.
    replay = TransitionReplay(settings(simulators.observation, 150, frame_stack=4))
    for turn in range(12):
        recorded.add(replay)
        batch = replay.sample(2 * replay.items, np.random.default_rng(turn))
        keys = zip(batch.keys.simulator.tolist(), batch.keys.position.tolist(), strict=True)
        for i, (b, position) in enumerate(keys):
            assert torch.equal(batch.observations[i], recorded.seen[b, position])
            if batch.discounts[i] > 0:
                steps = round(np.log(batch.discounts[i].item()) / np.log(0.99))
                following = recorded.seen[b, position + steps]
                assert torch.equal(batch.next_observations[i], following)
    assert {name for name, count in recorded.ends.items() if count} == ends
    padding = int(replay._ring.cursor.heads.sum()) - 12 * STEPS * COUNT
    assert padding == recorded.ends["truncated"]


def test_states_are_those_before_the_first_rows() -> None:
    source = EnvironmentSource("tests.environments:CountingTruncated-v0")
    simulators = make_simulators(source, COUNT, 1)
    recorded = Recorded(simulators, lstm_size=1)
    chosen = settings(simulators.observation, 100, state_size=2, burn_in=2, learned_steps=3)
    replay = SequenceReplay(chosen)
    for turn in range(6):
        recorded.add(replay)
        batch = replay.sample(100, np.random.default_rng(turn))
        first_steps = batch.observations[chosen.burn_in, :, 1]
        assert set(first_steps.tolist()) == {0.0, 3.0, 6.0}
        for i, step in enumerate(first_steps.tolist()):
            assert batch.state[i].tolist() == [max(0.0, step - 2)] * 2
            rows = batch.observations[:, i]
            shown = [step + r for r in range(-2, 6) if 0 <= step + r <= LENGTH]
            assert rows[rows.any(dim=1), 1].tolist() == shown
