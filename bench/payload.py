"""What a device is sent before it can measure: our own code, and the wheels of one engine for its Python and processor.

Both are zip files named by their SHA-256 and made so that equal content gives equal bytes; the device keeps what it
has unpacked, and a second run sends nothing. Wheels come through pip, with the versions that were tested together, and
stay in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..runtime.engines import ENGINES
from ..runtime.errors import DeviceError, ResourceError
from ..runtime.trust import cache_folder
from .wheels import platform_tags

__all__ = ["Payload", "Platform", "code_payload", "engine_payload"]

PACKAGE = Path(__file__).resolve().parent.parent  # of `runtime` and `bench`, in a checkout and in an install
PINS = PACKAGE / "requirements" / "pins.txt"  # in a checkout; an install is of the versions that were tested
WORKER = ("__init__.py", "environment.py", "plan.py", "worker.py")
OLDEST = (1980, 1, 1, 0, 0, 0)  # the date of every entry, so that equal files give equal zips
STEM = "payload-"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What decides which wheels a machine takes.

    Attributes:
        machine: "aarch64" or "x86_64".
        python: major and minor version.
        glibc: major and minor version.
    """

    machine: str
    python: tuple[int, int]
    glibc: tuple[int, int]

    def __str__(self) -> str:
        dotted = [".".join(str(part) for part in version) for version in (self.python, self.glibc)]
        return f"{self.machine}, Python {dotted[0]}, glibc {dotted[1]}"


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A zip for the device.

    Attributes:
        content: its bytes.
        sha256: of them.
        unpacked_bytes: what it takes on the device's disk.
    """

    content: bytes
    sha256: str
    unpacked_bytes: int


def code_payload() -> Payload:
    """Return the part of `edge` that the worker needs."""
    files = {"edge/__init__.py": PACKAGE / "edge" / "__init__.py"}
    if not files["edge/__init__.py"].exists():  # an install has `runtime` and `bench` inside `edge`
        files["edge/__init__.py"] = PACKAGE / "__init__.py"
    files |= {f"edge/runtime/{path.name}": path for path in (PACKAGE / "runtime").glob("*.py")}
    files |= {f"edge/bench/{name}": PACKAGE / "bench" / name for name in WORKER}
    held = {name: path.read_bytes() for name, path in files.items()}
    return _payload(held, sum(len(content) for content in held.values()))


def engine_payload(engine: str, platform: Platform, cache: Path | None = None) -> Payload:
    """Return numpy, an engine and what it needs, as wheels for another machine; fetched by pip when first asked for.

    Args:
        engine: "onnxruntime" or "litert".
        platform: of the device.
        cache: folder that keeps it; None takes that of this user.

    Raises:
        DeviceError: there are no wheels for that machine, or pip cannot fetch them.
        ResourceError: no room here.
    """
    distribution = ENGINES[engine][1]
    pins = _pins(distribution)
    key = hashlib.sha256("\n".join([engine, str(platform), *pins]).encode()).hexdigest()[:16]
    folder = (cache or cache_folder()) / "payloads" / f"{engine}-{platform.machine}-{key}"
    try:
        kept = _kept(folder)
        if kept is None:
            kept = _fetched(folder, distribution, platform, pins)
    except OSError as exc:
        raise ResourceError("cannot keep the wheels for the device", got=f"{exc.strerror}: `{folder}`") from exc
    with zipfile.ZipFile(io.BytesIO(kept)) as outer:
        unpacked = 0
        for name in outer.namelist():
            with outer.open(name) as stream, zipfile.ZipFile(stream) as wheel:
                unpacked += sum(entry.file_size for entry in wheel.infolist())
    return Payload(content=kept, sha256=hashlib.sha256(kept).hexdigest(), unpacked_bytes=unpacked)


def _kept(folder: Path) -> bytes | None:
    """Return the payload of a folder if it is there and undamaged; its name says what it must hash to."""
    for path in folder.glob(f"{STEM}*.zip"):
        content = path.read_bytes()
        if path.stem == STEM + hashlib.sha256(content).hexdigest():
            return content
        path.unlink()
    return None


def _fetched(folder: Path, distribution: str, platform: Platform, pins: list[str]) -> bytes:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        wheels = Path(scratch) / "wheels"
        _download(wheels, constraints, distribution, platform)
        held = {path.name: path.read_bytes() for path in sorted(wheels.glob("*.whl"))}
        payload = _payload(held, 0)
        part = Path(scratch) / "payload.zip"
        part.write_bytes(payload.content)
        os.replace(part, folder / f"{STEM}{payload.sha256}.zip")
    return payload.content


def _download(into: Path, constraints: Path, distribution: str, platform: Platform) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "-q"]
    command += ["--only-binary=:all:", "--implementation", "cp", "-d", str(into), "-c", str(constraints)]
    command += ["--python-version", ".".join(str(part) for part in platform.python)]
    for tag in platform_tags(platform.machine, platform.glibc):
        command += ["--platform", tag]
    try:
        done = subprocess.run(
            [*command, "numpy", distribution], check=False, capture_output=True, text=True, errors="replace"
        )
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
        raise DeviceError(
            f"no wheels of {distribution} for {platform}",
            got=lines[0].removeprefix("ERROR: ")[:120] if lines else f"pip ended with {done.returncode}",
            hint="is pip set up here? else name a virtual environment of the device as `python` in edge.toml",
        )


def _pins(distribution: str) -> list[str]:
    """Return the exact versions to send: those tested together, or in an install those that are here."""
    if PINS.is_file():
        lines = PINS.read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if re.fullmatch(r"\s*[A-Za-z0-9._-]+==[^\s;]+\s*", line)]
    found = []
    for name in ("numpy", distribution):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name}=={importlib.metadata.version(name)}")
    return found


def _payload(files: dict[str, bytes], unpacked_bytes: int) -> Payload:
    """Return a zip of files that is the same for the same content; wheels are packed already and stay as they are."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    content = out.getvalue()
    return Payload(content=content, sha256=hashlib.sha256(content).hexdigest(), unpacked_bytes=unpacked_bytes)
