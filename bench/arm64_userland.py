"""An aarch64 userland for QEMU, built without root: Debian 12's Python and the engines that are installed here.

    python -m edge.bench.arm64_userland

Packages come by the user's own apt and pip, whatever these are set up for, and are unpacked into one folder; nothing of
the system is changed. The engines have the versions of this machine's: a comparison of the two machines then compares
machines. The folder also says what processor a Raspberry Pi 4 has: QEMU looks there before it shows a program the
host's /proc and /sys, and engines choose their kernels by them (onnxruntime even crashes on an x86 host's).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..runtime.engines import ENGINES, engine_version, missing_engine
from ..runtime.errors import DeviceError, EdgeError, InputError, MissingExtraError, ResourceError, one_line
from ..runtime.trust import private_folder
from .wheels import PLATFORMS, platform_tags

__all__ = [
    "CORES",
    "CPUINFO",
    "PACKAGES",
    "PYTHON",
    "Userland",
    "build_userland",
    "default_folder",
    "open_userland",
    "tool",
]

SCHEMA = 1
MANIFEST = "userland.json"
PYTHON = "3.11"  # of Debian 12, which is what Raspberry Pi OS bookworm is
BUILD_HINT = "build it with `python -m edge.bench.arm64_userland`"
# What python3.11 and the engines are linked with; found by leaving out one after the other.
PACKAGES = (
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "python3.11-minimal",
    "zlib1g",
)
CORES = 4
# A Raspberry Pi 4's own, Linux 6.1: a Cortex-A72 (part 0xd08) r0p3 without the cryptographic extension.
CPUINFO = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


@dataclass(frozen=True, kw_only=True)
class Userland:
    """A folder that holds what an aarch64 program needs.

    Attributes:
        root: the folder.
        packages: Debian package -> version.
        wheels: distribution -> version, engines and NumPy.
        digest: SHA-256 of all these names and versions, and of what it says of the processor, hexadecimal.
    """

    root: Path
    packages: Mapping[str, str]
    wheels: Mapping[str, str]
    digest: str

    @property
    def python(self) -> Path:
        """Python's interpreter."""
        return self.root / "usr" / "bin" / f"python{PYTHON}"

    @property
    def site(self) -> Path:
        """Folder of the wheels."""
        return self.root / "opt" / "site"

    def engine_version(self, engine: str) -> str:
        """Return the version of an engine of `runtime.engines.ENGINES`.

        Raises:
            DeviceError: it is not in this userland, or is not the version that is installed here.
            MissingExtraError: none is installed here.
        """
        package = ENGINES[engine][1]
        here = engine_version(engine)
        if here is None:
            raise missing_engine(engine)
        if self.wheels.get(package) != here:
            raise DeviceError(
                f"the aarch64 userland has another {package} than this machine",
                expected=here,
                got=self.wheels.get(package, "none"),
                hint=BUILD_HINT,
            )
        return here


def default_folder() -> Path:
    """Return where the userland lies unless told otherwise: in the cache folder.

    Raises:
        DeviceError: the cache folder cannot be written, or somebody else may write to it.
    """
    try:
        return private_folder("arm64-userland") / "debian12"
    except OSError as exc:
        hint = "set EDGE_CACHE to a folder of your own"
        raise DeviceError("no private cache folder", got=exc.strerror or str(exc), hint=hint) from exc


def open_userland(folder: Path | None = None) -> Userland:
    """Return the userland that lies in a folder.

    Args:
        folder: default: `default_folder()`.

    Raises:
        DeviceError: there is none, or it is damaged; the hint is the command that builds it.
    """
    root = default_folder() if folder is None else folder
    try:
        text = (root / MANIFEST).read_text(encoding="utf-8")
        told = json.loads(text)
        if told["schema"] != SCHEMA:
            raise ValueError(f"schema {told['schema']}")
        if told["processor"] != _pi_digest():
            raise ValueError("it describes another processor")
        packages, wheels = ({str(k): str(v) for k, v in told[key].items()} for key in ("packages", "wheels"))
    except FileNotFoundError as exc:
        raise DeviceError("there is no aarch64 userland", got=root, hint=BUILD_HINT) from exc
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise DeviceError("the aarch64 userland is damaged", got=str(exc)[:80], hint=BUILD_HINT) from exc
    return Userland(root=root, packages=packages, wheels=wheels, digest=hashlib.sha256(text.encode()).hexdigest())


