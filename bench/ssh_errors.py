"""Why a device behind SSH failed: read from what OpenSSH's client printed, or told by `remote.py`."""

from __future__ import annotations

import re
from typing import Any

from ..runtime.errors import DeviceError

__all__ = ["TRANSPORT", "refusal", "ssh_error", "state_text"]

TRANSPORT = 255  # exit code of ssh for all that is not the remote command's own
NOT_FOUND = (126, 127)  # exit codes of a shell for a command that is not there or cannot be run

# What ssh prints -> what was wrong, what to do. The first that matches counts; a later line may follow from it.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Offending .* key in|HOST IDENTIFICATION",
        "the host key of `{host}` has changed; nothing was sent",
        "if it was set up anew, remove the old key with `ssh-keygen -R` and look at the new one",
    ),
    (
        r"[Nn]o .*host key is known|Host key verification failed",
        "the host key of `{host}` is not known; nothing was sent",
        "connect once with `ssh`, compare the fingerprint, and say yes",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "`{host}` refused the login",
        "set up a key with `ssh-copy-id` (no password is asked for here), and see that the user is right",
    ),
    (
        r"Could not resolve hostname|[Nn]ame or service not known",
        "the name of `{host}` is not known",
        "see `ssh` in edge.toml",
    ),
    (r"Connection refused", "`{host}` refused the connection", "is sshd running there, and the port right?"),
    (
        r"not responding|Broken pipe|Connection reset|closed by remote host|Connection to .* closed|Write failed",
        "the connection to `{host}` was lost",
        "what had been measured is kept; run it again",
    ),
    (
        r"timed out|[Tt]imeout|No route to host|Network is unreachable|Host is down",
        "`{host}` does not answer",
        "is it on, and in this network?",
    ),
    (
        r"[Bb]ad configuration option|Bad owner or permissions|[Cc]an't open user config",
        "ssh refused its configuration",
        "see ~/.ssh/config",
    ),
    (
        r"[Kk]ex|[Nn]o matching|Connection closed by",
        "`{host}` ended the connection before a login",
        "see its sshd's log",
    ),
)


def ssh_error(host: str, code: int, errors: str, spoken: str = "") -> DeviceError:
    """Return the error behind an ssh that ended before the device had said what it should.

    Args:
        host: as the user called it.
        code: exit code of ssh; that of the remote command, or 255.
        errors: what came on stderr, from ssh and from the remote shell.
        spoken: what came on stdout instead.
    """
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1][:100] if lines else None
    if code == TRANSPORT:
        for pattern, message, hint in _CAUSES:
            if found := next((line for line in lines if re.search(pattern, line)), None):
                return DeviceError(message.format(host=host), got=found.strip("@ ")[:100] or None, hint=hint)
        return DeviceError(f"ssh to `{host}` failed", got=last)
    if old := re.search(r"^edge-bench python (\d+\.\d+\.\d+)", spoken, re.MULTILINE):
        return DeviceError(
            f"the Python of `{host}` is too old",
            expected="3.11 or newer",
            got=old[1],
            hint="name a newer one as `python` in edge.toml",
        )
    if code in NOT_FOUND:
        return DeviceError(
            f"no Python on `{host}`", got=last, hint="install python3 there, or name it as `python` in edge.toml"
        )
    return DeviceError(f"`{host}` did not start our program", got=last or spoken.strip()[-80:] or f"exit code {code}")


def refusal(host: str, told: dict[str, Any]) -> DeviceError:
    """Return what the device refused, as an error.

    Args:
        host: as the user called it.
        told: the words of `remote.Refused`; nothing in them is believed to be of the right type.
    """
    kind = told.get("kind")
    if kind == "busy":
        pid = str(told.get("pid"))[:20]
        return DeviceError(
            f"another benchmark runs on `{host}`", got=f"process {pid}", hint="one at a time; wait until it has ended"
        )
    if kind == "full":
        needed, free = (_megabytes(told.get(key)) for key in ("needed_bytes", "free_bytes"))
        return DeviceError(
            f"no room on `{host}`",
            expected=f"{needed} MB in `{str(told.get('folder'))[:60]}`",
            got=f"{free} MB",
            hint="remove something there",
        )
    if kind == "damaged":
        return DeviceError(
            f"what was sent to `{host}` arrived damaged",
            expected=f"SHA-256 {str(told.get('name'))[:12]}",
            got=str(told.get("got"))[:12],
            hint="run it again; if it stays so, see the disk of the device",
        )
    if kind == "hot":
        return DeviceError(
            f"`{host}` did not cool down", got=state_text(told), hint="give it air and a good supply, or raise `cool_c`"
        )
    return DeviceError(f"`{host}` refused", got=str(told.get("message") or kind)[:120])


def state_text(told: dict[str, Any]) -> str:
    """Return the temperature and throttling bits of an event, in words."""
    celsius, bits = told.get("temperature_c"), told.get("throttled")
    parts = [f"{celsius:.1f} C"] if isinstance(celsius, int | float) else []
    parts += [f"throttled {bits:#x}"] if isinstance(bits, int) and bits else []
    return ", ".join(parts) or "state unknown"


def _megabytes(value: object) -> str:
    return f"{value / 1e6:.0f}" if isinstance(value, int | float) else "unknown"
