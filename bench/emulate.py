"""A Raspberry Pi 4 in emulation: does an artifact give there what it gives here, and what does it execute?

    python -m edge.bench.arm64_userland        # once
    python -m edge.bench.emulate pose-int8.tflite pose-fp32.onnx --json

The artifact's own aarch64 engine runs under QEMU as a Cortex-A72. Its answers are compared with this machine's engine
of the same version; an instruction that the processor lacks ends it. All of it is evidence of the grade "simulated":
emulated time says nothing about a Pi's, and is not told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card, Precision
from ..runtime.embedded import read_card
from ..runtime.engines import noise_input, open_engine, pick_engine
from ..runtime.errors import EdgeError, InputError, one_line
from ..runtime.isolate import guard
from ..runtime.trust import file_digest
from .agreement import Agreement, agreement, nudged
from .arm64_userland import Userland, open_userland
from .emulation_counts import Counts, counts
from .emulator import CPU, Limits, qemu_version, run_in_emulation
from .findings import Cell, render

__all__ = ["SCHEMA", "Emulation", "emulate"]

Float32 = NDArray[np.float32]
SCHEMA = 1
FLOATS = (Precision.FP32, Precision.FP16)
INPUTS = 2  # seeded noise, each another


@dataclass(frozen=True, kw_only=True)
class Emulation:
    """What an artifact gave in emulation.

    Attributes:
        file: its name.
        sha256: of its bytes.
        precision: that its card promises; None: the card does not say, and it is judged as float.
        engine, engine_version: that ran, on both machines.
        inputs: how many tensors it was given.
        outputs: for each input, output name -> float32 array of the card's shape, from emulation.
        agreements: one for each output.
        qemu: its version.
        userland: SHA-256 of the userland's packages and wheels, by version.
        cpu: what QEMU emulated.
        evidence: always "simulated".
    """

    file: str
    sha256: str
    precision: str | None
    engine: str
    engine_version: str
    inputs: int
    outputs: tuple[dict[str, Float32], ...]
    agreements: tuple[Agreement, ...]
    qemu: str
    userland: str
    cpu: str = CPU
    evidence: str = "simulated"

    @property
    def agrees(self) -> bool:
        """True where no output differs more than rounding explains."""
        return all(item.verdict != "differs" for item in self.agreements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the arrays."""
        plain = ("file", "sha256", "precision", "engine", "engine_version", "inputs")
        return {
            **{name: getattr(self, name) for name in plain},
            "agrees": self.agrees,
            "outputs": [item.to_dict() for item in self.agreements],
            "ran": {"qemu": self.qemu, "cpu": self.cpu, "threads": 1, "userland": self.userland},
            "evidence": self.evidence,
        }


def emulate(
    artifact: str | os.PathLike[str],
    inputs: Sequence[Float32] | None = None,
    *,
    card: Card | None = None,
    userland: Userland | None = None,
    limits: Limits | None = None,
) -> Emulation:
    """Run an artifact on its aarch64 engine in emulation and on this machine's, one thread each, and compare.

    Files of integers only are bit-equal. Float ones are close, within 1e-4 of each output's largest value; so are
    quantised ones with float parts, no further off than rounding explains: `Agreement.verdict`.

    Args:
        artifact: an ONNX or TFLite file.
        inputs: float32 tensors of the card's input shape; default: two of seeded noise.
        card: its card; default: the one inside.
        userland: default: `open_userland()`.
        limits: of the emulated program.

    Raises:
        DeviceError: QEMU or the userland is missing, or the emulated program died: of an illegal instruction, say.
        ArtifactError, ResourceError, ShapeError: see `run_in_emulation`.
        MissingExtraError: this machine's engine is not installed.
        InputError: no inputs.
    """
    path = Path(artifact)
    card = card or read_card(path)
    userland = userland or open_userland()
    tensors = [noise_input(card, seed) for seed in range(INPUTS)] if inputs is None else list(inputs)
    if not tensors:
        raise InputError("no input tensors", expected="at least one")
    name = pick_engine(path)
    version, qemu = userland.engine_version(name), qemu_version()
    precision = card.artifact.get("precision")
    quantised = precision is not None and precision not in FLOATS
    guard(path, card)
    engine = open_engine(path, card, engine=name, threads=1)
    try:
        here = [engine.run(tensor) for tensor in tensors]
        own = [engine.run(nudged(tensor)) for tensor in tensors] if quantised else None
    finally:
        engine.close()
    there = run_in_emulation(path, card, tensors, userland, limits=limits)
    return Emulation(
        file=path.name,
        sha256=file_digest(path),
        precision=precision,
        engine=name,
        engine_version=version,
        inputs=len(tensors),
        outputs=tuple(there),
        agreements=tuple(
            agreement(
                spec.name,
                [outputs[spec.name] for outputs in here],
                [outputs[spec.name] for outputs in there],
                own=None if own is None else [outputs[spec.name] for outputs in own],
            )
            for spec in card.outputs
        ),
        qemu=qemu,
        userland=userland.digest,
    )


