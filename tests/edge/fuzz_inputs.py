"""The child of `test_fuzz_inputs`: reads mutants of a seed and says how each was answered; it must outlive them all.

    python -m tests.edge.fuzz_inputs KIND SEED COUNT

Everything that edge reads and that no engine opens: checkpoints, calibration arrays, and its own JSON and TOML files.
"""

from __future__ import annotations

import io
import json
import re
import resource
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.runtime.errors import EdgeError, one_line

from ..runtime.fuzz_mutants import byte_mutant

Rng = np.random.Generator
ROOM_BYTES = 1 << 30  # next to the libraries
WORDS = (b"null", b"[]", b"{}", b'""', b"-1", b"1e400", b"NaN", b"0.5", b"true", b'"\\ud800"', b"9" * 400, b"[" * 5000)
VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?|true|false|null')


def main(kind: str, seed: Path, count: int) -> None:
    """Print how often each exit code was the answer; an exception that is none of ours ends the child."""
    warnings.simplefilter("ignore")  # numpy and torch warn of odd headers
    data, answers = seed.read_bytes(), Counter[str]()
    read, mutate = READERS[kind]()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, used + ROOM_BYTES))
    path = seed.with_name(f"mutant{seed.suffix}")
    for number in range(count):
        rng = np.random.default_rng([31, *kind.encode(), number])
        path.write_bytes(mutate(data, rng) if number % 2 else byte_mutant(data, rng))
        try:
            read(path)
        except EdgeError as error:
            answers["more than a line" if "\n" in one_line(error) else str(error.exit_code)] += 1
        else:
            answers["0"] += 1
    print(json.dumps(answers))


def _checkpoint() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.models.checkpoint_file import read_checkpoint

    return read_checkpoint, _archive_mutant


def _array() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.export.calibration import load_samples
    from edge.runtime.card import Card, InputSpec, OutputSpec

    card = Card(
        model="net",
        input=InputSpec(kind="tensor", shape=(1, 4), layout="any"),
        outputs=(OutputSpec(name="y", shape=(1, 4)),),
    )
    return lambda path: load_samples(path, card, min_samples=1), _archive_mutant


def _config() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.bench.config import read_config

    return read_config, _text_mutant


def _results() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.bench.report_read import read_facts

    return lambda path: read_facts([], [path], []), _text_mutant


def _evaluation() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.bench.report_read import read_facts

    return lambda path: read_facts([], [], [path]), _text_mutant


def _manifest() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.bench.report_read import read_facts

    def read(path: Path) -> object:
        path.with_name("manifest.json").write_bytes(path.read_bytes())
        return read_facts([path.parent], [], [])

    return read, _text_mutant


def _baseline() -> tuple[Callable[[Path], object], Callable[[bytes, Rng], bytes]]:
    from edge.bench.baseline import read_baseline

    def read(path: Path) -> object:
        path.with_name("baseline.json").write_bytes(path.read_bytes())
        return read_baseline(path.parent)

    return read, _text_mutant


def _archive_mutant(data: bytes, rng: Rng) -> bytes:
    """Return an archive of which one member is another, with sums that fit; of what is no archive, changed bytes."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return byte_mutant(data, rng)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as target:
        members = source.namelist()
        pickles = [name for name in members if name.endswith((".pkl", ".npy"))]
        chosen = str(rng.choice(pickles or members))
        for name in members:
            member = source.read(name)
            target.writestr(name, byte_mutant(member, rng) if name == chosen and member else member)
    return made.getvalue()


def _text_mutant(data: bytes, rng: Rng) -> bytes:
    """Return a text of which one or two values are others."""
    for _ in range(int(rng.integers(1, 3))):
        places = list(VALUE.finditer(data))
        if places:
            place = places[int(rng.integers(len(places)))]
            data = data[: place.start()] + WORDS[int(rng.integers(len(WORDS)))] + data[place.end() :]
    return data


READERS = {
    "checkpoint": _checkpoint,
    "array": _array,
    "config": _config,
    "results": _results,
    "evaluation": _evaluation,
    "manifest": _manifest,
    "baseline": _baseline,
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