def build_userland(into: Path | None = None, *, log: Callable[[str], None] = lambda _: None) -> Userland:
    """Return the userland of a folder, built first unless it is there with the versions installed here.

    It appears whole or not at all, and replaces an older one.

    Args:
        into: default: `default_folder()`; its parent is made.
        log: takes lines of progress.

    Raises:
        DeviceError: apt, dpkg, pip, QEMU or the network is missing or fails.
        MissingExtraError: no engine is installed here, so there is none to fetch.
        InputError: `into` is there and is something else.
        ResourceError: another process builds it, or the disk is full.
    """
    wheels = _wanted_wheels()
    root = (default_folder() if into is None else into).absolute()
    found = _existing(root)
    if found is not None and dict(found.wheels) == wheels and set(found.packages) == set(PACKAGES):
        log(f"the userland is there: {root}")
        return found
    for name in ("apt-get", "dpkg", "qemu-aarch64"):
        tool(name)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(root) as scratch:
            made = scratch / "root"
            made.mkdir()
            log(f"fetching {len(PACKAGES)} Debian packages for arm64 with apt")
            packages = _unpack(scratch, made)
            log(f"fetching {len(wheels)} wheels for aarch64 with pip")
            _install(wheels, made / "opt" / "site")
            _describe_pi(made)
            told = {"schema": SCHEMA, "packages": packages, "wheels": wheels, "processor": _pi_digest()}
            text = json.dumps(told, indent=1, sort_keys=True)
            (made / MANIFEST).write_text(text + "\n", encoding="utf-8")
            log("importing the engines in emulation")
            _import_engines(open_userland(made))
            _move(made, root, scratch / "old")
    except OSError as exc:
        raise ResourceError("cannot write the aarch64 userland", got=exc.strerror or str(exc)) from exc
    log(f"built {root}")
    return open_userland(root)


def tool(name: str) -> str:
    """Return the path of a program.

    Raises:
        DeviceError: it is not installed; the hint is the command that installs it.
    """
    found = shutil.which(name)
    if found is None:
        package = {"qemu-aarch64": "qemu-user", "apt-get": "apt", "gcc": "gcc"}.get(name, name)
        hint = f"`apt-get install {package}`" + " of Debian 12" * (package == "qemu-user")
        raise DeviceError(f"`{name}` is not installed", hint=hint)
    return found


def _wanted_wheels() -> dict[str, str]:
    """Return NumPy and the engines that are installed here, with their versions."""
    found = {package: engine_version(engine) for engine, (_, package, _) in ENGINES.items()}
    engines = {package: version for package, version in found.items() if version is not None}
    if not engines:
        raise MissingExtraError("no engine is installed here", hint="pip install 'edge-vision[onnxruntime,litert]'")
    return {**engines, "numpy": importlib.metadata.version("numpy")}


