"""`edge doctor`: what is installed, what is missing, and the command that mends it. Imports no heavy package."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from ..run_output import print_result
from ..runtime.errors import InputError
from ..runtime.trust import cache_folder

__all__ = ["Check", "command", "examine"]

DISTRIBUTION = "edge-vision"
# Below these a crafted file runs code or corrupts memory: CVE-2025-32434 and CVE-2026-24747 (torch), CVE-2026-27489,
# -34446 and -34447 (onnx), external data read outside its folder (onnxruntime), crashes on corrupt files (LiteRT).
FLOORS = {"torch": "2.10", "onnx": "1.21", "onnxruntime": "1.31", "ai-edge-litert": "2.1.6"}
ENGINES = ("onnxruntime", "ai-edge-litert")
EXTRAS = ("export", "eval", "train", "report")
MENDING = {"base": f"pip install {DISTRIBUTION}", **{word: f"pip install '{DISTRIBUTION}[{word}]'" for word in EXTRAS}}
RUN_BYTES, EXPORT_BYTES = 200 << 20, 6 << 30  # an engine's wheel unpacked; the export environment and its caches


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        group: "machine", "base", "engine", "export", "eval", "train", "report" or "disk"; a package of several
            extras is of the first.
        state: "ok"; "note" where something works differently or an optional part is absent; "bad" where it must be
            mended before `edge run` (or, for an unsafe version, anything) is used.
        found: what is there.
        wanted: what was tested or is needed.
        hint: the command or step that mends it.
    """

    name: str
    group: str
    state: str
    found: str
    wanted: str = ""
    hint: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Say what is installed, what is missing, and how to mend it.

    Exits with 0 when this machine can `edge run` files safely, with 2 when something must be mended first. What only
    `edge export`, training and `edge eval` need is reported, but absent it is no failure.

    \b
    Example:
        edge doctor
    """
    checks = examine()
    bad = [check for check in checks if check.state == "bad"]
    if as_json:
        report = {"schema": 1, "fit": not bad, "checks": [dataclasses.asdict(check) for check in checks]}
        print_result(json.dumps(report, allow_nan=False))
    else:
        print_result(_table(checks))
    if bad:
        names = ", ".join(check.name for check in bad[:5])
        raise InputError(f"not fit for `edge run`: {names}", hint=next((c.hint for c in bad if c.hint), "see above"))


def examine() -> list[Check]:
    """Return every check, in the order of the report."""
    packages = _packages()
    spec = next((check.wanted for check in packages if check.name == "torch"), "")
    return [*_machine(), *packages, *_torch_build(spec), *_disk()]


def _machine() -> list[Check]:
    machine, bits = platform.machine(), 64 if sys.maxsize > 2**32 else 32
    python = platform.python_version()
    fits = sys.version_info >= (3, 11)
    return [
        Check(
            name="python", group="machine", state="ok" if fits else "bad", found=python, wanted=">=3.11",
            hint="" if fits else "install Python 3.11 or newer",
        ),
        Check(
            name="platform", group="machine", state="ok" if bits == 64 else "bad",
            found=f"{platform.system()} {machine}, {bits}-bit, {os.cpu_count()} CPUs", wanted="64-bit",
            hint="" if bits == 64 else "install a 64-bit system; no engine has 32-bit wheels",
        ),
    ]  # fmt: skip


def _packages() -> list[Check]:
    """Return one check for each package that the installed distribution names for base and extras, and per engine."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        hint = f"{MENDING['base']}, or in a checkout: pip install -e ."
        return [Check(name=DISTRIBUTION, group="base", state="bad", found="not installed", hint=hint)]
    wanted = [_requirement(line) for line in lines]
    base = [(name, spec, "base") for name, spec, extra in wanted if not extra]
    engines = [(name, spec, "engine") for name, spec, extra in wanted if name in ENGINES and extra != "export"]
    extras: dict[str, tuple[str, str, str]] = {}
    for word in EXTRAS:
        for name, spec, extra in wanted:
            if extra == word:
                extras.setdefault(name, (name, spec, extra))
    checks = [_package(*item) for item in [*base, *engines, *extras.values()]]
    if not any(check.group == "engine" and check.found != "not installed" for check in checks):
        hint = f"pip install '{DISTRIBUTION}[onnxruntime]', or [litert] for TFLite files"
        checks.append(Check(name="an engine", group="engine", state="bad", found="none installed", hint=hint))
    return checks


