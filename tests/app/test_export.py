"""Exported policies act as the network does, in a runtime that knows nothing of it."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import gala_rl
from gala_lab.main import main
from gala_rl.agent import initial_parameters_of
from gala_rl.app import export_formats
from gala_rl.app.exported_policy import ExportedPolicy, _Decoding
from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig
from gala_rl.envs import make_simulators
from gala_rl.envs.actions import ActionDecoder
from gala_rl.errors import UserError
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder

spaces = gymnasium.spaces
PARTS = "make:tests.environments.spaces:Parts"


def make_run(folder: Path, config: TrainConfig) -> Path:
    """A run whose two learners have random parameters that are all in use."""
    resolved = resolve(config)
    run, generator = RunFolder(folder), torch.Generator().manual_seed(1)
    run.create(resolved)
    initial = initial_parameters_of(resolved).parameters
    partial = checkpoint.partial_folder(run.checkpoints, "test")
    for rank in range(2):
        noise = 0.05 * torch.randn(initial.shape, generator=generator).abs()
        tensors = {"parameters": initial + noise}
        checkpoint.write_part(partial, rank, LearnerState(tensors, {}))
    checkpoint.complete(partial, 100, [50, 50], 3)
    return folder


def config_of(method: str, env: str, algorithm: dict[str, Any], **settings: Any) -> TrainConfig:
    config = TrainConfig(method=method, env=env, device="cpu", **settings)
    return gala_rl.with_settings(config, algorithm)


KINDS = {
    "discrete": config_of("ppo", "CartPole-v1", {"normalize_observations": True}),
    "continuous with memory": config_of("a2c", "Pendulum-v1", {}, lstm_size=8),
    "several discrete, image and numbers": config_of("ppo", PARTS, {}),
    "Q-values": config_of("dqn", "CartPole-v1", {"categorical": True}),
    "Q-values with memory": config_of("r2d2", "CartPole-v1", {}),
    "deep, in bfloat16": config_of(
        *("impala", "PongNoFrameskip-v4", {}),
        network="deep",
        precision="bfloat16",
        atari=AtariProtocol(image_size=36),
    ),
}


def score(config: TrainConfig, session: Any) -> float:
    """Score of one game that an ONNX session plays."""
    env = gymnasium.make(str(config.env))
    observation, _ = env.reset(seed=3)
    sizes = [node.shape[1] for node in session.get_inputs()[1:]]
    state = [np.zeros((1, size), np.float32) for size in sizes]
    total, is_over = 0.0, False
    while not is_over:
        inputs = [observation[None], *state]
        names = [node.name for node in session.get_inputs()]
        actions, _, *state = session.run(None, dict(zip(names, inputs, strict=True)))
        observation, reward, terminated, truncated, _ = env.step(actions[0])
        total, is_over = total + float(reward), terminated or truncated
        if config.method == "r2d2":
            state[0][:, -1] = reward
    return total


def network_score(config: TrainConfig, run: Path) -> float:
    """Score of the same game that the network plays."""
    network = gala_rl.load_network(run)
    env = gymnasium.make(str(config.env))
    decode = ActionDecoder(env.action_space)
    observation, _ = env.reset(seed=3)
    state, total, is_over = network.initial_state(1), 0.0, False
    while not is_over:
        with torch.no_grad():
            (action,) = network.greedy(torch.from_numpy(observation)[None], state)
        observation, reward, terminated, truncated, _ = env.step(decode(action.numpy()))
        total, is_over = total + float(reward), terminated or truncated
        network.observe_rewards(torch.tensor([float(reward)]), state)
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_acts_as_the_network(tmp_path: Path, kind: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    config = KINDS[kind]
    run, file = make_run(tmp_path / "run", config), tmp_path / "policy.onnx"
    result = gala_rl.export(run, file)
    assert result["observations"] == 256
    assert 0.0 <= result["largest_difference"] <= 1e-4
    session = onnxruntime.InferenceSession(file)
    assert [node.name for node in session.get_inputs()] == list(result["inputs"])
    assert [node.name for node in session.get_outputs()] == list(result["outputs"])
    assert session.get_modelmeta().custom_metadata_map["env"] == config.env
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.onnx", "run"]
    if config.env in ("CartPole-v1", "Pendulum-v1"):
        assert score(config, session) == pytest.approx(network_score(config, run), rel=1e-4)


def test_shapes_and_types_are_the_environment_s(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", KINDS["several discrete, image and numbers"])
    result = gala_rl.export(run, tmp_path / "policy.pt2", format="torch")
    assert result["inputs"] == {"observations": f"float32 [N, {36 * 40 * 3 + 3 + 3}]"}
    assert result["outputs"] == {"actions": "int64 [N, 2]", "logits": "float32 [N, 2, 3]"}


def test_a_program_of_torch_export_takes_any_number_of_observations(tmp_path: Path) -> None:
    config = KINDS["Q-values with memory"]
    run, file = make_run(tmp_path / "run", config), tmp_path / "policy.pt2"
    gala_rl.export(run, file, format="torch", learner="0")
    network = gala_rl.load_network(run, "0")
    call = export_formats.load(file, "torch")
    generator = torch.Generator().manual_seed(0)
    for count in (1, 5):
        x = torch.randn(count, 4, generator=generator)
        state = torch.rand(count, network.state_size, generator=generator)
        actions, q_values, after = call([x.numpy(), state.numpy()])
        with torch.no_grad():
            expected = network.decide(x, state)  # Updates the state.
        np.testing.assert_array_equal(actions, expected.actions)
        np.testing.assert_allclose(q_values, expected.outputs, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after, state, rtol=1e-4, atol=1e-5)


def test_a_policy_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = make_run(tmp_path / "run", KINDS["discrete"]), tmp_path / "policy.pt2"
    file.write_text("as before")
    right = export_formats.load

    def wrong(*arguments: Any) -> export_formats.Call:
        call = right(*arguments)
        return lambda inputs: [call(inputs)[0], call(inputs)[1] + np.float32(0.01)]

    monkeypatch.setattr("gala_rl.app.export.load", wrong)
    with pytest.raises(UserError, match=r"differs from the network by .*, so .* is not written"):
        gala_rl.export(run, file, format="torch")
    assert file.read_text() == "as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.pt2", "run"]


def test_what_an_exporter_cannot_take_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", KINDS["discrete"])

    def fail(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no such operation")

    monkeypatch.setattr("torch.export.export", fail)
    assert main(["export", str(run), "--format", "torch"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "observations [4] of 'CartPole-v1' cannot be exported as torch: NotImpl" in line
    assert not (run / "policy.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "torch", "--out", "policy.onnx"], "choose a name that ends in .pt2"),
        (["--format", "torch", "--out", "nowhere/policy.pt2"], "folder nowhere does not exist"),
        (["--format", "torch", "--learner", "all"], "several networks"),
        (["--format", "torch", "--learner", "7"], "learner '7' is unknown"),
        ([], "needs onnx, onnxruntime, onnxscript: pip install 'gala-rl[export]'"),
    ],
)
def test_mistakes_are_told_before_anything_is_built(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    run = make_run(tmp_path / "run", KINDS["discrete"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["export", str(run), *arguments]) == 2
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[1, 0], [0, 7]])),
        spaces.MultiBinary((2, 2)),
        spaces.Box(-2.0, 6.0, (2, 2)),
        spaces.Box(np.array([0.0, -np.inf]), np.array([1.0, np.inf]), dtype=np.float64),
        spaces.Box(0, 255, (4,), np.uint8),
    ],
    ids=str,
)
def test_actions_are_decoded_as_simulators_decode_them(space: Any) -> None:
    rng = np.random.default_rng(0)
    actions: NDArray[Any]
    if isinstance(space, spaces.Box):
        actions = rng.normal(0, 2, (50, int(np.prod(space.shape)))).astype(np.float32)
    elif isinstance(space, spaces.Discrete):
        actions = rng.integers(0, 3, 50)
    else:
        actions = rng.integers(0, 2, (50, 4))
    decode = ActionDecoder(space)
    decoded = _Decoding(decode)(torch.from_numpy(actions)).numpy()
    expected = decode.batch(actions)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == expected.dtype


def test_the_state_that_is_given_is_left_as_it_is(tmp_path: Path) -> None:
    config = KINDS["Q-values with memory"]
    network = gala_rl.load_network(make_run(tmp_path / "run", config))
    policy = ExportedPolicy(network, ActionDecoder(spaces.Discrete(2)))
    simulators = make_simulators(config.source, 2, 1)
    x = torch.from_numpy(simulators.reset(0))
    state = network.initial_state(2)
    with torch.no_grad():
        _, _, after = policy(x, state)
    assert not state.any()
    assert after.any()