def _existing(root: Path) -> Userland | None:
    """Return the userland of a folder, or None where there is nothing or a damaged one."""
    if not root.exists() and not root.is_symlink():
        return None
    if not (root / MANIFEST).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"`{root}` is there and is no userland", hint="name a folder that does not exist")
    try:
        return open_userland(root)
    except DeviceError:
        return None


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[Path]:
    """Give a scratch folder beside `root` while no other process builds there; what a dead one left is removed."""
    import fcntl  # here: Windows has none, and is told that it has no apt before it comes here

    scratch = root.with_name(f".{root.name}.building")
    with open(root.with_name(f".{root.name}.lock"), "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ResourceError(f"another process builds `{root}`", hint="wait for it") from exc
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _unpack(scratch: Path, made: Path) -> dict[str, str]:
    """Download Debian's packages and unpack them; return their versions."""
    config = _apt_config(scratch)
    apt = [tool("apt-get"), "-q", "-c", str(config)]
    _call([*apt, "update"], "apt cannot read the lists of arm64 packages", cwd=scratch)
    debs = scratch / "debs"
    debs.mkdir()
    hint = "apt must know Debian 12 (bookworm)"
    _call([*apt, "download", *PACKAGES], "apt cannot fetch the arm64 packages", cwd=debs, hint=hint)
    versions: dict[str, str] = {}
    for deb in sorted(debs.glob("*.deb")):
        name, version, _ = deb.stem.split("_")
        versions[name] = version.replace("%3a", ":")
        _call([tool("dpkg"), "-x", str(deb), str(made)], f"dpkg cannot unpack `{deb.name}`", cwd=debs)
    if set(versions) != set(PACKAGES):
        raise DeviceError("apt fetched other packages", expected=len(PACKAGES), got=", ".join(sorted(versions))[:120])
    return versions


def _apt_config(scratch: Path) -> Path:
    """Write a configuration that keeps apt's lists and caches, for another architecture, out of the system's.

    It is read after the system's: sources, keys and proxies are the user's, hooks that would touch the system are not.
    """
    apt = scratch / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()
    lines = [
        "#clear APT::Architectures;",
        'APT::Architecture "arm64";',
        'APT::Architectures { "arm64"; };',
        "#clear APT::Update;",
        'APT::Sandbox::User "root";',  # apt's own user may not enter this folder
        'Acquire::Languages "none";',
        f'Dir::State "{apt}/state";',
        f'Dir::State::lists "{apt}/state/lists";',
        f'Dir::State::status "{apt}/status";',
        f'Dir::Cache "{apt}/cache";',
        f'Dir::Cache::archives "{apt}/cache/archives";',
    ]
    config = apt / "apt.conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def _install(wheels: Mapping[str, str], site: Path) -> None:
    """Unpack wheels for the userland's Python; what else they depend on is not needed to run a model."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--no-compile"]
    command += ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", "--target", str(site)]
    for tag in platform_tags("aarch64", PLATFORMS["aarch64"][PYTHON]):
        command += ["--platform", tag]
    pinned = [f"{name}=={version}" for name, version in wheels.items()]
    _call([*command, *pinned], "pip cannot fetch the wheels for aarch64", cwd=site.parents[1])


def _describe_pi(made: Path) -> None:
    """Write what Linux says of a Raspberry Pi 4's processor, where QEMU finds it first."""
    for name, text in _pi_files().items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _pi_files() -> dict[str, str]:
    """Return path below the root -> content of the files by which engines choose kernels and block sizes.

    Source: Arm, Cortex-A72 Technical Reference Manual (caches); bcm2711.dtsi of Linux; a Pi 4 at its 1.8 GHz.
    """
    every = f"0-{CORES - 1}"
    files = {"proc/cpuinfo": "".join(CPUINFO.format(core=core) for core in range(CORES))}
    cpus = {"online": every, "possible": every, "present": every, "kernel_max": str(CORES - 1)}
    for core in range(CORES):
        own = f"cpu{core}"
        cpus[f"{own}/cpufreq/cpuinfo_min_freq"], cpus[f"{own}/cpufreq/cpuinfo_max_freq"] = "600000", "1800000"
        cpus[f"{own}/regs/identification/midr_el1"] = "0x00000000410fd083"
        cpus[f"{own}/topology/physical_package_id"], cpus[f"{own}/topology/core_id"] = "0", str(core)
        for cluster in ("cluster_cpus_list", "package_cpus_list", "core_siblings_list"):
            cpus[f"{own}/topology/{cluster}"] = every
        for index, (level, kind, size, ways, shared) in enumerate(
            ((1, "Data", 32, 2, str(core)), (1, "Instruction", 48, 3, str(core)), (2, "Unified", 1024, 16, every))
        ):
            told = {"level": level, "type": kind, "size": f"{size}K", "ways_of_associativity": ways}
            told |= {"coherency_line_size": 64, "number_of_sets": size * 1024 // 64 // ways, "shared_cpu_list": shared}
            cpus |= {f"{own}/cache/index{index}/{name}": str(value) for name, value in told.items()}
    return {**files, **{f"sys/devices/system/cpu/{name}": f"{text}\n" for name, text in cpus.items()}}


def _pi_digest() -> str:
    return hashlib.sha256(json.dumps(_pi_files(), sort_keys=True).encode()).hexdigest()


def _import_engines(userland: Userland) -> None:
    """Import every engine in emulation once: proof that the userland works, and Python keeps what it compiled."""
    modules = {"onnxruntime": "onnxruntime", "ai-edge-litert": "ai_edge_litert.interpreter", "numpy": "numpy"}
    code = f"import sys; sys.path.insert(0, {str(userland.site)!r}); import " + ", ".join(
        modules[name] for name in userland.wheels
    )
    command = [tool("qemu-aarch64"), "-cpu", "cortex-a72", "-L", str(userland.root), str(userland.python), "-sSP"]
    _call([*command, "-c", code], "the engines cannot be imported in emulation", cwd=userland.root, environment={})


def _call(
    command: Sequence[str],
    what: str,
    *,
    cwd: Path,
    hint: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end; its last line of complaint goes into the error."""
    with tempfile.TemporaryFile() as told:
        # LC_ALL: complaints are read below. Output goes to a file: no pipe can fill up.
        inherited = dict(os.environ) if environment is None else dict(environment)
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**inherited, "LC_ALL": "C"},
        )
        if done.returncode == 0:
            return
        told.seek(0)
        lines = [line.strip() for line in told.read().decode("utf-8", "replace").splitlines() if line.strip()]
    told_errors = [line for line in lines if re.match(r"(E|ERROR|.*Error): ?", line)]
    reason = (told_errors or lines or [f"exit status {done.returncode}"])[-1]
    raise DeviceError(what, got=reason[:140], hint=hint)


def _move(made: Path, root: Path, old: Path) -> None:
    """Put a finished folder in its place; the moment between the two renames has no userland, never half a one."""
    if root.exists():
        root.rename(old)
    made.rename(root)


@click.command()
@click.option("--into", type=click.Path(path_type=Path), help="Folder to build; default: in the cache folder.")
def main(into: Path | None) -> None:
    r"""Build the aarch64 userland that `edge.bench.emulate` runs artifacts in; prints its folder.

    \b
    Example:
        python -m edge.bench.arm64_userland
    """
    try:
        built = build_userland(into, log=lambda line: click.echo(line, err=True))
    except EdgeError as exc:
        click.echo(one_line(exc), err=True)
        raise SystemExit(exc.exit_code) from exc
    click.echo(built.root)


if __name__ == "__main__":
    main()
