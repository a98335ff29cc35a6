"""Debian packages fetched by this machine's own apt, outside of its database: for stand-ins that need no root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runtime.errors import DeviceError

__all__ = ["downloaded", "run_tool"]


def downloaded(scratch: Path, packages: Sequence[str], what: str, settings: str = "") -> list[Path]:
    """Return packages and all that they need, fetched by an apt that knows nothing of what is installed here.

    Args:
        scratch: folder that apt may fill; the files are in it.
        packages: by name.
        what: they are, in words.
        settings: further ones of apt, as apt.conf has them.

    Raises:
        DeviceError: they cannot be had; apt's own last words are in it.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True)
    (scratch / "state/status").touch()
    config = scratch / "apt.conf"
    config.write_text(
        f"""{settings}#clear APT::Update;
APT::Sandbox::User "{"root" if os.geteuid() == 0 else ""}";
Dir::State "{scratch}/state";
Dir::State::status "{scratch}/state/status";
Dir::Cache "{scratch}/cache";
Debug::NoLocking "1";
"""
    )
    environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
    run_tool(["apt-get", "--quiet", "update"], f"cannot fetch the list of {what}", environment)
    command = ["apt-get", "--quiet", "--yes", "--download-only", "--no-install-recommends", "install", *packages]
    run_tool(command, f"cannot fetch {what}", environment)
    return sorted((scratch / "cache/archives").glob("*.deb"))


def run_tool(command: Sequence[str], failed: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end, and raise a DeviceError with its last words where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise DeviceError(failed, got=lines[-1][:160] if lines else f"{command[0]} ended with {done.returncode}")
