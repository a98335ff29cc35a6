"""What stand-ins share that serve until somebody stops them."""

from __future__ import annotations

import signal
import threading

import click

__all__ = ["until_stopped"]


def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM, as a stand-in that serves does."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait()
    except KeyboardInterrupt:
        click.echo("ended", err=True)
