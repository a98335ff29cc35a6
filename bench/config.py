"""`edge.toml`: devices, defaults and budgets, read once and checked whole.

    [defaults]
    baseline = "edge-baseline"

    [devices.rpi4]
    ssh = "pi@192.0.2.7"

    [[budget]]
    model = "pose-*"
    variant = "int8"
    size_bytes = 2_000_000

A key that nobody knows is an error, with the nearest name that somebody does; every complaint names its line.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..runtime.engines import MAX_THREADS
from ..runtime.errors import InputError
from .adb import SERIAL
from .budgets import OF_LATENCY, SAYS, TIMED, Budget
from .toml_lines import Place, lines_of

__all__ = [
    "CONFIG",
    "KINDS",
    "PHONE_COOL_C",
    "TAKEN",
    "Config",
    "Defaults",
    "DeviceConfig",
    "check_host",
    "nearest",
    "read_config",
    "read_devices",
]

CONFIG = "edge.toml"
TABLES = ("defaults", "devices", "budget")
MAX_BYTES = 1 << 20
KINDS = ("rpi4", "ssh", "android")
TAKEN = ("host", "browser", "android")  # names of devices that need no table
UNNAMED = ("host", "browser", "android", "rpi4")  # what a budget may name without a table
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What a host may be made of: a name, an address, an alias of the user's own configuration; perhaps a user before it.
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]")
OF_SSH = ("ssh", "port", "ssh_config", "python")  # keys that a phone has no use for
PHONE_COOL_C = 40.0  # of a battery
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """One device behind SSH, or a phone behind adb: `ssh` or `adb` says which.

    Attributes:
        name: as `--device` calls it.
        ssh: where, as OpenSSH's client takes it: "host", "user@host" or an alias of ~/.ssh/config; "" for a phone.
        adb: serial of a phone, as `adb devices` has it; "" for a device behind SSH.
        kind: "rpi4" insists on a real Raspberry Pi 4; "ssh" is any other Linux machine; "android" goes with `adb`.
        port: of sshd; 0 leaves it to OpenSSH's configuration.
        ssh_config: file to read instead of ~/.ssh/config; "" for that one.
        python: the command there. That of a virtual environment runs with the packages it has; any other gets ours.
        cool_c: highest temperature at which a launch may begin, degrees Celsius; of a phone, that of its battery.
        timeout_s: longest launch, seconds; 0 goes by what is to be measured.
    """

    name: str
    ssh: str = ""
    adb: str = ""
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
        if self.adb:
            self._check_phone()
        else:
            check_host(self.ssh)
        if self.kind not in KINDS:
            raise InputError(f"device `{self.name}`: unknown kind", expected=" | ".join(KINDS), got=self.kind[:40])
        if self.name == "rpi4" and self.kind != "rpi4":
            raise InputError(
                "the device `rpi4` is a Raspberry Pi 4", got=f"`kind` {self.kind}", hint="name it otherwise"
            )
        for key, least, most in (("port", 0, 65535), ("cool_c", 20, 100), ("timeout_s", 0, 86_400)):
            if not least <= getattr(self, key) <= most:
                raise InputError(
                    f"device `{self.name}`: `{key}` is out of range",
                    expected=f"{least} to {most}",
                    got=getattr(self, key),
                )
        for key in ("python", "ssh_config"):
            text = getattr(self, key)
            if len(text) > 4096 or not text.isprintable():
                raise InputError(f"device `{self.name}`: `{key}` is no path", got=text[:40])
        if not self.python.strip() or self.python.startswith("-"):
            raise InputError(f"device `{self.name}`: `python` is no command", got=self.python[:40])
        if self.kind == "android" and not self.adb:
            raise InputError(f"device `{self.name}`: `kind` android is behind adb", hint='adb = "SERIAL"')

    def _check_phone(self) -> None:
        if not SERIAL.fullmatch(self.adb):
            raise InputError(
                f"device `{self.name}`: `adb` is no serial", expected="one that `adb devices` lists", got=self.adb[:40]
            )
        if self.kind != "android":
            raise InputError(f"device `{self.name}`: `kind` {self.kind[:40]} is not behind adb", expected="android")
        for key in OF_SSH:
            if getattr(self, key) != DeviceConfig.__dataclass_fields__[key].default:
                raise InputError(f"device `{self.name}`: `{key}` is of SSH, and this is a phone", hint="leave it out")


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds where a command line and a budget say nothing.

    Attributes:
        device: of budgets with a limit on latency that name none.
        threads: of the same.
        baseline: folder of `edge gate --baseline`, from the configuration's own folder; "" for none.
        samples: that `edge gate` judges a metric on; 0 takes as many as `edge eval` does.
        data: what these samples are: "synthetic", or a folder, from the configuration's own folder.
    """

    device: str = "host"
    threads: int = 1
    baseline: str = ""
    samples: int = 0
    data: str = "synthetic"

    def __post_init__(self) -> None:
        for name, least, most in (("threads", 1, MAX_THREADS), ("samples", 0, 1_000_000)):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"`{name}` is out of range", expected=f"{least} to {most:,}", got=getattr(self, name))
        for name in ("baseline", "data"):
            text = getattr(self, name)
            if len(text) > 4096 or not text.isprintable():
                raise InputError(f"`{name}` is no path", got=text[:40])
        if not self.data:
            raise InputError("`data` is empty", expected='"synthetic" or a folder')


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration that was read.

    Attributes:
        path: the file; None where there is none.
        defaults: see `Defaults`.
        devices: by name, in the file's order.
        budgets: in the file's order.
    """

    path: Path | None = None
    defaults: Defaults = field(default_factory=Defaults)
    devices: Mapping[str, DeviceConfig] = field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()

    def beside(self, path: str) -> Path:
        """Return a path of the file, which is meant from the file's own folder."""
        return (self.path.parent if self.path else Path()) / path


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


