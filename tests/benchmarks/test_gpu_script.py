"""The GPU suite runs where there is a GPU, and elsewhere says in one line that there is none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"


def run(folder: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), str(folder)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | {"PYTHON": sys.executable},
        check=False,
    )


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU here")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "results", timeout_s=60)
    assert done.returncode == 2
    assert done.stderr == (
        "there is no NVIDIA GPU here (nvidia-smi lists none): nothing to measure\n"
    )
    assert not (tmp_path / "results").exists()


@pytest.mark.gpu
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_it_writes_a_result_for_each_number_of_learners_and_precision(tmp_path: Path) -> None:
    done = run(tmp_path, timeout_s=3500)
    assert done.returncode == 0, done.stderr
    for learners in (1, 4):
        for precision in ("float32", "bfloat16"):
            text = (tmp_path / f"throughput-{learners}-{precision}.json").read_text()
            assert json.loads(text)["achieved_sps"] > 0
