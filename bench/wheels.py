"""Wheels for another machine: is there one, and what would it take up?"""

from __future__ import annotations

import marshal
import subprocess
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..runtime.errors import InputError

__all__ = ["PLATFORMS", "WheelCheck", "WheelName", "check_wheel", "compiled_bytes", "platform_tags", "wheel_name"]

# glibc by Python version: Raspberry Pi OS (64-bit) is Debian. bookworm brings Python 3.11 and glibc 2.36, trixie
# Python 3.13 and glibc 2.41.
PLATFORMS = {"aarch64": {"3.11": (2, 36), "3.13": (2, 41)}}
OLDEST_GLIBC = 17  # manylinux2014, PEP 599; older tags have no aarch64
PYC_HEADER = 16  # bytes before the code, PEP 552


class WheelName(NamedTuple):
    """A wheel's file name in parts, as PEP 427 has them; a compressed set of tags stays one word."""

    name: str
    version: str
    python: str
    abi: str
    platform: str

    @property
    def tag(self) -> str:
        """What pip matches with a machine."""
        return f"{self.python}-{self.abi}-{self.platform}"


@dataclass(frozen=True, kw_only=True)
class WheelCheck:
    """Whether there is a wheel of one distribution for one machine.

    Attributes:
        name, version: of the distribution.
        engine: which install it belongs to.
        platform, python: of the machine.
        file, tag: of the wheel; None where there is none.
        zip_bytes, unpacked_bytes: of the wheel, and of the files in it.
        compiled_bytes: of the .pyc files that pip would add, computed by the Python that runs this.
        reason: why there is none.
    """

    name: str
    version: str
    engine: str
    platform: str
    python: str
    file: str | None = None
    tag: str | None = None
    zip_bytes: int = 0
    unpacked_bytes: int = 0
    compiled_bytes: int = 0
    reason: str = ""


def check_wheel(name: str, version: str, *, engine: str, platform: str, python: str, into: Path) -> WheelCheck:
    """Return whether pip finds a wheel of a distribution for another machine; it is downloaded for its size.

    Args:
        name, version: of the distribution.
        engine: named in the result.
        platform: of `PLATFORMS`.
        python: "3.11", say; one that `PLATFORMS` knows.
        into: folder for the wheel; one that lies there already is taken instead.

    Raises:
        InputError: the glibc of that Python's machine is not known.
    """
    known = PLATFORMS[platform]
    if python not in known:
        raise InputError(f"no machine with Python {python} is known for {platform}", expected=" | ".join(known))
    into.mkdir(parents=True, exist_ok=True)
    reason = ""
    if not list(into.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
        command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", "-d", str(into)]
        for tag in platform_tags(platform, known[python]):
            command += ["--platform", tag]
        done = subprocess.run([*command, f"{name}=={version}"], check=False, capture_output=True, text=True)
        reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1][:160]
    result = WheelCheck(name=name, version=version, engine=engine, platform=platform, python=python, reason=reason)
    found = sorted(into.glob("*.whl"))
    return sized(result, found[0]) if found else result


def sized(check: WheelCheck, wheel: Path) -> WheelCheck:
    """Return a check with the figures of the wheel that was found."""
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    return WheelCheck(
        name=check.name,
        version=check.version,
        engine=check.engine,
        platform=check.platform,
        python=check.python,
        file=wheel.name,
        tag=wheel_name(wheel).tag,
        zip_bytes=wheel.stat().st_size,
        unpacked_bytes=unpacked,
        compiled_bytes=compiled_bytes(wheel),
    )


def platform_tags(platform: str, glibc: tuple[int, int]) -> list[str]:
    """Return the platform tags that a Linux machine takes, newest first.

    Args:
        platform: "aarch64", say.
        glibc: version of its C library.

    Source:
        PEP 600: manylinux_2_X runs where glibc is 2.X or newer.
    """
    major, minor = glibc
    newest_first = [f"manylinux_{major}_{number}_{platform}" for number in range(minor, OLDEST_GLIBC - 1, -1)]
    return [*newest_first, f"manylinux2014_{platform}", f"linux_{platform}"]


def wheel_name(wheel: Path) -> WheelName:
    """Return the parts of a wheel's file name.

    Raises:
        InputError: it is not one.
    """
    parts = wheel.name.removesuffix(".whl").split("-")
    if wheel.suffix != ".whl" or len(parts) not in (5, 6):
        raise InputError("not a wheel's name", expected="name-version(-build)-python-abi-platform.whl", got=wheel.name)
    return WheelName(parts[0], parts[1], *parts[-3:])


def compiled_bytes(wheel: Path) -> int:
    """Return the size of the .pyc files that pip makes of a wheel's modules, by the Python that runs this."""
    total = 0
    with zipfile.ZipFile(wheel) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's escapes
        for entry in archive.infolist():
            if not entry.filename.endswith(".py"):
                continue
            try:
                code = compile(archive.read(entry), entry.filename, "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue  # pip leaves it out too
            total += PYC_HEADER + len(marshal.dumps(code))
    return total
