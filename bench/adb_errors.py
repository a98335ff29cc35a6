"""Why a phone behind adb failed: read from what adb, `pm` and `am` printed."""

from __future__ import annotations

import re

from ..runtime.errors import DeviceError

__all__ = ["MIN_API", "PACKAGE", "adb_error", "is_lost", "state_error"]

PACKAGE = "edge.vision.demo"
MIN_API = 24  # of android_demo/app.properties
AGAIN = "what had been measured is kept; connect it and run it again"
ACCEPT = "unlock it and accept the question on its screen; `adb devices` then says `device`"

# What is printed -> what was wrong, what to do. The first that matches counts.
_CAUSES: tuple[tuple[str, str, str | None], ...] = (
    (
        r"No space left on device|INSUFFICIENT_STORAGE|not enough space",
        "no room on `{serial}`",
        "remove something there",
    ),
    (r"unauthorized|authorizing", "`{serial}` has not authorised this machine", ACCEPT),
    (r"more than one device", "several phones are connected", "name one with `--serial`"),
    (
        r"UPDATE_INCOMPATIBLE|VERSION_DOWNGRADE|signatures do not match",
        "another build of the app is on `{serial}`",
        f"`adb uninstall {PACKAGE}`, and run it again",
    ),
    (
        r"USER_RESTRICTED|VERIFICATION_FAILURE",
        "`{serial}` does not let adb install",
        "allow installation over USB in its developer options",
    ),
    (r"NO_MATCHING_ABIS", "the app has no code for the processor of `{serial}`", None),
    (r"INSTALL_FAILED|INSTALL_PARSE|Failure \[", "`{serial}` refused the app", None),
    (
        r"Unable to find instrumentation|Permission Denial.*instrumentation|INSTRUMENTATION_FAILED",
        "the app on `{serial}` has no benchmark in it",
        "build it with `python android_demo/build.py`, and name it with `--apk`",
    ),
    (
        r"device offline|device '.*' not found|device not found|no devices|error: closed|[Cc]onnection reset"
        r"|protocol fault|transport|[Bb]roken pipe|connect failed|couldn't read from device",
        "the connection to `{serial}` was lost",
        AGAIN,
    ),
    (
        r"daemon|server version|Address already in use|cannot connect to .*5037",
        "adb's server does not run",
        "`adb kill-server`, then `adb devices`",
    ),
)
_LOST = _CAUSES[-2][0]
_STATES: dict[str, tuple[str, str]] = {
    "unauthorized": ("`{serial}` has not authorised this machine", ACCEPT),
    "authorizing": ("`{serial}` has not authorised this machine", ACCEPT),
    "offline": ("`{serial}` is offline", "unplug it and plug it in again"),
    "no permissions": (
        "this user may not talk to the phone",
        "add its udev rule (Debian: android-sdk-platform-tools-common), and plug it in again",
    ),
}


def adb_error(serial: str, printed: str) -> DeviceError:
    """Return the error behind what adb, or a program on the phone, printed when it failed.

    Args:
        serial: of the phone.
        printed: stdout and stderr.
    """
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for pattern, message, hint in _CAUSES:
        if found := next((line for line in lines if re.search(pattern, line)), None):
            return DeviceError(message.format(serial=serial), got=found[-120:], hint=hint)
    return DeviceError(f"adb failed on `{serial}`", got=lines[-1][-120:] if lines else "nothing was said")


def is_lost(printed: str) -> bool:
    """Return whether what adb printed says that the phone is not there any more."""
    return re.search(_LOST, printed) is not None


def state_error(serial: str, state: str) -> DeviceError:
    """Return why a phone in a state of `adb devices` other than "device" cannot be used."""
    message, hint = next(
        (told for name, told in _STATES.items() if state.startswith(name)),
        ("`{serial}` is not in its normal mode", "start it as usual"),
    )
    return DeviceError(message.format(serial=serial), got=f"state `{state[:40]}`", hint=hint)