def report(emulations: Sequence[Emulation], counted: Sequence[Counts | None]) -> dict[str, Any]:
    """Return everything as plain JSON values; `counts` is null where nothing was counted."""
    return {
        "schema": SCHEMA,
        "command": "emulate",
        "files": [
            {**found.to_dict(), "counts": None if events is None else events.to_dict()}
            for found, events in zip(emulations, counted, strict=True)
        ],
    }


def text(emulations: Sequence[Emulation], counted: Sequence[Counts | None]) -> str:
    """Return the same for a terminal."""
    outputs: list[tuple[Cell, ...]] = [
        (
            found.file if index == 0 else "",
            item.output,
            item.verdict,
            None if item.bit_equal else f"{item.max_abs_error:.2g} of {item.scale:.3g}",
            item.sqnr_db,
            item.own_sqnr_db,
        )
        for found in emulations
        for index, item in enumerate(found.agreements)
    ]
    parts = [render(("file", "output", "to this machine", "largest difference", "SQNR dB", "of rounding dB"), outputs)]
    rows: list[tuple[Cell, ...]] = [
        (found.file, *(round(number / 1e6, 3) for number in _millions(events)))
        for found, events in zip(emulations, counted, strict=True)
        if events is not None
    ]
    if rows:
        columns = ("file", "instructions", "SIMD FMA", "SIMD int mul", "memory", "L1D misses", "L2 misses")
        parts.append("Millions of events in one inference, one thread\n" + render(columns, rows))
    about = {
        f"simulated: {found.engine} {found.engine_version}, aarch64, QEMU {found.qemu} as {found.cpu}"
        for found in emulations
    }
    return "\n\n".join([*parts, "\n".join(sorted(about))])


def _millions(events: Counts) -> tuple[int, ...]:
    multiply_adds = events.simd_fma + events.simd_fma_plain
    return (events.insns, multiply_adds, events.simd_intmul, events.mem, events.l1d_miss, events.l2_miss)


@click.command()
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--counts/--no-counts", "count", default=True, show_default=True, help="Count instructions and misses.")
@click.option("--fresh", is_flag=True, help="Count again what was counted before.")
@click.option("--userland", type=click.Path(path_type=Path), help="Folder of the userland; default: in the cache.")
@click.option(
    "--timeout", type=click.FloatRange(1), default=Limits.wall_seconds, show_default=True, help="Seconds for a file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    artifacts: tuple[Path, ...], count: bool, fresh: bool, userland: Path | None, timeout: float, as_json: bool
) -> None:
    r"""Run ARTIFACTs on their aarch64 engines as on a Raspberry Pi 4, in emulation, and compare with this machine.

    Exits with 1 where an output differs by more than rounding explains: a float file's by 1e-4 of its largest value, a
    quantised one's by twice what this machine's own moves when its input moves by 1e-6 of its values.

    \b
    Example:
        python -m edge.bench.emulate pose-student-2mb-int8.tflite --json
    """
    limits = Limits(wall_seconds=timeout)
    found: list[Emulation] = []
    counted: list[Counts | None] = []
    log = partial(click.echo, err=True)
    try:
        place = open_userland(userland)
        for path in artifacts:
            log(f"running {path.name} in emulation")
            found.append(emulate(path, userland=place, limits=limits))
            counted.append(counts(path, userland=place, limits=limits, fresh=fresh, log=log) if count else None)
    except EdgeError as exc:
        click.echo(one_line(exc), err=True)
        raise SystemExit(exc.exit_code) from exc
    click.echo(json.dumps(report(found, counted), indent=1, allow_nan=False) if as_json else text(found, counted))
    if not all(item.agrees for item in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
