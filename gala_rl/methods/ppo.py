"""PPO: one learner, all simulators in step, several epochs of minibatches on each rollout."""

from gala_rl.config.settings import PPOSettings
from gala_rl.methods.method import Method
from gala_rl.spaces import EnvKind


def default_simulators(kind: EnvKind) -> int:
    """As many as the paper has: 8 for Atari games, 1 for continuous control."""
    return 1 if kind == "continuous" else 8


def settings(kind: EnvKind) -> PPOSettings:
    """Those of Baselines' ppo2 for Atari and MuJoCo, which are the paper's but for details."""
    match kind:
        case "atari":
            return PPOSettings()
        case "discrete":
            return PPOSettings(
                epochs=10, clip_range=0.2, learning_rate=1e-3, anneal_clip_range=False
            )
        case "continuous":
            return PPOSettings(
                rollout_steps=2048,
                epochs=10,
                minibatches=32,
                clip_range=0.2,
                anneal_clip_range=False,
                learning_rate=3e-4,
                entropy_cost=0.0,
                normalize_observations=True,
                normalize_rewards=True,
            )


METHOD = Method(
    name="ppo",
    title="proximal policy optimisation",
    paper="Schulman et al. 2017, arXiv 1707.06347; values: OpenAI Baselines ppo2, 2017",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=default_simulators,
    settings=settings,
)
