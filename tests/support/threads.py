"""Replicas as threads, which a process group does not tell from processes."""

import threading
import time
from collections.abc import Callable

from gala_rl.coupling import GradientAverage, Rendezvous

GIVE_UP_S = 60.0


def meet(average: GradientAverage) -> GradientAverage:
    """Wait for all replicas and connect."""
    average.request_group()
    give_up = time.monotonic() + GIVE_UP_S
    while not average.can_connect():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.001)
    average.connect()
    return average


def run_replicas(rendezvous: Rendezvous, life: Callable[[GradientAverage, int], None]) -> None:
    """Run `life` for all replicas at once; raise the first error of any of them."""
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            life(GradientAverage(rendezvous, rank), rank)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(rendezvous.replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