def _requirement(line: str) -> tuple[str, str, str]:
    """Return (name, version specifier, extra) of one requirement of the distribution's metadata."""
    name, spec = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)", line).groups()  # type: ignore[union-attr]  # the first group always matches a requirement
    extra = re.search(r"extra\s*==\s*[\"']([^\"']+)[\"']", line)
    return name.lower().replace("_", "-"), spec.strip(), extra.group(1) if extra else ""


def _package(name: str, spec: str, group: str) -> Check:
    mend = f"pip install '{name}{spec}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        state, hint = ("bad", mend) if group == "base" else ("note", MENDING.get(group, mend))
        return Check(name=name, group=group, state=state, found="not installed", wanted=spec, hint=hint)
    floor = FLOORS.get(name)
    if floor and _release(found) < _release(floor):
        return Check(name=name, group=group, state="bad", found=found, wanted=f">={floor} (security)", hint=mend)
    if _satisfies(found, spec):
        return Check(name=name, group=group, state="ok", found=found, wanted=spec)
    return Check(
        name=name, group=group, state="bad" if group == "base" else "note", found=found, wanted=spec, hint=mend
    )


def _satisfies(version: str, spec: str) -> bool:
    """Return whether a version meets a specifier of `>=` and `==` parts, which is all that our metadata uses."""
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        operator, wanted = part[:2], part[2:].strip()
        have, want = _release(version), _release(wanted)
        if operator == "==" and have != want:
            return False
        if operator == ">=" and have < want:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version without trailing zeros: "2.13.0+cpu" is (2, 13)."""
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    parts = [int(part) for part in numbers.group().split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _torch_build(spec: str) -> list[Check]:
    """Return what build of torch is there; on Linux the plain one brings gigabytes of CUDA."""
    hint = (
        f"to save gigabytes where there is no GPU: install the CPU build of torch{spec} first, with the pip line of "
        "pytorch's own install page, then the export extra"
    )
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return [Check(name="torch build", group="export", state="note", found="not installed", hint=hint)]
    local = version.partition("+")[2]
    cuda = local.startswith("cu") or any(_installed(f"nvidia-cublas{tail}") for tail in ("", "-cu12", "-cu13"))
    if cuda:
        return [Check(name="torch build", group="export", state="note", found="with CUDA", wanted="any", hint=hint)]
    return [Check(name="torch build", group="export", state="ok", found="CPU", wanted="any")]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _disk() -> list[Check]:
    cache = cache_folder()
    checks = []
    for name, folder in (("disk, here", Path.cwd()), ("disk, temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        state = "bad" if free < RUN_BYTES else "note" if free < EXPORT_BYTES else "ok"
        hint = "" if state == "ok" else f"free some space on the disk of {folder}"
        checks.append(
            Check(
                name=name, group="disk", state=state, found=_gigabytes(free), wanted=_gigabytes(EXPORT_BYTES), hint=hint
            )
        )
    home = next(folder for folder in (cache, *cache.parents) if folder.exists())
    usable = home.is_dir() and os.access(home, os.W_OK | os.X_OK)
    hint = "" if usable else "set EDGE_CACHE to a folder you can write to"
    state = "ok" if usable else "note"
    return [
        *checks,
        Check(name="cache folder", group="disk", state=state, found=str(cache), wanted="writable", hint=hint),
    ]


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def _table(checks: list[Check]) -> str:
    width = max(len(check.name) for check in checks)
    found_width = min(max(len(check.found) for check in checks), 44)
    rows = []
    for check in checks:
        wanted = f"  {check.wanted}" if check.wanted else ""
        rows.append(
            f"{check.state:<4}  {check.group:<7}  {check.name:<{width}}  {check.found:<{found_width}}{wanted}".rstrip()
        )
        if check.hint:
            rows.append(f"{'':<{width + 15}}  -> {check.hint}")
    return "\n".join(rows)
