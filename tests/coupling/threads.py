"""Replicas of these tests are threads: a process group does not care."""

import threading
import time
from collections.abc import Callable

from gala_rl.coupling import GradientAverage, Rendezvous

GIVE_UP_S = 60.0


def meet(average: GradientAverage) -> GradientAverage:
    """Wait for all replicas and connect."""
    average.come()
    give_up = time.monotonic() + GIVE_UP_S
    while not average.all_here():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.001)
    average.connect()
    return average


def run_replicas(meeting: Rendezvous, life: Callable[[GradientAverage, int], None]) -> None:
    """Let each replica of a meeting do something, all at once; raises what any of them raises."""
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            life(GradientAverage(meeting, rank), rank)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(meeting.replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
