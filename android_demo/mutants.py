"""Faults to plant on either side of the port, each of which the golden vectors must notice.

A fault is a line that stands once in a file, and what is put in its place: one for each rule that a port gets wrong
easily. Java's are compiled into the checker; Python's go into a copy of the library, which then writes vectors.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["JAVA", "PYTHON", "Fault", "copied_library", "planted", "write_vectors"]

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent
PACKAGES = ("edge", "runtime", "bench", "models", "export")


@dataclass(frozen=True)
class Fault:
    """What stands once in a file, the fault in its place, and the part of the vectors that it concerns."""

    file: str
    right: str
    wrong: str
    part: str


JAVA = (
    Fault("Peaks.java", "theirs == own && side >= 2", "theirs == own && side >= 1", "people"),
    Fault("Peaks.java", "Float.compare(b.height, a.height)", "Float.compare(a.height, b.height)", "people"),
    Fault("Peaks.java", "value - lower > FLAT * value", "value - lower > 100 * FLAT * value", "people"),
    Fault("Limbs.java", ": Float.compare(a.length, b.length)", ": Float.compare(b.length, a.length)", "people"),
    Fault("Limbs.java", "along > threshold", "along >= threshold - 0.01f", "people"),
    Fault("People.java", "entry.count++;", "entry.count += 2;", "people"),
    Fault(
        "People.java",
        "if (entry.joints[startPart] == ABSENT) {",
        "if (entry.joints[startPart] != ABSENT) {",
        "people",
    ),
    Fault("PoseDecoder.java", "(peak.x + 0.5) * scaleX", "peak.x * scaleX", "people"),
    Fault("Nms.java", "<= limit; //", "< limit - 1e-3f; //", "faces"),
    Fault(
        "Nms.java",
        "-> Float.compare(scores[b]",
        "-> scores[b] == scores[a] ? b - a : Float.compare(scores[b]",
        "faces",
    ),
    Fault("FaceDecoder.java", "- size / 2;", "- size / 2.01f;", "faces"),
    Fault("FaceDecoder.java", "(column + 0.5)", "(column + 0.4)", "faces"),
    Fault("Resize.java", "+ 2) >> 2);", "+ 1) >> 2);", "pictures"),
    Fault("Resize.java", "CUBIC_A = -0.75", "CUBIC_A = -0.5", "pictures"),
    Fault("Preprocessor.java", "rest == below && low % 2 == 1", "rest == below", "pictures"),
    Fault("Mel.java", "Math.PI * i / spec.fft)", "Math.PI * i / (spec.fft - 1))", "sounds"),
    Fault("SoundPreprocessor.java", "RESAMPLE_MARGIN = 0.05", "RESAMPLE_MARGIN = 0.0", "sounds"),
    Fault("WavReader.java", "- 128) / 128.0", "- 127) / 128.0", "sounds"),
    Fault("Result.java", 'valence >= 0 ? "calm" : "sad"', 'valence > 0.1 ? "calm" : "sad"', "emotions"),
    Fault("Smoother.java", "Math.pow(0.5,", "Math.pow(0.6,", "emotions"),
    Fault(
        "Table.java",
        'throw new Refusal("`" + path + "` has an unknown key `" + key + "`");',
        "return;",
        "cards",
    ),
)

PYTHON = (
    Fault("paf.py", "(peaks.table + PIXEL_CENTRE)", "peaks.table", "people"),
    Fault("peaks.py", "((rival == around) & later)", "(rival == around)", "people"),
    Fault("limbs.py", "np.lexsort((length, -affinity, limb))", "np.lexsort((-length, -affinity, limb))", "people"),
    Fault("limbs.py", "number >= needed", "number >= needed - 1", "people"),
    Fault("people.py", "entry.count += 1", "entry.count += 2", "people"),
    Fault("face.py", "np.subtract(low, size / 2, out=", "np.subtract(low, size / 2.01, out=", "faces"),
    Fault("face.py", "(np.arange(columns) + 0.5)", "(np.arange(columns) + 0.4)", "faces"),
    Fault("nms.py", "= shared <= threshold", "= shared <= threshold - 1e-3", "faces"),
    Fault("resize.py", "CUBIC_A = -0.75", "CUBIC_A = -0.5", "pictures"),
    Fault("resize.py", "ONE = 2048", "ONE = 1024", "pictures"),
    Fault("preprocess.py", 'math.floor if rule.rounding == "truncate" else round', "math.floor", "pictures"),
    Fault("mel.py", "np.pi * np.arange(length) / length)", "np.pi * np.arange(length) / (length - 1))", "sounds"),
    Fault("mel.py", "np.log(6.4) / 27.0", "np.log(6.4) / 28.0", "sounds"),
    Fault("audio.py", "ROLL_OFF = 32, 9.0, 0.91", "ROLL_OFF = 32, 9.0, 0.90", "sounds"),
    Fault("audio.py", "np.float32(128.0)) / np.float32(128.0)", "np.float32(127.0)) / np.float32(128.0)", "sounds"),
    Fault("emotion.py", '"calm" if valence >= 0 else', '"calm" if valence > 0.1 else', "emotions"),
    Fault("emotion.py", "0.5 ** ((time_s", "0.6 ** ((time_s", "emotions"),
)


def planted(fault: Fault, folder: Path) -> str:
    """Return a file's text with the fault in it.

    Raises:
        SystemExit: the line does not stand there exactly once.
    """
    text = (folder / fault.file).read_text(encoding="utf-8")
    if text.count(fault.right) != 1:
        raise SystemExit(f"error: {fault.file} has {text.count(fault.right)} times `{fault.right}`, expected one")
    return text.replace(fault.right, fault.wrong)


def copied_library(folder: Path) -> Path:
    """Copy the library's own packages, links and all, so that a fault in them harms nobody; and return the folder."""
    folder.mkdir()
    for name in PACKAGES:
        shutil.copytree(
            LIBRARY / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    return folder


def write_vectors(folder: Path, library: Path = LIBRARY, options: Iterator[str] | tuple[str, ...] = ()) -> Path:
    """Write golden vectors by a library's decoders, and return their folder."""
    command = [sys.executable, str(HERE / "golden.py"), str(folder), *options]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": str(library)})
    return folder
