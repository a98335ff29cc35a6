"""`edge.toml`: the devices that a user has named.

    [devices.rpi4]
    ssh = "pi@192.0.2.7"

Only the table `devices` is read here; what others keep in the file is passed over.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError

__all__ = ["CONFIG", "KINDS", "DeviceConfig", "check_host", "read_devices"]

CONFIG = "edge.toml"
MAX_BYTES = 1 << 20
KINDS = ("rpi4", "ssh")
TAKEN = ("host", "browser", "android")  # names of devices that need no table
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What a host may be made of: a name, an address, an alias of the user's own configuration; perhaps a user before it.
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]")


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """One device behind SSH.

    Attributes:
        name: as `--device` calls it.
        ssh: where, as OpenSSH's client takes it: "host", "user@host" or an alias of ~/.ssh/config.
        kind: "rpi4" insists on a real Raspberry Pi 4; "ssh" is any other Linux machine.
        port: of sshd; 0 leaves it to OpenSSH's configuration.
        ssh_config: file to read instead of ~/.ssh/config; "" for that one.
        python: the command there. That of a virtual environment runs with the packages it has; any other gets ours.
        cool_c: highest temperature at which a launch may begin, degrees Celsius.
        timeout_s: longest launch, seconds; 0 goes by what is to be measured.
    """

    name: str
    ssh: str
    kind: str = "ssh"
    port: int = 0
    ssh_config: str = ""
    python: str = "python3"
    cool_c: float = 55.0
    timeout_s: float = 0.0

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name in TAKEN:
            raise InputError(
                "bad name of a device", expected=f"letters and digits, none of {', '.join(TAKEN)}", got=self.name[:64]
            )
        check_host(self.ssh)
        if self.kind not in KINDS:
            raise InputError(f"device `{self.name}`: unknown kind", expected=" | ".join(KINDS), got=self.kind[:40])
        if self.name == "rpi4" and self.kind != "rpi4":
            raise InputError(
                "the device `rpi4` is a Raspberry Pi 4", got=f"`kind` {self.kind}", hint="name it otherwise"
            )
        for field, least, most in (("port", 0, 65535), ("cool_c", 20, 100), ("timeout_s", 0, 86_400)):
            if not least <= getattr(self, field) <= most:
                raise InputError(
                    f"device `{self.name}`: `{field}` is out of range",
                    expected=f"{least} to {most}",
                    got=getattr(self, field),
                )
        for field in ("python", "ssh_config"):
            text = getattr(self, field)
            if len(text) > 4096 or not text.isprintable():
                raise InputError(f"device `{self.name}`: `{field}` is no path", got=text[:40])
        if not self.python.strip() or self.python.startswith("-"):
            raise InputError(f"device `{self.name}`: `python` is no command", got=self.python[:40])


def check_host(text: str) -> None:
    """Refuse with an InputError what is not `host` or `user@host`, or what OpenSSH could take for an option."""
    user, at, host = text.rpartition("@")
    if (at and not USER.fullmatch(user)) or not HOST.fullmatch(host):
        raise InputError(
            "bad SSH host",
            expected="host, user@host or an alias of ~/.ssh/config",
            got=text[:60],
            hint="a port goes into `port`, anything else into ~/.ssh/config",
        )


def read_devices(path: Path | None = None) -> dict[str, DeviceConfig]:
    """Return the devices that a configuration file names, in its order.

    Args:
        path: the file; None takes `edge.toml` of the current folder if there is one.

    Raises:
        InputError: the file cannot be read, is no TOML, or says something of a device that makes no sense.
    """
    if path is None:
        path = Path(CONFIG)
        if not path.exists():
            return {}
    text = _read(path)
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InputError(f"`{path.name}` is not TOML", got=str(exc)[:120] or "too deeply nested") from exc
    devices = tables.get("devices", {})
    if not isinstance(devices, dict):
        raise InputError(f"`{path.name}`: `devices` is no table", hint='write [devices.rpi4] and ssh = "pi@..."')
    return {name: _device(name, values, path.name, text) for name, values in devices.items()}


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise InputError(f"`{path.name}` is too long", expected=f"at most {MAX_BYTES:,} bytes")
        return raw.decode("utf-8")
    except OSError as exc:
        raise InputError(f"cannot read `{path}`", got=exc.strerror) from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"`{path.name}` is not UTF-8") from exc


def _device(name: str, values: Any, file: str, text: str) -> DeviceConfig:
    if not isinstance(values, dict):
        raise InputError(f"{_place(file, text, name)}: `devices.{name}` is no table", hint=f"write [devices.{name}]")
    types = {field.name: str(field.type) for field in dataclasses.fields(DeviceConfig) if field.name != "name"}
    for key, value in values.items():
        place = _place(file, text, name, key)
        if key not in types:
            raise InputError(f"{place}: unknown key `{key}` of a device", hint=_nearest(key, types))
        wanted: tuple[type, ...] = {"str": (str,), "int": (int,), "float": (int, float)}[types[key]]
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "text in quotes" if types[key] == "str" else "a number"
            raise InputError(f"{place}: bad `{key}`", expected=kind, got=repr(value)[:40])
    if "ssh" not in values:
        raise InputError(f"{_place(file, text, name)}: device `{name}` has no `ssh`", hint='ssh = "user@host"')
    try:
        return DeviceConfig(**{"name": name, "kind": "rpi4" if name == "rpi4" else "ssh", **values})
    except InputError as exc:
        guilty = next((key for key in values if f"`{key}`" in exc.message), "ssh" if "host" in exc.message else "")
        raise InputError(
            f"{_place(file, text, name, guilty)}: {exc.message}", expected=exc.expected, got=exc.got, hint=exc.hint
        ) from exc


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"keys: {', '.join(known)}"


def _place(file: str, text: str, name: str, key: str = "") -> str:
    """Return `file:line` of a key, or of its table; the file alone where they are written in some rarer way."""
    line_of_table, inside = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]*?)\s*\]", line)
        if header:
            parts = [part.strip().strip("\"'") for part in header[1].split(".", 1)]
            inside = parts == ["devices", name]
            line_of_table = number if inside else line_of_table
        elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f"`{file}` line {number}"
    return f"`{file}` line {line_of_table}" if line_of_table else f"`{file}`"
