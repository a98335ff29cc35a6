"""A stand-in for Android phones on this machine, to try what goes over adb without one.

    python -m edge.bench.loopback_android              build it: Debian's adbd, and the app's harness for the JVM
    python -m edge.bench.loopback_android --serve      and run it until Ctrl-C

The adbd is a real one, Debian 13's, in namespaces of its own: it has a network of nothing but a loopback, and changes
nothing of this machine. `pm`, `am`, `getprop` and `dumpsys` are small scripts; `am instrument` runs the app's own
harness on this machine's JVM and TFLite (`android_demo/stand_in.py`). What it answers is simulated: its times say
nothing of a phone, and `android_state.is_emulated` sees through it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep

import click

from ..runtime.errors import DeviceError, EdgeError, MissingExtraError, one_line
from ..runtime.trust import private_folder
from . import android_stand_in
from .adb import find_adb
from .adb_errors import PACKAGE
from .android_stand_in import FIRST_PORT
from .debian_packages import downloaded, run_tool
from .serving import until_stopped

__all__ = ["PROPS", "VARIABLE", "StandIn", "build", "default_folder", "missing"]

VARIABLE = "EDGE_LOOPBACK_ANDROID"
SUITE = "trixie"  # the first Debian with an adbd
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEMO = Path(__file__).resolve().parents[1] / "android_demo"  # of a checkout; a wheel has none
HINT = "build it with `python -m edge.bench.loopback_android`"
START_S = 20.0
PROPS = {
    "ro.build.fingerprint": "edge/stand_in/loopback:14/0/0:userdebug/test-keys",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.edge.stand_in": "1",
    "ro.product.cpu.abi": "x86_64",
    "ro.product.manufacturer": "edge",
    "ro.product.model": "stand-in",
    "ro.soc.model": "none",
}


class StandIn:
    """Phones that run until the `with` block ends.

    Args:
        folder: that `build` filled.
        phones: how many.
        props: of `getprop`, beside and in place of `PROPS`.
        room_mb: size of `/data/local/tmp`.
        locked: one more phone, which has not authorised this machine.

    Attributes:
        environment: what `adb` needs in its environment to see these phones, and no others.
        serials: of `adb devices`, in order.

    Raises:
        DeviceError: nothing was built there, or it does not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        phones: int = 1,
        props: Mapping[str, str] | None = None,
        room_mb: int = 256,
        locked: bool = False,
    ) -> None:
        if why := missing(folder):
            raise DeviceError("there is no stand-in for a phone", got=why, hint=HINT)
        self._folder = Path(tempfile.mkdtemp(prefix="edge-phones-"))
        self._adb = find_adb()
        self.environment = {"ADB_SERVER_SOCKET": f"localfilesystem:{self._folder}/adb"}
        self.serials = [f"127.0.0.1:{FIRST_PORT + number}" for number in range(phones + locked)]
        (self._folder / "state").mkdir()
        told = {**PROPS, **(props or {})}
        self._write("props", "".join(f"[{key}]: [{value}]\n" for key, value in told.items()))
        self.set_state()
        order = {
            "folder": str(self._folder),
            "trixie": str(folder / "trixie"),
            "harness": str(folder / "harness"),
            "java": str(Path(shutil.which("java") or "").resolve()),
            "adb": self._adb,
            "phones": phones,
            "room": f"{room_mb}m",
            "locked": locked,
        }
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*_namespaces(), sys.executable, "-I", "-S", android_stand_in.__file__, json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            self._expect("ready")
            for serial in self.serials:
                self._connect(serial)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of it, and remove its folder. Safe to call twice."""
        self._process.kill()  # as the first of its own processes it takes the others along
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def set_state(
        self, *, celsius: float = 31.0, thermal_status: int = 0, low_power: bool = False, clock_khz: int = 1_800_000
    ) -> None:
        """Let the phones say how warm they are, how much they throttle, and how fast they run."""
        self._write(
            "battery",
            f"Current Battery Service state:\n  USB powered: true\n  level: 80\n  temperature: {celsius * 10:.0f}\n",
        )
        self._write(
            "thermalservice",
            f"IsStatusOverride: false\nThermal Status: {thermal_status}\nCurrent temperatures from HAL:\n"
            f"\tTemperature{{mValue={celsius + 5:.1f}, mType=0, mName=CPU, mStatus={thermal_status}}}\n",
        )
        self._write("low_power", f"{low_power:d}\n")
        self._write("governor", "schedutil\n")
        self._write("clock", f"{clock_khz}\n")
        self._write("most", "1800000\n")

    def unplug(self, number: int = 0) -> None:
        """End a phone's adbd, as a pulled cable does for whoever is connected; what runs there runs on."""
        self._order(f"unplug {number}")

    def plug(self, number: int = 0) -> None:
        """Start it again, and connect."""
        self._order(f"plug {number}")
        self._connect(self.serials[number])

    def shell(self, script: str, number: int = 0) -> str:
        """Return what a script prints on a phone, whatever its exit status."""
        return self._run("-s", self.serials[number], "shell", "-n", script)

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if (line := self._process.stdout.readline().strip()) != word:
            self._process.wait()
            raise DeviceError("the stand-in for a phone does not start", got=_last_line(self._folder / "log") or line)

    def _connect(self, serial: str) -> None:
        end = monotonic() + START_S
        while True:
            self._run("connect", serial)
            states = dict(line.split("\t") for line in self._run("devices").splitlines() if "\t" in line)
            if states.get(serial) in ("device", "unauthorized"):
                return
            if monotonic() > end:
                raise DeviceError("the stand-in for a phone does not answer", got=str(states.get(serial)))
            sleep(0.1)

    def _run(self, *words: str) -> str:
        command = [self._adb, *words]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=START_S, env=environment, errors="replace"
        )
        return done.stdout

    def _write(self, name: str, text: str) -> None:
        part = self._folder / "state.part"
        part.write_text(text)
        part.replace(self._folder / "state" / name)


