"""Writes the first game of an evaluation as a video: its actions are played again on a screen."""

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import preserve_working_directory, seeded_generators
from gala_rl.envs.screens import Image, open_screen
from gala_rl.errors import StorageError, UserError

_CODECS = {".mp4": "libx264", ".webm": "libvpx-vp9", ".gif": "gif"}
_SMALLEST_HEIGHT = 400
"""Smaller images are enlarged by a whole number, so that their pixels stay sharp."""


class Recording(NamedTuple):
    """What is needed to play a game again.

    Attributes:
        seed: seed of the simulators.
        actions: the policy's action at each agent step.
        score: sum of raw rewards.
    """

    seed: int
    actions: Sequence[NDArray[Any]]
    score: float


def check_video(file: str | Path, source: EnvironmentSource, learner: str) -> None:
    """Raise a UserError if no video can be made, before any game is played.

    Args:
        file: file to write.
        source: the environment.
        learner: the policy that plays: a rank, "mean" or "all".
    """
    path = Path(file)
    if learner == "all":
        raise UserError(f"video {file} shows one game: give --learner a rank or mean")
    if path.suffix not in _CODECS:
        raise UserError(f"video {file}: choose a name that ends in {', '.join(_CODECS)}")
    if not path.parent.is_dir():
        raise UserError(f"video {file}: folder {path.parent} does not exist, create it first")
    if path.is_dir():
        raise UserError(f"video {file} is a folder: choose another name")
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError(f"video {file} needs imageio-ffmpeg: pip install 'gala-rl[video]'")
    _check_codec(_CODECS[path.suffix], file)
    with seeded_generators(0), preserve_working_directory():
        open_screen(source).close()


def _check_codec(codec: str, file: str | Path) -> None:
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        listed = subprocess.run(
            [program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=True
        ).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"video {file}: ffmpeg does not run ({error})") from error
    if codec not in listed.split():
        raise UserError(
            f"video {file}: {program} has no encoder {codec}: choose a name that ends in another "
            f"of {', '.join(_CODECS)}, or unset IMAGEIO_FFMPEG_EXE"
        )


def write_video(file: str | Path, source: EnvironmentSource, game: Recording) -> dict[str, Any]:
    """Play a game again on a screen, and write what it shows.

    Returns:
        `file`, `images`, `images_per_second`, and the `score`: another one than the recorded if
        the environment does not repeat itself with a seed.

    Raises:
        UserError: when the environment has no screen.
        StorageError: when the file cannot be written.
    """
    with seeded_generators(game.seed), preserve_working_directory():
        screen = open_screen(source)
        try:
            shown, score = screen.reset(game.seed), 0.0
            count = 0
            with _encoder(file, shown[0], screen.images_per_second) as write:
                write(shown[0])
                for action in game.actions:
                    shown, reward = screen.step(action)
                    score += reward
                    for image in shown:
                        write(image)
                        count += 1
        finally:
            screen.close()
    return {
        "file": str(file),
        "images": count + 1,
        "images_per_second": screen.images_per_second,
        "score": score,
    }


def _enlarged(image: Image) -> Image:
    """Return the image at a readable size, with even sides as codecs need them."""
    factor = -(-_SMALLEST_HEIGHT // image.shape[0])
    large = image.repeat(factor, axis=0).repeat(factor, axis=1)
    odd = [(0, side % 2) for side in large.shape[:2]]
    padded: Image = np.pad(large, (*odd, (0, 0)), mode="edge")
    return padded


@contextmanager
def _encoder(file: str | Path, image: Image, rate: float) -> Iterator[Callable[[Image], None]]:
    """Yield the function that adds an image of this size to the video.

    Raises:
        StorageError: when ffmpeg cannot write the file.
    """
    import imageio_ffmpeg

    height, width = _enlarged(image).shape[:2]
    codec = _CODECS[Path(file).suffix]
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate:g} -i -".split()
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source]
    # As a path from the root, so that a name that begins with a dash is no option.
    target = ["-c:v", codec, "-pix_fmt", pixels, str(Path(file).absolute())]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen([*program, *target], stdin=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdin is not None
        pipe = process.stdin
        # ffmpeg closes the pipe when it fails.
        with suppress(BrokenPipeError):
            yield lambda shown: _write(pipe, shown)
            pipe.close()
        if process.wait() != 0:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise StorageError(f"video {file} cannot be written ({' '.join(reason)})")


def _write(pipe: IO[bytes], image: Image) -> None:
    pipe.write(_enlarged(image).tobytes())
