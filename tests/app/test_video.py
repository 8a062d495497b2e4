"""Videos show the first game of an evaluation; windows show games until they are closed."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gala_rl
from gala_lab.main import main
from gala_rl.app.watch import watch
from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig
from gala_rl.errors import StorageError
from tests.app.test_export import make_run

PAINTED = TrainConfig(method="a2c", env="make:tests.environments.painted:Painted")
ATARI = replace(
    PAINTED,
    env="ALE/Pong-v5",
    atari=AtariProtocol(frame_skip=5, max_episode_frames=900, image_size=36),
)


def images_of(file: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Images [N, height, width, 3] of a video."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(file)]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = subprocess.run([*program, *raw], capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("policy", ["greedy", "sample"])
def test_a_replayed_atari_game_has_the_score_of_the_evaluation(tmp_path: Path, policy: str) -> None:
    pytest.importorskip("imageio_ffmpeg")
    run = make_run(tmp_path / "run", ATARI)
    result = gala_rl.evaluate(
        run,
        episodes=3,
        policy=policy,  # type: ignore[arg-type]
        seed=4,
        video=tmp_path / "game.mp4",
    )
    video, returns = result["video"], result["results"][0]["returns"]
    assert video["score"] == returns[0]
    assert sum(returns) < 0
    images = images_of(tmp_path / "game.mp4", 420, 320)
    assert len(images) == video["images"]
    assert np.abs(np.diff(images.astype(int), axis=0)).max() > 50, "something moves"


def test_a_video_shows_the_first_game_from_its_start_to_its_end(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    run, file = make_run(tmp_path / "run", PAINTED), tmp_path / "game.webm"
    result = gala_rl.evaluate(run, episodes=2, policy="sample", video=file)
    # 49 columns, 13 times as large, and one for an even number.
    images = images_of(file, 416, 638)
    assert result["video"]["score"] == result["results"][0]["returns"][0]
    assert len(images) == result["video"]["images"]
    green = images[..., 1].mean(axis=(1, 2))
    assert green.argmin() == 0
    assert (np.diff(green) >= 0).all()


def test_the_command_tells_where_the_video_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    run, file = make_run(tmp_path / "run", PAINTED), tmp_path / "game.gif"
    command = ["evaluate", str(run), "--episodes", "1", "--video", str(file)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"video: {file}, 1 s, score" in printed
    assert "another score" not in printed
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["video"]["file"] == str(file)


def no_package(name: str) -> None:
    return None


def no_codec(*arguments: Any, **_: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(arguments, 0, " V..... mpeg4  MPEG-4 part 2")


@pytest.mark.parametrize(
    ("arguments", "patch", "words"),
    [
        (["--video", "game.avi"], None, "choose a name that ends in .mp4, .webm, .gif"),
        (["--video", "nowhere/game.mp4"], None, "folder nowhere does not exist"),
        (["--video", "tests.mp4"], ("pathlib.Path.is_dir", lambda _: True), "is a folder"),
        (["--video", "game.mp4", "--learner", "all"], None, "shows one game"),
        (
            ["--video", "game.mp4"],
            ("gala_rl.app.video.importlib.util.find_spec", no_package),
            "needs imageio-ffmpeg: pip install 'gala-rl[video]'",
        ),
        (
            ["--video", "game.mp4"],
            ("gala_rl.app.video.subprocess.run", no_codec),
            "has no encoder libx264",
        ),
    ],
)
def test_mistakes_are_told_before_games_are_played(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    patch: tuple[str, Any] | None,
    words: str,
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    run = make_run(tmp_path / "run", PAINTED)
    monkeypatch.setattr("gala_rl.app.evaluate.play", None)
    if patch is not None:
        monkeypatch.setattr(*patch)
    assert main(["evaluate", str(run), *arguments]) == 2
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1


def test_an_environment_without_a_screen_is_told_before_games_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    run = make_run(tmp_path / "run", replace(PAINTED, env="gym-vec:CartPole-v1"))
    monkeypatch.setattr("gala_rl.app.evaluate.play", None)
    assert main(["evaluate", str(run), "--video", str(tmp_path / "game.mp4")]) == 2
    assert "env 'gym-vec:CartPole-v1' cannot be shown" in capsys.readouterr().err


def test_a_video_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    run, file = make_run(tmp_path / "run", PAINTED), tmp_path / "game.mp4"
    file.mkdir()
    monkeypatch.setattr("gala_rl.app.evaluate.check_video", lambda *_: None)
    with pytest.raises(StorageError, match=r"video .*game.mp4 cannot be written \(.+\)"):
        gala_rl.evaluate(run, episodes=1, video=file)


class FakeWindow:
    """Counts images; the user closes it after some of them."""

    patience = 10**6

    def __init__(self, title: str, remedy: str) -> None:
        self.is_open, self.shown, self.titles = True, 0, [title]
        FakeWindow.last = self

    last: "FakeWindow"

    def show(self, image: NDArray[np.uint8], title: str) -> None:
        self.shown += 1
        self.titles.append(title)
        self.is_open = self.shown < self.patience

    def close(self) -> None:
        self.is_open = False


def test_games_are_shown_until_there_were_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.app.watch.Window", FakeWindow)
    monkeypatch.setattr("time.sleep", lambda _: None)
    run = make_run(tmp_path / "run", PAINTED)
    scores = watch(run, episodes=3, policy="sample", seed=2)
    assert len(scores) == 3
    assert 3 * 6 <= FakeWindow.last.shown <= 3 * 10
    assert not FakeWindow.last.is_open
    assert FakeWindow.last.titles[-1] == f"{PAINTED.env}, score {scores[-1]:.2f}"


def test_a_closed_window_ends_the_games(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gala_rl.app.watch.Window", FakeWindow)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(FakeWindow, "patience", 25)
    run = make_run(tmp_path / "run", ATARI)
    assert main(["watch", str(run)]) == 0
    assert FakeWindow.last.shown == 25
    assert "0 games: mean return no game has ended yet" in capsys.readouterr().out


def test_without_a_display_there_is_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    run = make_run(tmp_path / "run", PAINTED)
    assert main(["watch", str(run)]) == 2
    expected = f"no display to show games on: make a video with gala evaluate {run} --video"
    assert expected in capsys.readouterr().err