def read_devices(path: Path | None = None) -> Mapping[str, DeviceConfig]:
    """Return the devices that a configuration file names, in its order; see `read_config`."""
    return read_config(path).devices


def read_config(path: Path | None = None) -> Config:
    """Return what a configuration file says.

    Args:
        path: the file; None takes `edge.toml` of the current folder if there is one.

    Raises:
        InputError: the file cannot be read, is no TOML, or says something that makes no sense; file and line are in
            the message.
    """
    if path is None:
        path = Path(CONFIG)
        if not path.exists():
            return Config()
    text = _read(path)
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InputError(f"`{path.name}` is not TOML", got=str(exc)[:120] or "too deeply nested") from exc
    reader = _Reader(path.name, lines_of(text))
    reader.known((), tables, TABLES, "table")
    devices = {
        name: _device(reader, name, values)
        for name, values in reader.table(tables.get("devices", {}), ("devices",)).items()
    }
    defaults = reader.build(Defaults, ("defaults",), reader.table(tables.get("defaults", {}), ("defaults",)))
    _check_device(reader, ("defaults", "device"), defaults.device, devices)
    config = Config(path=path, defaults=defaults, devices=devices)
    budgets = tables.get("budget", [])
    if not isinstance(budgets, list) or not all(isinstance(values, dict) for values in budgets):
        raise reader.error(("budget",), "`budget` is no list of tables", hint="write [[budget]] with two brackets")
    found = tuple(_budget(reader, number, values, config) for number, values in enumerate(budgets))
    return dataclasses.replace(config, budgets=found)


