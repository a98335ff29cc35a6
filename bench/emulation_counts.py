"""What one inference executes and misses on a Cortex-A72, counted in emulation by the plug-in in `tcg/`.

The counts are of one thread, of the third inference, with data caches warm from the second; they are simulated facts
about the program, from which a predictor makes a time. They are kept in the cache folder by content: of the artifact,
the plug-in, the userland and QEMU.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..runtime.card import Card
from ..runtime.embedded import read_card
from ..runtime.engines import noise_input, pick_engine
from ..runtime.errors import DeviceError, ResourceError
from ..runtime.trust import file_digest, is_private, private_folder
from .arm64_userland import Userland, open_userland, tool
from .emulator import (
    CPU,
    ENVIRONMENT,
    GUEST,
    SEED,
    Limits,
    plugin_option,
    program_digest,
    qemu_version,
    run_in_emulation,
)

__all__ = ["SCHEMA", "Counts", "cache_key", "counts", "plugin_path"]

SCHEMA = 1
SOURCES = Path(__file__).with_name("tcg")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")
COMPILE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one inference on one thread executes; every field is a number of events unless it says otherwise.

    The classes are those of the published counts that the coefficients were fitted on, and add up to `insns`.

    Attributes:
        insns: instructions.
        simd_fma: floating-point multiply-adds of a vector by one element.
        simd_intmul: vector integer multiplies, with or without add.
        simd_other: other SIMD and floating-point instructions.
        ld_vec, st_vec: loads and stores of SIMD registers.
        ld_gpr, st_gpr: of general registers; prefetch instructions are among the loads.
        branch, int_mul, other: the rest.
        simd_fma_plain: floating-point multiply-adds among `simd_other`: vector by vector, and scalar.
        mem: accesses of memory; one instruction may make several.
        l1d_miss: of 32 KiB, 2 ways, lines of 64 bytes, least recently used, no prefetch.
        l2_miss: of 1 MiB, 16 ways, behind it.
        engine, engine_version: that was counted.
        qemu: its version.
        cpu: what QEMU emulated.
        threads: always 1.
        evidence: always "simulated".
    """

    insns: int
    simd_fma: int
    simd_intmul: int
    simd_other: int
    ld_vec: int
    st_vec: int
    ld_gpr: int
    st_gpr: int
    branch: int
    int_mul: int
    other: int
    simd_fma_plain: int
    mem: int
    l1d_miss: int
    l2_miss: int
    engine: str
    engine_version: str
    qemu: str
    cpu: str = CPU
    threads: int = 1
    evidence: str = "simulated"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with `schema`."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Counts:
        """Return the counts of a `to_dict`.

        Raises:
            ValueError: it is none, or its numbers contradict each other.
        """
        known = {field.name: field.type for field in fields(cls)}
        if not isinstance(told, dict) or told.get("schema") != SCHEMA or set(told) != {"schema", *known}:
            raise ValueError("not counts of this schema")
        for name, kind in known.items():
            value = told[name]
            if type(value).__name__ != kind or (kind == "int" and value < 0):
                raise ValueError(f"`{name}` is {value!r}")
        found = cls(**{name: told[name] for name in known})
        if sum(getattr(found, name) for name in _CLASSES) != found.insns or found.insns == 0:
            raise ValueError("the classes do not add up")
        if not found.l2_miss <= found.l1d_miss or found.simd_fma_plain > found.simd_other:
            raise ValueError("more misses, or multiply-adds, than there can be")
        return found


_CLASSES = (
    "simd_fma",
    "simd_intmul",
    "simd_other",
    "ld_vec",
    "st_vec",
    "ld_gpr",
    "st_gpr",
    "branch",
    "int_mul",
    "other",
)


