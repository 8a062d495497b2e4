"""Two network namespaces of this machine, and between them a link as slow and far as wanted.

What crosses passes this process, which holds it back: tc's netem is not in every kernel. Linux, as
root.
"""

import collections
import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from types import TracebackType

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_NAMES = ("gala-a", "gala-b")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MTU = 60_000
"""Large, so that few pieces pass through here; on a loopback device it is no smaller."""
_QUEUE_S = 0.2
"""What would wait for longer to be sent is dropped, as by a router."""
_IDLE_S = 0.0005


class Link:
    """A context in which the namespaces and the link are there.

    Args:
        bits_per_s: in each direction; None: as fast as it goes.
        delay_s: in each direction.
    """

    def __init__(self, bits_per_s: float | None = None, delay_s: float = 0.0) -> None:
        self.bits_per_s, self.delay_s = bits_per_s, delay_s
        self.is_cut = False
        self.bytes_passed = 0
        self._over = False
        self._tunnels = [_tunnel(f"gala-tun{side}") for side in (0, 1)]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Link":
        for side, name in enumerate(_NAMES):
            device = f"gala-tun{side}"
            _ip("netns", "add", name)
            _ip("link", "set", device, "netns", name)
            _ip("-n", name, "address", "add", f"{ADDRESSES[side]}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up", "mtu", str(_MTU))
            _ip("-n", name, "link", "set", "lo", "up")
        for side in (0, 1):
            direction = _Direction(self, self._tunnels[side], self._tunnels[1 - side])
            for work in (direction.take_in, direction.give_out):
                self._threads.append(threading.Thread(target=work, daemon=True))
                self._threads[-1].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        for name in _NAMES:
            _ip("netns", "delete", name)
        for thread in self._threads:
            thread.join()
        for tunnel in self._tunnels:
            os.close(tunnel)

    @property
    def is_over(self) -> bool:
        """Whether the context has ended."""
        return self._over


def inside(side: int, command: Sequence[str]) -> list[str]:
    """The command, to be run in a namespace."""
    return ["ip", "netns", "exec", _NAMES[side], *command]


class _Direction:
    """From one end to the other: what comes in waits for its turn and for its way."""

    def __init__(self, link: Link, source: int, target: int) -> None:
        self._link, self._source, self._target = link, source, target
        self._under_way = collections.deque[tuple[float, bytes]]()
        self._free_at = 0.0

    def take_in(self) -> None:
        while not self._link.is_over:
            try:
                packet = os.read(self._source, 1 << 16)
            except BlockingIOError:
                time.sleep(_IDLE_S)
                continue
            except OSError:
                return  # The namespace is gone.
            now, rate = time.monotonic(), self._link.bits_per_s
            begin = max(now, self._free_at)
            if self._link.is_cut or begin - now > _QUEUE_S:
                continue
            self._free_at = begin + (8 * len(packet) / rate if rate else 0.0)
            self._under_way.append((self._free_at + self._link.delay_s, packet))

    def give_out(self) -> None:
        while not self._link.is_over:
            if not self._under_way or self._under_way[0][0] > time.monotonic():
                time.sleep(_IDLE_S)
                continue
            _, packet = self._under_way.popleft()
            if self._link.is_cut:
                continue
            try:
                os.write(self._target, packet)
            except OSError:
                continue  # No buffer, or the namespace is gone: a packet that is lost.
            self._link.bytes_passed += len(packet)


def _tunnel(name: str) -> int:
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return tunnel


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
