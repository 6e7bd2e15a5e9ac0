"""Gives memory that this process has freed back to the machine.

Compiling takes many megabytes for a moment, in several threads, and the C library keeps what each of them has freed for
it to use again: a process that runs for days would have the most that every one of them ever needed. What is given back
is read by nobody: the kernel hands out pages that are zero.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

_SECONDS = 15.0


class Heap:
    """The memory of this process, which is trimmed now and then. For one thread."""

    def __init__(self) -> None:
        self._trim, self._trimmed = _malloc_trim(), time.monotonic()

    def tidy_up(self) -> None:
        """Gives back what is free, if that was not done lately; takes some milliseconds."""
        if self._trim is not None and time.monotonic() - self._trimmed > _SECONDS:
            self._trim(0)
            self._trimmed = time.monotonic()


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc has it; other C libraries need it less."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return found
