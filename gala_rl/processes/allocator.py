"""Configures the C allocator to reuse the memory that an update frees, for speed."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""The largest value that glibc accepts."""


def keep_freed_memory() -> bool:
    """Configure the C library of this process to reuse freed memory.

    By default glibc returns every large temporary tensor to the kernel, which hands out the same
    pages again, zeroed, at their next use: some two thousand page faults per update, a tenth of
    the time that the network takes on one thread.

    Returns:
        Whether the C library accepted it; without glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mmap = mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    trim = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    return bool(mmap and trim)
