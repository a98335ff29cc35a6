"""`edge.toml`: devices are read, nonsense is refused with its line, and no host can be an option of ssh."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bench.config import DeviceConfig, check_host, read_devices
from edge.runtime.errors import InputError

HOSTILE = [
    "-oProxyCommand=touch canary",
    "pi@-oProxyCommand=touch${IFS}canary",
    "-F/dev/null",
    "pi@host;touch canary",
    "pi@host$(touch canary)",
    "pi@host`touch canary`",
    "pi@host|touch canary",
    "pi@host&&touch canary",
    "pi@host\ntouch canary",
    "pi@host\0",
    "pi@'host'",
    'pi@"host"',
    "pi @host",
    "../../etc/passwd",
    "pi@host/../x",
    "pi@\u202ehost",
    "pi@\x1b[2Jhost",
    "pi@" + "h" * 65536,
    "pi\udce4@host",
    "ssh://pi@host -oX",
    "%h@host",
    "pi@[::1]-oX",
    "",
    "@host",
    "pi@",
]


def write(folder: Path, text: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(text)
    return path


def test_a_device_needs_nothing_but_its_host(tmp_path: Path) -> None:
    path = write(tmp_path, '[devices.rpi4]\nssh = "pi@192.0.2.7"\n[devices.desk]\nssh = "desk"\nport = 2222\n')

    devices = read_devices(path)

    assert list(devices) == ["rpi4", "desk"]
    assert devices["rpi4"] == DeviceConfig(name="rpi4", ssh="pi@192.0.2.7", kind="rpi4")
    assert (devices["desk"].kind, devices["desk"].port) == ("ssh", 2222)


def test_what_others_keep_in_the_file_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, '[budget]\nsize_mb = 2\n[budget.pose]\nanything = ["goes"]\n')

    assert read_devices(path) == {}


def test_no_file_in_the_current_folder_means_no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_devices() == {}


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_devices(tmp_path / "other.toml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '[devices.rpi4]\nssh = "pi@h"\n\ncool = 50\n',
            r"`edge.toml` line 4: unknown key `cool`",
            "did you mean `cool_c`",
        ),
        ('[devices.rpi4]\nssh = "pi@h"\ncool_c = 500\n', r"line 3: device `rpi4`: `cool_c` is out of range.*500", None),
        ('[devices.rpi4]\nssh = "pi@h"\ntimeout_s = "5"\n', r"line 3: bad `timeout_s`.*a number", None),
        ('[devices.rpi4]\nssh = "pi@h"\nport = true\n', r"line 3: bad `port`", None),
        ('[devices.rpi4]\nkind = "rpi4"\n', r"line 1: device `rpi4` has no `ssh`", "user@host"),
        ('[devices.a]\nssh = "x"\n[devices.b]\nssh = "-oX"\n', r"line 4: bad SSH host.*-oX", "port"),
        ('[devices.a]\nssh = "x"\nkind = "pi5"\n', r"line 1: device `a`: unknown kind.*rpi4 \| ssh.*pi5", None),
        ('[devices.host]\nssh = "x"\n', r"line 1: bad name of a device", None),
        ('[devices.a]\nssh = "x"\npython = "-c"\n', r"line 3: device `a`: `python` is no command", None),
        (
            '[devices.rpi4]\nssh = "x"\nkind = "ssh"\n',
            r"the device `rpi4` is a Raspberry Pi 4, got `kind` ssh",
            "name it otherwise",
        ),
        ("devices = 3\n", r"`devices` is no table", "devices.rpi4"),
        ("[devices]\nrpi4 = 3\n", r"`devices.rpi4` is no table", None),
        ("[devices.rpi4\n", r"not TOML.*line 1", None),
        ("x = " + "[" * 5000, r"not TOML", None),
    ],
)
def test_nonsense_is_refused_with_its_place(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_devices(write(tmp_path, text))

    assert hint is None or hint in str(caught.value.hint)


def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_devices(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputError, match="too long"):
        read_devices(path)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_host_that_ssh_or_a_shell_could_misread_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="bad SSH host"):
        check_host(text)


@pytest.mark.parametrize("text", ["rpi4", "pi@192.0.2.7", "pi@[2001:db8::7]", "2001:db8::7", "my_pi", "a.b-c@pi.local"])
def test_hosts_that_people_have_are_taken(text: str) -> None:
    check_host(text)
