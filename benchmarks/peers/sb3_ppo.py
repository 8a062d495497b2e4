"""Stable-Baselines3 PPO with the epochs, minibatches and simulators of this package's `ppo`."""

from functools import partial

from stable_baselines3 import PPO

from benchmarks.peers.sb3_a2c import parse, run
from benchmarks.peers.work import write_line

ROLLOUT_STEPS, EPOCHS, MINIBATCHES = 128, 4, 4


def main() -> None:
    """Run it and print the result."""
    options, threads = parse(__doc__)
    make_model = partial(
        PPO,
        n_steps=ROLLOUT_STEPS,
        n_epochs=EPOCHS,
        batch_size=ROLLOUT_STEPS * options.simulators // MINIBATCHES,
        learning_rate=2.5e-4,
        clip_range=0.1,
        ent_coef=0.01,
    )
    settings = {"rollout_steps": ROLLOUT_STEPS, "epochs": EPOCHS, "minibatches": MINIBATCHES}
    write_line(run("PPO", make_model, settings, options, threads))


if __name__ == "__main__":
    main()
