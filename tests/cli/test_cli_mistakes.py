"""The command line: one line for every mistake, which names it, and nothing written for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gala_lab.main import main
from tests.support.run_folders import fake_run, tree

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bit of everything to get wrong; the working directory."""
    fake_run(tmp_path / "ended", agent_steps=400)
    fake_run(tmp_path / "unborn", agent_steps=None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    topologies = {
        "text.json": "not JSON",
        "object.json": '{"a": 1}',
        "triple.json": "[[0, 1, 2]]",
        "outside.json": "[[0, 1], [1, 9]]",
        "loop.json": "[[0, 0], [0, 1], [1, 0]]",
        "twice.json": "[[0, 1], [0, 1], [1, 0]]",
        "one-way.json": "[[0, 1]]",
    }
    for name, content in topologies.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gala_rl.checks.machine.cuda_devices", lambda: 0)
    return tmp_path


def train(*arguments: str) -> list[str]:
    return ["train", "gala-a2c", "--env", "CartPole-v1", "--out", "new", *arguments]


def gala_ppo(*arguments: str) -> list[str]:
    return ["train", "gala-ppo", "--env", "CartPole-v1", "--out", "new", *arguments]


def impala(*arguments: str) -> list[str]:
    return ["train", "impala", "--env", "CartPole-v1", "--out", "new", *arguments]


def cluster(*arguments: str) -> list[str]:
    return train("--learners", "2", "--cluster", "127.0.0.1:1", *arguments)


def topology(name: str) -> list[str]:
    return train("--learners", "2", "--topology", name)


def continued(*arguments: str) -> list[str]:
    return ["train", "gala-a2c", "--out", "ended", "--resume", *arguments]


# Arguments, and what the line must contain: the value that is wrong and often the remedy.
MISTAKES: list[tuple[list[str], tuple[str, ...]]] = [
    (["trian"], ("command 'trian' is unknown: did you mean train?",)),
    (["eval"], ("command 'eval' is unknown: did you mean evaluate?",)),
    (["xyzzy"], ("command 'xyzzy' is unknown: see gala --help",)),
    (["--verbose", "methods"], ("--verbose",)),
    (["methods", "extra"], ("argument 'extra' is one too many", "gala methods --help")),
    (["train", "ppo", "CartPole-v1"], ("'CartPole-v1' is one too many", "gala train --help")),
    (train("--serial", "true"), ("argument 'true' is one too many", "gala train --help")),
    (["train"], ("METHOD",)),
    (["resume"], ("RUN",)),
    (train("--stpes", "5"), ("--stpes", "did you mean --steps?")),
    (train("--stpes=5"), ("--stpes", "did you mean --steps?")),
    (train("--learn", "2"), ("--learn", "did you mean --learners?")),
    (train("--xyzzy"), ("option --xyzzy is unknown: see gala train --help",)),
    *[
        (train(option, "1"), (f"option {option} is unknown: it is {name} here",))
        for option, name in {
            "--lr": "--learning-rate",
            "--num-envs": "--simulators",
            "--num_envs": "--simulators",
            "--n-envs": "--simulators",
            "--total-timesteps": "--steps",
            "--gamma": "--discount",
            "--ent-coef": "--entropy-cost",
            "--vf-coef": "--value-cost",
            "--n-steps": "--rollout-steps",
            "--num-workers": "--learners",
            "--n-epochs": "--epochs",
            "--clip-coef": "--clip-range",
            "--env-id": "--env",
            "--cuda": "--device",
            "--tensorboard-log": "--out",
        }.items()
    ],
    (train("--gamma=0.9"), ("option --gamma is unknown: it is --discount here",)),
    (train("--wandb"), ("option --wandb is unknown", "TensorBoard files")),
    (train("--track"), ("option --track is unknown", "TensorBoard files")),
    (train("--algo", "ppo"), ("option --algo is unknown", "gala train ppo")),
    (train("--policy", "MlpPolicy"), ("option --policy is unknown", "--lstm-size N")),
    (train("--torch-deterministic"), ("--torch-deterministic is unknown", "--serial")),
    (train("--eval-freq", "9"), ("option --eval-freq is unknown", "gala evaluate RUN")),
    (train("--batch-size", "64"), ("option --batch-size is unknown", "--minibatches")),
    (["evaluate", "ended", "--n-eval-episodes", "5"], ("it is --episodes here",)),
    (["evaluate", "ended", "--deterministic"], ("it is --policy here",)),
    (["resume", "ended", "--lr", "1"], ("option --lr is unknown: see gala resume --help",)),
    (train("--steps"), ("--steps",)),
    (["train", "gala-a2"], ("'gala-a2'", "gala-a2c")),
    (["train", "dqn"], ("'dqn'", "on-policy", "gala-a2c, a2c")),
    (["train", "sac"], ("'sac'", "on-policy", "gala-a2c, a2c")),
    (["train", "evolution"], ("method 'evolution' is unknown: choose one of gala-a2c, a2c",)),
    (["train", "PPO"], ("method 'PPO' is unknown: did you mean ppo?",)),
    (["train", "ppo", "--learners", "2"], ("learners 2", "gala-ppo")),
    (train("--clip-range", "0.2"), ("clip_range", "gala-a2c", "gala-ppo, ppo, ppo-allreduce")),
    (gala_ppo("--clip-range", "0"), ("clip_range 0.0 is too small",)),
    (gala_ppo("--gae-lambda", "1.1"), ("gae_lambda 1.1", "at most 1")),
    (gala_ppo("--target-kl", "0"), ("target_kl 0.0", "above 0")),
    (gala_ppo("--epochs", "0"), ("epochs 0", "at least 1")),
    (
        gala_ppo("--rollout-steps", "4", "--simulators", "2", "--minibatches", "5"),
        ("minibatches 5", "8 agent steps", "rollout_steps 4 x simulators 2", "2 or more"),
    ),
    (impala("--learners", "2"), ("learners 2", "gala-impala")),
    (impala("--actors", "0"), ("actors 0", "at least 1")),
    (impala("--simulators", "5", "--actors", "2"), ("simulators 5", "multiple of 2")),
    (impala("--clip-rho", "0.5"), ("clip_rho 0.5 is below clip_c 1.0",)),
    (impala("--serial", "--actors", "2"), ("actors 2", "--serial")),
    (impala("--serial", "--batch-rollouts", "3"), ("batch_rollouts 3", "--serial")),
    (impala("--normalize-rewards"), ("normalize_rewards", "--no-normalize-rewards")),
    (impala("--network", "deep"), ("network 'deep'", "images", "CartPole-v1")),
    (
        train("--actors", "2"),
        ("actors is not a setting of gala-a2c", "gala-impala, impala have it"),
    ),
    (["train", "a2c", "--learners", "2"], ("learners 2", "gala-a2c")),
    (train("--env", "CartPol-v1"), ("'CartPol-v1'", "CartPole-v1")),
    (train("--env", "PonggNoFrameskip-v4"), ("'PonggNoFrameskip-v4'", "Pong")),
    (train("--env", "Pong-v4"), ("'Pong-v4'", "PongNoFrameskip-v4")),
    (train("--env", "tests.environments:Letters-v0"), ("Letters-v0'", "Text")),
    (train("--env", "two\nlines"), ("two", "lines")),
    (topology("hierarchical"), ("hierarchical", "--learners-per-node")),
    (
        [*topology("hierarchical"), "--learners-per-node", "3"],
        ("learners_per_node 3", "2 learners"),
    ),
    ([*topology("hierarchical"), "--learners-per-node", "0"], ("learners_per_node 0",)),
    (
        [*topology("complete"), "--learners-per-node", "2"],
        ("learners_per_node 2", "topology complete"),
    ),
    (cluster("--learners-per-node", "0"), ("learners_per_node 0", "at least 1")),
    (["train", "gala-a2c", "--cluster", "auto"], ("cluster 'auto'", "--learners")),
    (["train", "a3c", "--cluster", "auto"], ("a3c", "gala-a2c", "a2c-allreduce", "impala")),
    (["train", "a2c", "--cluster", "auto"], ("impossible with a2c", "gala-a2c", "impala")),
    (
        ["train", "a2c-allreduce", *cluster("--message-precision", "bfloat16")[2:]],
        ("message_precision 'bfloat16'", "a2c-allreduce"),
    ),
    (
        ["train", "a2c-allreduce", *cluster("--fault-plan", "text.json")[2:]],
        ("fault_plan", "a2c-allreduce"),
    ),
    (["train", "impala", "--cluster", "auto"], ("cluster 'auto'", "--actors")),
    (
        ["train", "impala", "--cluster", "auto", "--actors", "4", "--learners-per-node", "2"],
        ("learners_per_node 2", "impala"),
    ),
    (
        ["train", "impala", "--cluster", "auto", "--actors", "4", "--learners", "2"],
        ("learners 2", "impala has one learner"),
    ),
    (cluster("--serial"), ("serial", "cluster")),
    (cluster("--fault-plan", "text.json"), ("fault plan text.json", "docs/faults.md")),
    (["bench", "faults", "--cluster", "auto"], ("cluster 'auto'", "--learners")),
    (
        ["bench", "faults", "--cluster", "auto", "--learners", "4", "--method", "impala"],
        ("impala", "gala-a2c, gala-ppo"),
    ),
    (
        ["bench", "faults", "--learners", "4", "--learners-per-node", "2"],
        ("learners_per_node 2", "hierarchical"),
    ),
    (train("--message-precision", "bfloat16"), ("message_precision 'bfloat16'", "--cluster")),
    (topology("ring"), ("'ring'", "directed-ring")),
    (["train", "ppo", "--topology", "complete"], ("topology complete", "one learner", "gala-ppo")),
    (
        ["train", "a2c", "--env", "CartPole-v1", "--topology", "ring"],
        ("topology ring", "a2c has one learner, which exchanges parameters with no other", "ppo"),
    ),
    (["train", "a3c", "--when", "any"], ("when any", "a3c don't gossip", "gala-ppo")),
    (train("--frame-skip", "2"), ("frame_skip 2", "Atari", "'CartPole-v1'", "leave it out")),
    (topology("text.json"), ("text.json", "[[0, 1]")),
    (topology("object.json"), ("object.json", "dict")),
    (topology("triple.json"), ("triple.json", "[0, 1, 2]")),
    (topology("outside.json"), ("outside.json", "[1, 9]")),
    (topology("loop.json"), ("loop.json", "[0, 0]")),
    (topology("twice.json"), ("twice.json", "[0, 1]")),
    (topology("one-way.json"), ("one-way.json", "learner 1")),
    (train("--steps", "abc"), ("gala: --steps 'abc' is not a whole number such as", "4M")),
    (train("--steps", ""), ("--steps", "''")),
    (train("--steps", "nan"), ("--steps", "'nan'")),
    (train("--steps", "1.5"), ("--steps", "'1.5'")),
    (train("--steps", "0"), ("steps 0", "at least 1")),
    (train("--steps", "-5"), ("steps -5", "at least 1")),
    (train("--learners", "0"), ("learners 0", "at least 1")),
    (train("--learners", "1M"), ("learners 1000000", "at most 10000")),
    (train("--learners", "9k"), ("learners 9,000", "GiB of memory", "use fewer")),
    (train("--simulators", "1G"), ("simulators 1,000,000,000", "GiB of memory", "use fewer")),
    (train("--rollout-steps", "1G"), ("rollout_steps 1,000,000,000", "use fewer")),
    (train("--env", "CartPole"), ("'CartPole'", "CartPole-v1")),
    (train("--env", "Pong"), ("'Pong'", "PongNoFrameskip-v4", "ALE/Pong-v5")),
    (train("--learners", "2.5"), ("--learners", "'2.5'")),
    (train("--simulators", "-1"), ("simulators -1",)),
    (train("--simulator-threads", "0"), ("simulator_threads 0",)),
    (train("--seed", "-1"), ("seed -1",)),
    (train("--seeds", "5"), ("option --seeds is unknown", "gala compare")),
    (train("--seed", "2147483648"), ("seed 2147483648",)),
    (train("--log-every", "0"), ("log_every 0",)),
    (train("--checkpoint-every", "0"), ("checkpoint_every 0",)),
    (train("--checkpoint-every", "inf"), ("checkpoint_every inf",)),
    (train("--checkpoints-kept", "0"), ("checkpoints_kept 0",)),
    (train("--max-restarts", "-1"), ("max_restarts -1",)),
    (train("--learning-rate", "fast"), ("gala: --learning-rate 'fast' is not a number such as",)),
    (train("--learning-rate", "0"), ("algorithm.learning_rate 0",)),
    (train("--discount", "1.5"), ("algorithm.discount 1.5",)),
    (train("--discount", "nan"), ("algorithm.discount nan",)),
    (train("--optimizer", "sgd"), ("--optimizer", "'sgd'", "rmsprop-tf")),
    (train("--sticky-actions", "2"), ("atari.sticky_actions 2",)),
    (train("--deadline", "-1"), ("gossip.deadline -1",)),
    (train("--max-staleness", "-1"), ("gossip.max_staleness -1",)),
    (train("--device", "tpu"), ("--device", "'tpu'", "cpu")),
    (train("--device", "cuda"), ("'cuda'", "--device cpu")),
    (train("--out", "ended"), ("ended", "gala resume ended")),
    (train("--out", "full"), ("full", "not empty")),
    (train("--out", "full/thesis.txt"), ("full/thesis.txt",)),
    (train("--out", "full/thesis.txt/run"), ("full/thesis.txt/run", "cannot be written")),
    (["train", "a2c", "--resume"], ("--resume", "--out")),
    (continued("--seed", "7"), ("seed 7", "(0)")),
    (continued("--env", "Acrobot-v1"), ("env Acrobot-v1", "(CartPole-v1)")),
    (continued("--serial"), ("run ended was started without --serial: leave it out",)),
    (continued("--discount", "0.5"), ("algorithm.discount 0.5", "(0.99)")),
    (["train", "a2c", "--out", "ended", "--resume"], ("method a2c", "(gala-a2c)")),
    (continued(), ("ended", "complete", "400")),
    (continued("--steps", "400"), ("ended", "complete", "400")),
    (continued("--steps", "300"), ("ended", "complete", "300")),
    (["resume", "nowhere"], ("nowhere", "holds no run")),
    (["resume", "full"], ("full", "holds no run")),
    (["resume", "full/thesis.txt"], ("full/thesis.txt", "holds no run")),
    (["resume", "unborn"], ("unborn", "no checkpoint")),
    (["resume", "ended"], ("ended", "complete", "--steps")),
    (["resume", "ended", "--steps", "-1"], ("steps -1",)),
    (["resume", "ended", "--steps", "many"], ("'many'",)),
    (["resume", "ended", "--steps", "900"], ("step_000000000400", "is damaged")),
    (train("--learners", "4", "--max-learners", "3"), ("max_learners 3", "learners 4")),
    (train("--max-learners", "0"), ("max_learners 0", "at least 1")),
    (["train", "a2c", "--max-learners", "2"], ("max_learners 2", "a2c has one learner")),
    (train("--serial", "--max-learners", "9"), ("max_learners 9", "--serial")),
    (["scale", "ended"], ("--learners",)),
    (["scale", "nowhere", "--learners", "2"], ("nowhere", "holds no run")),
    (["scale", "ended", "--learners", "0"], ("learners 0", "at least 1")),
    (["scale", "ended", "--learners", "2"], ("learners 2", "ended")),
    (["scale", "ended", "--learners", "5"], ("learners 5", "room for 4", "--max-learners")),
    (["scale", "ended", "--learners", "3"], ("not being trained", "gala resume ended")),
    (["scale", "ended", "--learners", "few"], ("'few'",)),
    (["evaluate", "nowhere"], ("nowhere", "holds no run")),
    (["evaluate", "unborn"], ("unborn", "no checkpoint")),
    (["evaluate", "ended"], ("step_000000000400", "is damaged")),
    (["evaluate", "ended", "--learner", "7"], ("'7'", "0, 1, all or mean")),
    (["evaluate", "ended", "--learner", "best"], ("'best'", "0, 1, all or mean")),
    (["evaluate", "ended", "--learner", "-1"], ("'-1'", "0, 1, all or mean")),
    (["evaluate", "ended", "--episodes", "0"], ("episodes 0", "at least 1")),
    (["evaluate", "ended", "--episodes", "-3"], ("episodes -3",)),
    (["evaluate", "ended", "--episodes", "few"], ("'few'",)),
    (["evaluate", "ended", "--max-steps", "0"], ("max_steps 0", "at least 1")),
    (
        ["evaluate", "ended", "--policy", "random"],
        ("gala: --policy 'random' is unknown: choose one of greedy, sample\n",),
    ),
    (["evaluate", "ended", "--seed", "-1"], ("seed -1",)),
    (["bench", "speed"], ("command 'speed' is unknown: see gala bench --help",)),
    (["bench", "scalling"], ("did you mean scaling?",)),
    (["bench", "throughput", "--device", "cuda"], ("'cuda'", "--device cpu")),
    (["bench", "throughput", "--device", "tpu"], ("'tpu'", "cpu")),
    (["bench", "throughput", "--seconds", "0"], ("seconds 0",)),
    (["bench", "throughput", "--seconds", "-1"], ("seconds -1",)),
    (["bench", "throughput", "--seconds", "nan"], ("seconds nan",)),
    (["bench", "throughput", "--seconds", "inf"], ("seconds inf",)),
    (["bench", "throughput", "--seconds", "long"], ("'long'",)),
    (["bench", "throughput", "--repeats", "0"], ("repeats 0",)),
    (["bench", "throughput", "--learners", "0"], ("learners 0",)),
    (["bench", "throughput", "--simulators", "0"], ("simulators 0",)),
    (["bench", "throughput", "--env", "Pnog-v1"], ("'Pnog-v1'",)),
    (["bench", "throughput", "--parameters", "1M"], ("--parameters", "unknown")),
    (["bench", "gossip", "--learners", "0"], ("learners 0", "1 to 1024")),
    (["bench", "gossip", "--parameters", "0"], ("parameters 0", "at least 1")),
    (["bench", "gossip", "--parameters", "1M,,2M"], ("--parameters", "''")),
    (["bench", "gossip", "--parameters", "900G"], ("parameters 900,000,000,000", "use fewer")),
    (["bench", "gossip", "--seconds", "0"], ("seconds 0",)),
    (["bench", "gossip", "--repeats", "0"], ("repeats 0",)),
    (["bench", "scaling", "--learners", "0"], ("learners 0",)),
    (["bench", "scaling", "--simulators", "0"], ("simulators 0",)),
    (["bench", "scaling", "--learners", "9k"], ("GiB of memory", "use fewer")),
    (["bench", "stragglers", "--learners", "1"], ("learners 1", "2 at least")),
    (["bench", "stragglers", "--learners", "2", "--slowed", "0,2"], ("slowed 2", "0 to 1")),
    (["bench", "stragglers", "--slowed", "-1"], ("slowed -1", "choose 0")),
    (["bench", "stragglers", "--slowed", "all"], ("--slowed", "'all'")),
    (["bench", "stragglers", "--method", "gala-a2c,a2c-allredcue"], ("a2c-allreduce?",)),
    (["bench", "stragglers", "--env", "Pnog-v1"], ("'Pnog-v1'",)),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=" ".join)
def test_a_mistake_gets_one_line_that_names_it_and_writes_nothing(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: tuple[str, ...],
) -> None:
    before = tree(place)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gala: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    for word in words:
        assert word in printed.err
    assert tree(place) == before


def run_program(program: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_help_and_mistakes_do_not_wait_for_torch(place: Path) -> None:
    # These few are found by looking into files that only torch's world can read, or write.
    late = ("is damaged", "cannot be written")
    lines = [arguments for arguments, words in MISTAKES if not set(late) & set(words)]
    helps = [
        ["--help"],
        *([name, "--help"] for name in ("train", "resume", "scale", "evaluate", "bench")),
    ]
    helps += [["bench", what, "--help"] for what in ("throughput", "gossip", "scaling")]
    helps += [["bench", "stragglers", "--help"]]
    program = f"""
import functools
import sys
from unittest import mock
from gala_lab.main import main
from gala_rl.cli import main as command_line
command_line._parser = functools.cache(command_line._parser)  # the same for all, and slow to build
for arguments in {helps!r}:
    try:
        main(arguments)
        raise AssertionError(arguments)
    except SystemExit as end:
        assert end.code == 0, arguments
    assert not {{"torch", "tensorboard", "gymnasium", "numpy"}} & set(sys.modules), arguments
assert main(["methods"]) == 0
assert "torch" not in sys.modules, "methods"
from gala_rl.checks import machine
with mock.patch.object(machine, "cuda_devices", lambda: 0):
    for arguments in {lines!r}:
        assert main(arguments) == 2, arguments
        assert "torch" not in sys.modules, arguments
print("all", len({lines!r}))
"""
    assert run_program(program, place).endswith(f"all {len(lines)}\n")
