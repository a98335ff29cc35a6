"""What OpenSSH prints becomes one line that says what to do; the texts are those of OpenSSH 9.2."""

from __future__ import annotations

import pytest

from edge.bench.ssh_errors import refusal, ssh_error
from edge.runtime.errors import one_line

CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Host key for pi has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("code", "errors", "expected"),
    [
        (255, "ssh: connect to host pi port 22: Connection refused\r\n", "refused the connection"),
        (255, "ssh: connect to host pi port 22: No route to host\r\n", "does not answer"),
        (255, "ssh: connect to host pi port 22: Connection timed out\r\n", "does not answer"),
        (255, "ssh: Could not resolve hostname pi: Name or service not known\r\n", "name of `pi` is not known"),
        (
            255,
            "No ED25519 host key is known for pi and you have requested strict checking.\r\n",
            "is not known; nothing",
        ),
        (255, CHANGED, "host key of `pi` has changed; nothing was sent"),
        (255, "pi@pi: Permission denied (publickey).\r\n", "refused the login"),
        (255, "Timeout, server pi not responding.\r\n", "connection to `pi` was lost"),
        (255, "client_loop: send disconnect: Broken pipe\r\n", "connection to `pi` was lost"),
        (255, "command-line: line 0: Bad configuration option: foo\r\n", "ssh refused its configuration"),
        (255, "", "ssh to `pi` failed"),
        (127, "sh: 1: python3: not found\n", "no Python on `pi`"),
        (1, "Segmentation fault\n", "did not start our program"),
    ],
)
def test_each_cause_has_words_of_its_own(code: int, errors: str, expected: str) -> None:
    error = ssh_error("pi", code, errors)

    assert expected in str(error)
    assert error.exit_code == 4


def test_an_old_python_is_named_with_its_version() -> None:
    assert "expected 3.11 or newer, got 3.9.2" in str(ssh_error("pi", 3, "", "Welcome!\nedge-bench python 3.9.2\n"))


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "busy", "pid": ["\x1b[2J"] * 1000},
        {"kind": "full", "needed_bytes": "many", "free_bytes": None, "folder": "\x1b]0;x" * 1000},
        {"kind": "damaged", "name": 3, "got": {}},
        {"kind": "hot", "temperature_c": "warm", "throttled": -1.5},
        {"kind": None, "message": "\u202e" * 1000},
        {},
    ],
)
def test_a_device_that_talks_nonsense_still_gives_one_clean_line(told: dict[str, object]) -> None:
    line = one_line(refusal("pi", told))

    assert len(line) <= 300
    assert line.isprintable()
