"""How much disk an install takes, and whether a Raspberry Pi finds a wheel for all of it.

    python -m edge.bench.footprint --engine litert
    python -m edge.bench.footprint --engine litert --engine onnxruntime --platform aarch64 --json

A wheel of this checkout and one engine go into a fresh virtual environment, with the pinned versions, by the package
registry that pip is set up for. Files are counted as bytes, not as blocks of a file system; MB are 10**6 bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import click

from ..runtime.errors import ConversionError, InputError
from .findings import Cell, render
from .oracles import ROOT
from .timing import machine
from .wheels import PLATFORMS, WheelCheck, check_wheel, wheel_name

__all__ = ["GOAL_MB", "SCHEMA", "Installed", "Size", "installed_size", "report", "text"]

SCHEMA = 1
GOAL_MB = 130.0  # of a torch-free install with LiteRT: the project's issue 3
ENGINE_MODULES = {"litert": "ai_edge_litert.interpreter", "onnxruntime": "onnxruntime"}
USED_MODULES = ("edge.cli", "edge.commands.run", "edge.runtime.pipeline", "edge.runtime.draw")
INSTALLERS = ("pip", "setuptools", "wheel")  # what `python -m venv` brings, and no user of ours asked for
PINS = ROOT / "requirements" / "pins.txt"
SOURCES = ("edge", "models", "export", "runtime", "bench", "pyproject.toml", "README.md", "LICENSE")
LARGEST = 12  # files that are listed
NOT_HELD = 3


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one distribution takes up.

    Attributes:
        name, version: of the distribution.
        files: how many.
        size_bytes: of all its files.
        compiled_bytes: of the .pyc files among them, which pip makes on installing.
        test_bytes: of what lies in folders called `tests`, compiled or not.
    """

    name: str
    version: str
    files: int
    size_bytes: int
    compiled_bytes: int
    test_bytes: int


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What an install takes up.

    Attributes:
        engine: which one.
        sizes: by distribution, largest first, without the installer's own.
        installers: names of what was left out.
        largest: path below site-packages and bytes of the largest files.
        used_compiled_bytes: of the .pyc files that Python makes itself when `edge run` is first used after
            `pip install --no-compile`.
    """

    engine: str
    sizes: tuple[Size, ...]
    installers: tuple[str, ...]
    largest: tuple[tuple[str, int], ...]
    used_compiled_bytes: int = 0

    @property
    def total_mb(self) -> float:
        """All of it, as pip leaves it."""
        return sum(size.size_bytes for size in self.sizes) / 1e6

    @property
    def uncompiled_mb(self) -> float:
        """All of it after `pip install --no-compile`."""
        return self.total_mb - sum(size.compiled_bytes for size in self.sizes) / 1e6

    @property
    def used_mb(self) -> float:
        """All of it after `pip install --no-compile` and first use."""
        return self.uncompiled_mb + self.used_compiled_bytes / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "engine": self.engine,
            "total_mb": round(self.total_mb, 1),
            "uncompiled_mb": round(self.uncompiled_mb, 1),
            "used_mb": round(self.used_mb, 1),
            "sizes": [asdict(size) for size in self.sizes],
            "left_out": list(self.installers),
            "largest": [{"file": name, "bytes": size} for name, size in self.largest],
        }


def installed_size(site: Path, engine: str) -> Installed:
    """Return what lies in a site-packages folder, by distribution.

    Args:
        site: the folder.
        engine: named in the result.
    """
    sizes = []
    left_out = []
    largest: dict[str, int] = {}
    for found in distributions(path=[str(site)]):
        name = found.metadata["Name"]
        if name.lower() in INSTALLERS:
            left_out.append(f"{name} {found.version}")
            continue
        files = _files(found)
        largest |= files
        sizes.append(
            Size(
                name=name,
                version=found.version,
                files=len(files),
                size_bytes=sum(files.values()),
                compiled_bytes=sum(size for file, size in files.items() if file.endswith(".pyc")),
                test_bytes=sum(size for file, size in files.items() if "tests" in Path(file).parts[:-1]),
            )
        )
    return Installed(
        engine=engine,
        sizes=tuple(sorted(sizes, key=lambda size: (-size.size_bytes, size.name))),
        installers=tuple(sorted(left_out)),
        largest=tuple(sorted(largest.items(), key=lambda item: (-item[1], item[0]))[:LARGEST]),
    )


def report(installs: Sequence[Installed], wheels: Sequence[WheelCheck]) -> dict[str, Any]:
    """Return everything as plain JSON values, with what it was measured on."""
    return {
        "schema": SCHEMA,
        "command": "footprint",
        "machine": machine(),
        "goal_mb": GOAL_MB,
        "installs": [install.to_dict() for install in installs],
        "wheels": [asdict(check) for check in wheels],
        "held": held(installs, wheels),
    }


def held(installs: Sequence[Installed], wheels: Sequence[WheelCheck]) -> bool:
    """Return whether the install with LiteRT is within the goal, and no wheel is missing."""
    small = all(install.total_mb <= GOAL_MB for install in installs if install.engine == "litert")
    return small and all(check.file is not None for check in wheels)


def text(installs: Sequence[Installed], wheels: Sequence[WheelCheck]) -> str:
    """Return the tables for a terminal."""
    parts = []
    for install in installs:
        rows: list[tuple[Cell, ...]] = [
            (size.name, size.version, size.files, size.size_bytes / 1e6, size.compiled_bytes / 1e6,
             size.test_bytes / 1e6)
            for size in install.sizes
        ]  # fmt: skip
        columns = ("distribution", "version", "files", "MB", "of that .pyc", "of that tests")
        verdict = "within" if install.total_mb <= GOAL_MB else "over"
        parts += [
            f"installed with {install.engine}: {install.total_mb:.1f} MB ({verdict} the goal of {GOAL_MB:g} MB), "
            f"{install.uncompiled_mb:.1f} MB by `pip install --no-compile`, {install.used_mb:.1f} MB after its first "
            f"use; left out: {', '.join(install.installers)}",
            render(columns, rows),
            render(("largest files", "MB"), [(name, size / 1e6) for name, size in install.largest]),
        ]
    for title, group in _grouped(wheels):
        known = [check for check in group if check.file is not None]
        unpacked = sum(check.unpacked_bytes for check in known) / 1e6
        compiled = sum(check.compiled_bytes for check in known) / 1e6
        missing = [f"{check.name} {check.version}" for check in group if check.file is None]
        verdict = f"missing: {', '.join(missing)}" if missing else "a wheel for each"
        used = {install.engine: install.used_compiled_bytes / 1e6 for install in installs}.get(group[0].engine, 0.0)
        parts += [
            f"{title}: {verdict}; {unpacked + compiled:.1f} MB, {unpacked:.1f} MB by `pip install --no-compile`, "
            f"{unpacked + used:.1f} MB after its first use (computed from wheels, not installed)",
            render(
                ("distribution", "version", "wheel", "zip MB", "unpacked MB", ".pyc MB"),
                [
                    (check.name, check.version, check.tag or "MISSING", check.zip_bytes / 1e6,
                     check.unpacked_bytes / 1e6, check.compiled_bytes / 1e6)
                    for check in group
                ],
            ),
        ]  # fmt: skip
    return "\n\n".join(parts)


def _grouped(wheels: Sequence[WheelCheck]) -> list[tuple[str, list[WheelCheck]]]:
    groups: dict[str, list[WheelCheck]] = {}
    for check in wheels:
        groups.setdefault(f"{check.platform}, Python {check.python}, {check.engine}", []).append(check)
    return list(groups.items())


def _files(found: Distribution) -> dict[str, int]:
    """Return bytes by path of what a distribution installed, as its RECORD has it; scripts in `bin` count too."""
    sizes = {}
    for file in found.files or ():
        path = Path(str(found.locate_file(file)))
        if path.is_file():
            sizes[str(file)] = path.stat().st_size
    return sizes


def _build_wheel(python: Path, folder: Path) -> Path:
    """Return a wheel of this checkout, built from a copy: setuptools leaves its own files beside the sources."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if not path.exists():
            raise InputError("the footprint is measured from a checkout", expected=f"`{name}` at its root")
        if path.is_dir():
            # edge/{models,...} are links for type checkers, and a wheel must not need them.
            shutil.copytree(path, source / name, ignore=_links_and_caches)
        else:
            shutil.copy(path, source / name)
    _pip(python, ["wheel", "--no-deps", "-w", str(folder), str(source)])
    return next(folder.glob("*.whl"))


