"""The engines of a browser: pinned npm packages in the private cache folder, and the files of them that a page needs.

    python -m edge.bench.web_engines [--check]

fetches them with the user's own npm and its configuration. A benchmark fetches nothing: it asks for files that are
there, and looks at every byte of them before a page may have them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click

from ..runtime.errors import DeviceError, EdgeError, MissingExtraError, one_line
from ..runtime.trust import private_folder

__all__ = ["COMMAND", "FOLDER", "PACKAGES", "WEB_ENGINES", "Package", "engine_files", "fetch"]

COMMAND = "python -m edge.bench.web_engines"
FOLDER = "web-engines"
NPM_S = 600.0
MAX_FILE = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Package:
    """One npm package, pinned.

    Attributes:
        name, version: as npm calls it.
        integrity: SHA-512 of the archive in base64, as npm's registry gives it.
        files: path inside the archive -> SHA-256, hexadecimal, of the files that a page may load.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]

    @property
    def folder(self) -> str:
        """Name of its folder in the cache."""
        return f"{self.name.strip('@').replace('/', '-')}-{self.version}"


# The WebAssembly builds only: SIMD in all of them, threads where the name says so.
PACKAGES = (
    Package(
        name="onnxruntime-web",
        version="1.30.0",
        integrity="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        files={
            "package/dist/ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
            "package/dist/ort-wasm-simd-threaded.mjs": (
                "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
            ),
            "package/dist/ort-wasm-simd-threaded.wasm": (
                "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
            ),
        },
    ),
    Package(
        name="@litertjs/core",
        version="2.5.3",
        integrity="PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        files={
            "package/dist/index.js": "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
            "package/wasm/litert_wasm_internal.js": "68efb69f770e3f76aff36a377de629ca496c131b86ac0f0f4b592a1543a898eb",
            "package/wasm/litert_wasm_internal.wasm": (
                "7280cf4471774867e385e6c3cd53e2b45e2975b80fea338fff4ef359b0865614"
            ),
            "package/wasm/litert_wasm_threaded_internal.js": (
                "92fe7a720c6deedaa1194c011c79a005ea4f6fc98f533b661cf7900760ab4849"
            ),
            "package/wasm/litert_wasm_threaded_internal.wasm": (
                "b5e54eca10f043497edf9a02186332707cae260c550d7ea22b2cae55669596cf"
            ),
        },
    ),
    Package(
        name="@litertjs/wasm-utils",
        version="2.5.3",
        integrity="4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        files={"package/dist/index.js": "e0e20bc28ab001ac732cf40d15b6eebd24fb0deaeb95eeba5100f51eebf015f2"},
    ),
)

# engine of a plan -> name in a result, version, and the files by the name that the page asks for
_ORT, _LITERT, _UTILS = PACKAGES
WEB_ENGINES: Mapping[str, tuple[str, str, Mapping[str, tuple[Package, str]]]] = {
    "onnxruntime": (
        "onnxruntime-web",
        _ORT.version,
        {f"engine/{PurePosixPath(path).name}": (_ORT, path) for path in _ORT.files},
    ),
    "litert": (
        "litert.js",
        _LITERT.version,
        {
            "engine/litert.js": (_LITERT, "package/dist/index.js"),
            "engine/wasm-utils.js": (_UTILS, "package/dist/index.js"),
            **{f"engine/{PurePosixPath(path).name}": (_LITERT, path) for path in _LITERT.files if "/wasm/" in path},
        },
    ),
}


def engine_files(engine: str) -> dict[str, bytes]:
    """Return the files of an engine by the name that the page asks for, each checked against its pinned hash.

    Args:
        engine: "onnxruntime" or "litert".

    Raises:
        MissingExtraError: a package was not fetched, or not this version of it; the hint is the command.
        DeviceError: a file is not what was pinned.
    """
    _, _, wanted = WEB_ENGINES[engine]
    found = {}
    for name, (package, path) in wanted.items():
        try:
            content = (private_folder(FOLDER) / package.folder / PurePosixPath(path).name).read_bytes()
        except OSError as exc:
            raise MissingExtraError(
                f"the browser's engine {package.name} {package.version} is not here", got=exc.strerror, hint=COMMAND
            ) from exc
        if hashlib.sha256(content).hexdigest() != package.files[path]:
            raise DeviceError(
                f"`{PurePosixPath(path).name}` of {package.name} {package.version} is damaged",
                expected="the pinned SHA-256",
                hint=f"remove the folder `{FOLDER}/{package.folder}` of the cache, then {COMMAND}",
            )
        found[name] = content
    return found


def fetch(package: Package, npm: str | None = None) -> Path:
    """Return the folder of a package's files; npm fetches it unless it is there.

    Args:
        package: which.
        npm: the program; None looks for it on the path.

    Raises:
        DeviceError: there is no npm, it failed, or it brought something else than what was pinned.
        OSError: the cache folder cannot be written.
    """
    place = private_folder(FOLDER) / package.folder
    if place.is_dir():
        return place
    program = npm or shutil.which("npm")
    if program is None:
        raise DeviceError("npm is not on the path, which fetches a browser's engines", hint="install npm")
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetch-") as scratch:
        archive = _packed(program, package, Path(scratch))
        ready = Path(scratch) / "ready"
        ready.mkdir(mode=0o700)
        for path, content in _members(archive, package).items():
            (ready / PurePosixPath(path).name).write_bytes(content)
        try:
            ready.rename(place)
        except OSError:
            if not place.is_dir():  # another process was first, with the same bytes
                raise
    return place


def _packed(program: str, package: Package, scratch: Path) -> bytes:
    """Return the archive that npm brings, checked."""
    command = [program, "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=NPM_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise DeviceError(f"npm did not fetch {package.name}", got=str(exc)[:100]) from exc
    archives = sorted(scratch.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise DeviceError(f"npm did not fetch {package.name} {package.version}", got=lines[-1][:120])
    content = archives[0].read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != package.integrity:
        raise DeviceError(
            f"npm brought another {package.name} {package.version} than what was pinned", expected="the pinned SHA-512"
        )
    archives[0].unlink()
    return content


def _members(archive: bytes, package: Package) -> dict[str, bytes]:
    """Return the wanted files of an archive, taken by exact name; nothing is unpacked."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        for path, digest in package.files.items():
            try:
                entry = members.getmember(path)
            except KeyError as exc:
                raise DeviceError(f"{package.name} {package.version} lacks `{path}`") from exc
            stream = members.extractfile(entry) if entry.isreg() and entry.size <= MAX_FILE else None
            content = stream.read() if stream else b""
            if hashlib.sha256(content).hexdigest() != digest:
                raise DeviceError(f"`{path}` of {package.name} {package.version} is not what was pinned")
            found[path] = content
    return found


@click.command()
@click.option("--check", is_flag=True, help="Fetch nothing; exit 2 or 4 if a file is missing or damaged.")
def main(check: bool) -> None:
    """Fetch the engines that run in a browser, with npm as it is configured here."""
    try:
        for package in PACKAGES:
            if not check:
                fetch(package)
        for engine in WEB_ENGINES:
            name, version, _ = WEB_ENGINES[engine]
            size = sum(map(len, engine_files(engine).values()))
            click.echo(f"{name} {version}: {size / 1e6:.1f} MB, as pinned")
    except EdgeError as exc:
        click.echo(one_line(exc), err=True)
        sys.exit(exc.exit_code)
    except OSError as exc:
        click.echo(f"error: the cache folder cannot be used: {os.strerror(exc.errno or 0)}", err=True)
        sys.exit(5)


if __name__ == "__main__":
    main()
