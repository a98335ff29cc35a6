"""A headless Chromium on this machine: found, started with an empty profile and no network, and never left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ..runtime.errors import DeviceError
from . import keeper

__all__ = ["VARIABLE", "Chromium", "find_chromium"]

VARIABLE = "EDGE_CHROMIUM"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
END_S = 20.0
NOWHERE = "http://127.0.0.1:1/"  # a port on which nobody listens
# No account, no update, no report, no name that resolves: the page and its server are all there is. What asks for a
# server of the maker's all the same, as sign-in and updates do at every start, gets none.
OPTIONS = (
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--disable-gpu",
    "--disable-component-extensions-with-background-pages",
    "--disable-features=Translate,MediaRouter,OptimizationHints,NetworkTimeServiceQuerying",
    "--allow-browser-signin=false",
    f"--gaia-url={NOWHERE}",
    f"--component-updater=url-source={NOWHERE}",
    "--no-pings",
    "--no-proxy-server",
    "--password-store=basic",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    # A page that nobody looks at is slowed down otherwise.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


def find_chromium(program: str | None = None) -> str:
    """Return the path of Chromium: the one that is named, or `$EDGE_CHROMIUM`, or the first on the path.

    Raises:
        DeviceError: there is none; the hint says how to get one.
    """
    named = program or os.environ.get(VARIABLE)
    for candidate in (named,) if named else PROGRAMS:
        if found := shutil.which(candidate):
            return found
    raise DeviceError(
        f"no browser: `{named}` is no program" if named else "no browser on the path",
        expected=None if named else " | ".join(PROGRAMS),
        hint=f"apt-get install chromium, or name one in the variable {VARIABLE}",
    )


class Chromium:
    """One page in a browser of its own; leaving the `with` block ends every process of it and removes its profile."""

    def __init__(self, program: str, address: str, *, pin: Sequence[int] = (), options: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            program: path of Chromium.
            address: of the page.
            pin: numbers of the CPUs that all its processes are held to; empty leaves them alone.
            options: further ones of Chromium's command line.

        Raises:
            DeviceError: it does not start.
        """
        profile = tempfile.mkdtemp(prefix="edge-browser-")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the browser
        own = [f"--user-data-dir={profile}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            own.append("--no-sandbox")  # as root Chromium refuses to run without
        keeping = [sys.executable, "-I", "-S", keeper.__file__, profile, ",".join(map(str, pin)) or "-"]
        try:
            self._keeper = subprocess.Popen(
                [*keeping, program, *OPTIONS, *own, *options, address],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C reaches this process only, which then ends the browser
            )
        except OSError as exc:
            self._log.close()
            shutil.rmtree(profile, ignore_errors=True)
            raise DeviceError(f"`{program}` does not start", got=exc.strerror) from exc

    @property
    def ended(self) -> bool:
        """Whether the browser is gone, though nobody asked it to go."""
        return self._keeper.poll() is not None

    def last_words(self) -> str:
        """Return the end of what it printed, one line; for the message of an error."""
        with contextlib.suppress(OSError, ValueError):
            size = self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, size - 2000))
            lines = self._log.read().decode("utf-8", "replace").split("\n")
            return next((line.strip()[-160:] for line in reversed(lines) if line.strip()), "nothing printed")
        return "nothing printed"

    def peak_rss_bytes(self) -> int | None:
        """Return the most memory that the process which runs the page has held; None where the system does not say.

        Of several renderers it is the largest; what browser, network and graphics processes hold is not in it.
        """
        peaks = []
        for process in keeper.children(self._keeper.pid):
            with contextlib.suppress(OSError, ValueError, IndexError):
                folder = Path(f"/proc/{process}")
                if b"--type=renderer" not in (folder / "cmdline").read_bytes():
                    continue
                for line in (folder / "status").read_text(encoding="ascii", errors="replace").splitlines():
                    if line.startswith("VmHWM:"):
                        peaks.append(int(line.split()[1]) * 1024)
        return max(peaks, default=None)

    def close(self) -> None:
        """End it. Safe to call twice."""
        if self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
        try:
            self._keeper.wait(END_S)
        except subprocess.TimeoutExpired:  # its children get their signal from the system
            self._keeper.kill()
            self._keeper.wait()
        self._log.close()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