def _links_and_caches(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or os.path.islink(os.path.join(folder, name))}


def _fresh_environment(folder: Path) -> Path:
    """Return the Python of a new virtual environment."""
    _command([sys.executable, "-m", "venv", str(folder)])
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def _pip(python: Path, arguments: Iterable[str]) -> str:
    return _command([str(python), "-m", "pip", "--disable-pip-version-check", "-q", *arguments])


def _command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise ConversionError(f"`{' '.join(command[1:5])} ...` failed", got=(last or ["no output"])[0][:160])
    return done.stdout


def _measured(engine: str, folder: Path, log: Callable[[str], None]) -> tuple[Installed, Path]:
    """Return the size of a fresh install with one engine, and the wheel of this checkout."""
    log(f"{engine}: a fresh environment")
    python = _fresh_environment(folder / "venv")
    log(f"{engine}: a wheel of this checkout")
    wheel = _build_wheel(python, folder)
    log(f"{engine}: installing")
    _pip(python, ["install", "-c", str(PINS), f"{wheel}[{engine}]"])
    site = _command([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    install = installed_size(Path(site), engine)
    log(f"{engine}: first use")
    return replace(install, used_compiled_bytes=_compiled_by_use(python, Path(site), engine)), wheel


def _compiled_by_use(python: Path, site: Path, engine: str) -> int:
    """Return the size of the .pyc files that Python makes when the modules behind `edge run` are first imported."""
    for file in site.rglob("*.pyc"):
        file.unlink()
    # Pillow's formats and these parts of NumPy load when a picture or a sound first needs them.
    lazy = "import PIL.Image, numpy; PIL.Image.init(); numpy.ma, numpy.fft, numpy.linalg"
    code = f"import {', '.join((*USED_MODULES, ENGINE_MODULES[engine]))}; {lazy}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    _command([str(python), "-c", code], environment)
    return sum(file.stat().st_size for file in site.rglob("*.pyc"))


def _wheels(
    install: Installed, own: Path, platform: str, pythons: Sequence[str], folder: Path, log: Callable[[str], None]
) -> list[WheelCheck]:
    checks = []
    for python in pythons:
        for size in install.sizes:
            log(f"{platform}, Python {python}: {size.name} {size.version}")
            where = folder / python / f"{size.name}-{size.version}"
            if wheel_name(own).name == size.name.replace("-", "_"):
                where.mkdir(parents=True)
                (where / own.name).write_bytes(own.read_bytes())
            checks.append(
                check_wheel(
                    size.name, size.version, engine=install.engine, platform=platform, python=python, into=where
                )
            )
    return checks


@click.command()
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(list(ENGINE_MODULES)),
    default=("litert",),
    show_default=True,
    help="Which engine is installed; may be given twice.",
)
@click.option("--platform", type=click.Choice(sorted(PLATFORMS)), help="Also look for the wheels of another machine.")
@click.option(
    "--python", "pythons", default="3.11,3.13", show_default=True, help="Python versions of that machine, by comma."
)
@click.option("--check", is_flag=True, help="Exit with 3 if the goal is not held or a wheel is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(engines: tuple[str, ...], platform: str | None, pythons: str, check: bool, as_json: bool) -> None:
    r"""Measure how much disk an install takes.

    \b
    Example:
        python -m edge.bench.footprint --engine litert --platform aarch64
    """
    installs: list[Installed] = []
    wheels: list[WheelCheck] = []
    try:
        for engine in dict.fromkeys(engines):
            with tempfile.TemporaryDirectory(prefix="edge-") as scratch:
                install, own = _measured(engine, Path(scratch), _log)
                installs.append(install)
                if platform is not None:
                    versions = [version.strip() for version in pythons.split(",")]
                    wheels += _wheels(install, own, platform, versions, Path(scratch) / "wheels", _log)
    except (ConversionError, InputError) as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(json.dumps(report(installs, wheels), indent=1) if as_json else text(installs, wheels))
    if check and not held(installs, wheels):
        raise SystemExit(NOT_HELD)


def _log(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