def nearest(name: str, known: Iterable[str], what: str = "keys") -> str:
    """Return a hint: the nearest name that is known, or all of them."""
    listed = list(known)
    near = difflib.get_close_matches(name, listed, 1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"{what}: {', '.join(listed)}"


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


class _Reader:
    """Makes facts of tables, and errors that name a line."""

    def __init__(self, file: str, lines: Mapping[Place, int]) -> None:
        self._file, self._lines = file, lines

    def line(self, place: Place) -> int:
        """Return the line of a key, or of the nearest table around it; 0 where the file does not show it."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 0)

    def error(
        self, place: Place, message: str, *, expected: object = None, got: object = None, hint: str | None = None
    ) -> InputError:
        line = self.line(place)
        where = f"`{self._file}` line {line}" if line else f"`{self._file}`"
        return InputError(f"{where}: {message}", expected=expected, got=got, hint=hint)

    def known(self, place: Place, values: Mapping[str, Any], names: Iterable[str], what: str) -> None:
        """Refuse keys that are none of `names`."""
        listed = tuple(names)
        for key in values:
            if key not in listed:
                raise self.error((*place, key), f"unknown {what} `{key}`", hint=nearest(key, listed, f"{what}s"))

    def table(self, values: object, place: Place) -> dict[str, Any]:
        """Return what must be a table."""
        if not isinstance(values, dict):
            name = ".".join(map(str, place))
            example = "[devices.rpi4]" if name == "devices" else f"[{name}]"
            raise self.error(place, f"`{name}` is no table", hint=f"write {example}")
        return values

    def build(self, kind: type[T], place: Place, values: Mapping[str, Any], **given: Any) -> T:
        """Return the dataclass that a table describes, with what is `given` beside it.

        A value of another type, and what the dataclass refuses, is told with the line of the key that it names in
        backticks.
        """
        hints = {name: str(item.type) for name, item in _fields(kind).items() if name not in given}
        self.known(place, values, hints, "key")
        for key, value in values.items():
            if not any(_is(value, hint) for hint in hints[key].split(" | ")):
                raise self.error((*place, key), f"bad `{key}`", expected=_in_words(hints[key]), got=repr(value)[:40])
        try:
            return kind(**{**given, **values})
        except InputError as exc:
            guilty = next((key for key in values if f"`{key}`" in exc.message), "ssh" if "host" in exc.message else "")
            at = (*place, guilty) if guilty in values else place
            raise self.error(at, exc.message, expected=exc.expected, got=exc.got, hint=exc.hint) from exc


def _device(reader: _Reader, name: str, values: object) -> DeviceConfig:
    place = ("devices", name)
    table = reader.table(values, place)
    if table.get("adb"):
        own: dict[str, Any] = {"kind": "android", "cool_c": PHONE_COOL_C}
    elif "ssh" in table:
        own = {"kind": "rpi4" if name == "rpi4" else "ssh"}
    else:
        reader.known(place, table, [key for key in _fields(DeviceConfig) if key != "name"], "key")
        hint = 'ssh = "user@host", or adb = "SERIAL" for a phone'
        raise reader.error(place, f"device `{name}` has no `ssh`", hint=hint)
    return reader.build(DeviceConfig, place, {**own, **table}, name=name)


def _budget(reader: _Reader, number: int, values: Mapping[str, Any], config: Config) -> Budget:
    """Return a budget, with the defaults of its file where it has a limit on latency."""
    place = ("budget", number)
    reader.known(place, values, SAYS, "key")
    stray = [key for key in OF_LATENCY if key in values]
    if stray and not any(name in values for name in TIMED):
        raise reader.error(
            (*place, stray[0]), f"`{stray[0]}` without a limit on latency", expected=f"one of {', '.join(TIMED)}"
        )
    defaults = {"device": config.defaults.device, "threads": config.defaults.threads}
    budget = reader.build(Budget, place, {**defaults, **values}, line=reader.line(place))
    _check_device(reader, (*place, "device"), budget.device, config.devices)
    return budget


def _check_device(reader: _Reader, place: Place, name: str, devices: Iterable[str]) -> None:
    known = list(dict.fromkeys([*UNNAMED, *devices]))
    if name not in known:
        raise reader.error(place, f"there is no device `{name[:64]}`", hint=nearest(name, known, "devices"))


def _fields(kind: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    return {item.name: item for item in dataclasses.fields(kind)}


def _is(value: object, hint: str) -> bool:
    """Return whether a value of a TOML file is of a type; a whole number is a number too, and true is none."""
    if isinstance(value, bool) or hint == "bool":
        return isinstance(value, bool) and hint == "bool"
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "None": ()}
    return isinstance(value, kinds[hint])


def _in_words(hint: str) -> str:
    words = {"str": "text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false"}
    return " or ".join(words[part] for part in hint.split(" | ") if part in words)
