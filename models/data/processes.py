"""What pools of processes that read or render samples share."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

__all__ = ["without_interrupts"]


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Hold back SIGINT in a block, and for good in the processes that are started in it.

    Ctrl-C reaches every process of a terminal; so it is for the first one alone, which then ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