def counts(
    artifact: str | os.PathLike[str],
    *,
    card: Card | None = None,
    userland: Userland | None = None,
    limits: Limits | None = None,
    fresh: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Counts:
    """Return what one inference of an artifact executes on a Cortex-A72: one thread, steady state.

    Counted are the engine's instructions between the call and the return, on seeded noise; of Python a few thousand.

    Args:
        artifact: an ONNX or TFLite file.
        card: its card; default: the one inside.
        userland: default: `open_userland()`.
        limits: of the emulated program.
        fresh: count again, whatever the cache folder holds.
        log: takes lines of progress.

    Raises:
        DeviceError: QEMU, its plug-ins, the userland or a compiler is missing, or the emulated program died.
        ArtifactError, ResourceError: see `run_in_emulation`.
    """
    path = Path(artifact)
    card = card or read_card(path)
    userland = userland or open_userland()
    engine = pick_engine(path)
    version, qemu = userland.engine_version(engine), qemu_version()
    key = cache_key(file_digest(path), userland.digest, program_digest("qemu-aarch64"))
    if not fresh and (kept := _kept(key)) is not None:
        return kept
    log(f"counting {path.name} in emulation")
    plugin = plugin_path()
    with tempfile.TemporaryDirectory(prefix="edge-counts-") as folder:
        out = Path(folder) / "counts.json"
        option = plugin_option(plugin, out=str(out))
        run_in_emulation(path, card, [noise_input(card)], userland, plugin=option, limits=limits)
        try:
            told = json.loads(out.read_text(encoding="ascii"))
        except (OSError, ValueError) as exc:
            hint = "Debian 12's qemu-user loads plug-ins; static builds do not"
            raise DeviceError("the counting plug-in wrote nothing", got=str(exc)[:80], hint=hint) from exc
    found = _checked(told, path.name, engine=engine, engine_version=version, qemu=qemu)
    _keep(key, found)
    return found


def cache_key(artifact: str, userland: str, qemu: str) -> str:
    """Return the name under which counts are kept: SHA-256, hexadecimal, of all that they depend on.

    Args:
        artifact, userland, qemu: SHA-256 of the file, of the userland's versions and of QEMU's program.
    """
    parts = [str(SCHEMA), artifact, userland, qemu, _sources_digest(), file_digest(GUEST), CPU, SEED]
    parts += [f"{name}={value}" for name, value in sorted(ENVIRONMENT.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def plugin_path() -> Path:
    """Return the compiled plug-in, made by the user's C compiler at first use and kept in the cache folder.

    Raises:
        DeviceError: there is no compiler, it fails, or the cache folder cannot be used.
    """
    try:
        folder = private_folder("tcg")
    except OSError as exc:
        hint = "set EDGE_CACHE to a folder of your own"
        raise DeviceError("no private cache folder", got=exc.strerror or str(exc), hint=hint) from exc
    made = folder / f"counts-{_sources_digest()[:16]}.so"
    if is_private(made):
        return made
    compiler = tool("gcc")
    part = folder / f".{made.name}.{os.getpid()}"
    try:
        done = subprocess.run(
            [compiler, *FLAGS, "-o", str(part), str(SOURCES / "counts.c")],
            check=False,
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["nothing said"])[0]
            raise DeviceError("gcc cannot compile the counting plug-in", got=reason[-120:])
        part.chmod(0o700)
        part.replace(made)
    except subprocess.TimeoutExpired as exc:
        raise ResourceError("gcc did not finish", expected=f"at most {COMPILE_SECONDS:g} s") from exc
    finally:
        part.unlink(missing_ok=True)
    return made


def _sources_digest() -> str:
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for source in sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _checked(told: dict[str, int], name: str, **about: str) -> Counts:
    """Return what the plug-in wrote as counts; the published ones hold plain multiply-adds among `simd_other`."""
    elsewhere = told.pop("elsewhere", 0)
    if elsewhere > told.get("insns", 0) // 1000:
        raise DeviceError(f"`{name}` computes on other threads, too", expected="one thread", got=f"{elsewhere} there")
    try:
        told["simd_other"] += told["simd_fma_plain"]
        return Counts.from_dict({"schema": SCHEMA, **told, **about, "cpu": CPU, "threads": 1, "evidence": "simulated"})
    except (ValueError, LookupError, TypeError) as exc:
        raise DeviceError("the counting plug-in wrote something else", got=str(exc)[:80]) from exc


def _kept(key: str) -> Counts | None:
    """Return the counts kept under a key, or None; what is damaged, or what others could write to, is not believed."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        path = private_folder("emulation-counts") / f"{key}.json"
        if is_private(path):
            return Counts.from_dict(json.loads(path.read_text(encoding="utf-8")))
    return None


def _keep(key: str, found: Counts) -> None:
    """Keep counts, whole or not at all; a cache folder that cannot be written costs time only."""
    with contextlib.suppress(OSError):
        folder = private_folder("emulation-counts")
        part = folder / f".{key}.{os.getpid()}"
        try:
            with open(part, "x", encoding="utf-8") as stream:
                json.dump(found.to_dict(), stream)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(folder / f"{key}.json")
        finally:
            part.unlink(missing_ok=True)