def default_folder() -> Path:
    """Return where it is built unless told otherwise: `$EDGE_LOOPBACK_ANDROID`, else in the cache folder.

    Raises:
        DeviceError: the cache folder cannot be written, or somebody else may write to it.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        return private_folder("android-stand-in")
    except OSError as exc:
        raise DeviceError("no private cache folder", got=exc.strerror or str(exc), hint="set EDGE_CACHE") from exc


def missing(folder: Path) -> str:
    """Return why there can be no stand-in here, in words; "" where there can be one."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "it runs on Linux on x86-64 only"
    absent = [program for program in ("java", "adb", "unshare", "mount") if shutil.which(program) is None]
    if absent:
        return f"no {' and no '.join(absent)} on this machine (apt-get install adb openjdk-17-jdk-headless)"
    if not (folder / "built").is_file():
        return f"nothing was built: {HINT}"
    if DEMO.is_dir() and (folder / "built").read_text() != _sources():
        return f"it was built of other sources of the app than are here: {HINT}"
    done = subprocess.run([*_namespaces(), "true"], check=False, capture_output=True, text=True)
    return f"this machine allows no namespaces: {done.stderr.strip()[-80:]}" if done.returncode else ""


def build(folder: Path) -> None:
    """Fetch adbd by this machine's apt, and build the app's harness; what is there already is kept.

    Args:
        folder: where; 60 MB.

    Raises:
        MissingExtraError: apt, dpkg or the app's sources are missing.
        DeviceError: something cannot be fetched or built.
    """
    for program in ("apt-get", "dpkg-deb", "java", "javac"):
        if shutil.which(program) is None:
            hint = "apt-get install openjdk-17-jdk-headless" if program.startswith("java") else "this wants Debian"
            raise MissingExtraError(f"there is no `{program}` on this machine", hint=hint)
    if not DEMO.is_dir():
        raise MissingExtraError("the app's sources are not here", hint="run it from a checkout of the repository")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "trixie").is_dir():
        with tempfile.TemporaryDirectory(prefix="edge-adbd-", dir=folder) as name:
            unpacked = Path(name) / "unpacked"
            for package in _fetch_adbd(Path(name)):
                run_tool(["dpkg-deb", "--extract", str(package), str(unpacked)], "cannot unpack adbd")
            unpacked.replace(folder / "trixie")
    run_tool([sys.executable, str(DEMO / "stand_in.py"), str(folder / "harness")], "cannot build the app's harness")
    (folder / "built").write_text(_sources())


def _sources() -> str:
    """Return the SHA-256 of all Java that the harness is made of."""
    digest = hashlib.sha256()
    for path in sorted([*(DEMO / "java/edge/vision/core").glob("*.java"), *(DEMO / "stand_in").rglob("*.java")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _fetch_adbd(scratch: Path) -> list[Path]:
    """Return adbd's package of a newer Debian than this may be, and all that it needs."""
    signed = f"[signed-by={KEYRING}] " if KEYRING.is_file() else ""
    sources = scratch / "sources.list"
    sources.write_text(f"deb {signed}{_mirror()} {SUITE} main\n")
    own = f'Dir::Etc::SourceList "{sources}";\nDir::Etc::SourceParts "/dev/null";\nAcquire::Languages "none";\n'
    return downloaded(scratch, ["adbd"], f"adbd of Debian {SUITE}", own)


def _mirror() -> str:
    """Return where this machine gets Debian from."""
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    done = subprocess.run(listed, check=False, capture_output=True, text=True)
    mirrors = [line for line in done.stdout.split() if line and "security" not in line]
    if not mirrors:
        raise DeviceError("this machine's apt knows no Debian", hint="run it on Debian, after `apt-get update`")
    return mirrors[0]


def _namespaces() -> list[str]:
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *own, "--net", "--mount", "--pid", "--fork", "--kill-child"]


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1][:160] if lines else ""
    return ""


@click.command()
@click.option("--into", type=click.Path(path_type=Path), help="Folder for it, 60 MB.  [default: in the cache folder]")
@click.option("--serve", "serving", is_flag=True, help="Run it until Ctrl-C.")
@click.option("--phones", type=click.IntRange(1, 9), default=1, show_default=True, help="With --serve: how many.")
def main(into: Path | None, serving: bool, phones: int) -> None:
    r"""Build a stand-in for Android phones behind adb, and serve it.

    \b
    Example:
        python -m edge.bench.loopback_android --serve
    """
    try:
        folder = (into or default_folder()).resolve()
        build(folder)
        click.echo(f"built in {folder}", err=True)
        if serving:
            _serve(folder, phones)
    except EdgeError as exc:
        click.echo(one_line(exc), err=True)
        raise SystemExit(exc.exit_code) from exc


def _serve(folder: Path, phones: int) -> None:
    with StandIn(folder, phones=phones) as stand_in:
        for key, value in stand_in.environment.items():
            click.echo(f"export {key}={value}")
        click.echo(f"{', '.join(stand_in.serials)}: for `edge bench --device android`; the app is {PACKAGE}", err=True)
        until_stopped()


if __name__ == "__main__":
    main()
