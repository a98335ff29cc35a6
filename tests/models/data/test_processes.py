"""Ctrl-C while processes are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from time import sleep

import pytest

from edge.models.data.processes import without_interrupts

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system masks no signals")
STARTED = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt this process, even if these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("other_thread", [False, True])
def test_an_interrupt_waits_for_the_end_of_the_block_whichever_thread_takes_it(other_thread: bool) -> None:
    done, reached = threading.Event(), False
    if other_thread:
        threading.Thread(target=done.wait).start()

    def block() -> None:
        nonlocal reached
        with without_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            sleep(0.05)  # where Python would raise what the other thread took
            reached = True

    try:
        with pytest.raises(KeyboardInterrupt):
            block()
    finally:
        done.set()

    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_is_started_in_the_block_never_hears_of_it() -> None:
    with without_interrupts():
        inside = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    outside = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)

    assert (inside.stdout, outside.stdout) == ("True\n", "False\n")
