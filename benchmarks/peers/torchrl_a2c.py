"""TorchRL A2C on EnvPool's C++ simulators, the fastest that TorchRL offers for Atari games."""

import argparse
import dataclasses
import os
from importlib.metadata import version

# PyTorch's threads would spin on the cores that the simulators' threads need; read at import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.envs import MultiThreadedEnv
from torchrl.envs.libs.gym import set_gym_backend
from torchrl.modules import ActorValueOperator, ProbabilisticActor, ValueOperator
from torchrl.objectives import A2CLoss
from torchrl.objectives.value import GAE

from benchmarks.peers.meter import Meter, Options, options_of, parser_with_options
from benchmarks.peers.network import FEATURES, make_torso
from benchmarks.peers.work import (
    ENV,
    FRAME_SKIP,
    FRAME_STACK,
    IMAGE_SIZE,
    NOOP_MAX,
    Result,
    Work,
    measured_work,
    write_line,
)

ROLLOUT_STEPS = 5
# EnvPool's name for the game; what makes it PongNoFrameskip-v4 are the settings below.
GAME = "Pong-v5"
PROTOCOL = {
    "frame_skip": FRAME_SKIP,
    "stack_num": FRAME_STACK,
    "img_height": IMAGE_SIZE,
    "img_width": IMAGE_SIZE,
    "gray_scale": True,
    "noop_max": NOOP_MAX,
    "use_fire_reset": True,
    "episodic_life": True,
    "reward_clip": True,
    "repeat_action_probability": 0.0,
}


class Simulators(MultiThreadedEnv):
    """TorchRL's EnvPool environment, on Gymnasium: as released it insists on the old Gym."""

    def _make_specs(self, env: object) -> None:
        with set_gym_backend("gymnasium"):
            self.action_spec = self._get_action_spec()
            self.observation_spec = self._get_observation_spec()
            self.reward_spec = self._get_reward_spec()
            self.done_spec = self._get_done_spec()


class Torso(torch.nn.Module):
    """Bytes to features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = make_torso(FRAME_STACK)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[..., 4, 84, 84] uint8 → [..., 512]."""
        batch = images.shape[:-3]
        features: torch.Tensor = self.layers(images.flatten(0, -4) / 255.0)
        return features.reshape(*batch, FEATURES)


def make_actor_critic(actions: int) -> ActorValueOperator:
    """A policy and a value on one torso."""
    logits = TensorDictModule(torch.nn.Linear(FEATURES, actions), ["features"], ["logits"])
    return ActorValueOperator(
        TensorDictModule(Torso(), ["observation"], ["features"]),
        ProbabilisticActor(
            logits,
            in_keys=["logits"],
            distribution_class=Categorical,
            default_interaction_type="random",
        ),
        ValueOperator(torch.nn.Linear(FEATURES, 1), in_keys=["features"]),
    )


class Learner:
    """One update a rollout with TorchRL's loss and advantage."""

    def __init__(self, model: ActorValueOperator) -> None:
        self._critic = model.get_value_operator()
        # Values come with the rollout: without a network of its own, GAE repeats no pass.
        self._advantage = GAE(gamma=0.99, lmbda=1.0, value_network=None)
        self._loss = A2CLoss(
            model.get_policy_operator(),
            self._critic,
            entropy_coeff=0.01,
            critic_coeff=0.5,
            loss_critic_type="l2",
        )
        self._parameters = list(model.parameters())
        self._optimizer = torch.optim.RMSprop(self._parameters, lr=7e-4, alpha=0.99, eps=1e-5)

    def update(self, rollout: TensorDict) -> None:
        """Learn from a rollout [B, T] that holds the values of its observations."""
        following = rollout["next"]
        for key in ("reward", "done", "terminated"):
            following[key] = following[key].unsqueeze(-1)
        with torch.no_grad():
            last = self._critic(following[:, -1:].select("observation"))["state_value"]
        # EnvPool's next observation is always the one acted on next, also across an end.
        following["state_value"] = torch.cat([rollout["state_value"][:, 1:], last], dim=1)
        rollout = self._advantage(rollout)
        losses = self._loss(rollout.reshape(-1))
        total = losses["loss_objective"] + losses["loss_entropy"] + losses["loss_critic"]
        self._optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 0.5)
        self._optimizer.step()


def work_of(model: ActorValueOperator, simulators: Simulators) -> Work:
    """Return what is trained on what; EnvPool reports the protocol that it was given."""
    config = simulators._env.config
    assert {name: config[name] for name in PROTOCOL} == PROTOCOL
    return measured_work(
        env=ENV,
        simulators=config["num_envs"],
        observation=simulators.observation_spec["observation"].shape[1:],
        frame_skip=config["frame_skip"],
        sticky_actions=config["repeat_action_probability"],
        model=model,
    )


def run(options: Options, threads: int) -> Result:
    """Train until the meter has seen enough."""
    torch.set_num_threads(threads)
    simulators = Simulators(
        num_workers=options.simulators,
        env_name=GAME,
        create_env_kwargs=PROTOCOL | {"num_threads": threads},
    )
    model = make_actor_critic(simulators.action_spec.space.n)
    learner, meter = Learner(model), Meter(options)
    collector = Collector(
        simulators,
        model,
        frames_per_batch=options.simulators * ROLLOUT_STEPS,
        total_frames=-1,
        auto_register_policy_transforms=False,
    )
    work, trained = work_of(model, simulators), 0
    for rollout in collector:
        learner.update(rollout)
        trained += rollout.numel()
        if meter.record(trained):
            break
    collector.shutdown()
    return Result(
        system="torchrl-a2c",
        version=version("torchrl"),
        work=work,
        settings={
            "algorithm": "A2C",
            "rollout_steps": ROLLOUT_STEPS,
            "simulator_engine": f"envpool {version('envpool')}",
            "simulator_threads": threads,
            "torch_threads": threads,
        },
        notes=("its loss passes through the torso twice, once a head",),
        **dataclasses.asdict(meter.result()),
    )


def main() -> None:
    """Run it and print the result."""
    parser = parser_with_options(argparse.ArgumentParser(description=__doc__))
    # Threads: simulators and network take turns, so each may have both cores.
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch, and of simulators")
    values = parser.parse_args()
    write_line(run(options_of(values), values.threads))


if __name__ == "__main__":
    main()
