"""What pools of processes that read or render samples share."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["without_interrupts"]


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Hold back SIGINT until a block ends, and for good in the processes that are started in it.

    Ctrl-C reaches every process of a terminal; so it is for the first one alone, which then ends the others. A mask
    holds for one thread only, and a library's other thread may take the signal: Python would then interrupt this one in
    the middle of starting a process, which would wait for its orders for ever. Hence the handler that only takes note.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    seen = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen = True

    handler = signal.signal(signal.SIGINT, note)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if seen:
            signal.raise_signal(signal.SIGINT)
