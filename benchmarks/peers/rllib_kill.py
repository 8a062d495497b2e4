"""RLlib IMPALA with one of its runners killed: how far the learner was when, a JSON object."""

import argparse
import json
import os
import signal
import time
from importlib.metadata import version

import ray

from benchmarks.peers.meter import Options
from benchmarks.peers.rllib_impala import config_of, start_ray, trained_steps

_WARM_UP_S = 10.0


def main() -> None:
    """Train, kill, train on, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runners", type=int, default=4)
    parser.add_argument("--simulators", type=int, default=32, help="of all runners together")
    parser.add_argument("--seconds", type=float, default=10.0, help="before the kill, and after")
    options = parser.parse_args()
    start_ray()
    config = config_of(Options(options.simulators, 0.0, 0.0), options.runners)
    # An iteration ends with the next batch, so that steps are counted as often as can be.
    algorithm = config.reporting(min_time_s_per_iteration=0).build_algo()
    pids = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )
    samples = [(time.monotonic(), trained_steps(algorithm))]
    while not samples[-1][1]:
        samples = [(time.monotonic(), trained_steps(algorithm))]
    begin, killed_s = samples[0][0] + _WARM_UP_S, None
    kill_s, end_s = begin + options.seconds, begin + 2 * options.seconds
    while samples[-1][0] < end_s:
        if killed_s is None and time.monotonic() >= kill_s:
            os.kill(pids[-1], signal.SIGKILL)
            killed_s = time.monotonic()
        trained = trained_steps(algorithm)
        samples.append((time.monotonic(), trained))
    restarts = algorithm.env_runner_group.num_remote_worker_restarts()
    algorithm.stop()
    ray.shutdown()
    seen = [sample for sample in samples if sample[0] >= begin]
    told = {"samples": seen, "killed_s": killed_s, "restarts": restarts, "version": version("ray")}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
