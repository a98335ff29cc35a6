"""Samples that an export is calibrated on, searched on and judged on: three splits that share nothing.

They come from a folder of images or WAV files, from an `.npy` or `.npz` of ready tensors, or, where the user gives
nothing, from the built-in synthetic set, which is always called so.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..models.data.synthetic import synthetic_clips, synthetic_images
from ..runtime.audio import read_audio
from ..runtime.audio_input import prepare_audio
from ..runtime.card import AudioSpec, Card, InputSpec
from ..runtime.errors import InputError
from ..runtime.image import read_image
from ..runtime.preprocess import prepare
from .store import sha256_file

__all__ = ["MIN_SAMPLES", "Samples", "load_samples", "samples_key", "stress_inputs", "synthetic_samples"]

Float32 = NDArray[np.float32]

MIN_SAMPLES = 32  # NUM-3 of the reliability bar: fewer distinct samples give ranges that collapse on others
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
SOUNDS = {".wav", ".flac", ".ogg", ".mp3"}
_SYNTHETIC = (64, 16, 32)  # calibrate, search, parity
_LARGEST = 512  # files read of a folder; more do not move min and max, they only cost time


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Network inputs, each float32 of the card's input shape, in three disjoint splits.

    Attributes:
        calibrate: what INT8 ranges are taken from.
        search: what recipes are chosen on.
        parity: what the files are judged on.
        source: where they come from, for people.
        synthetic: True if we made them up.
        sha256: of all their bytes.
    """

    calibrate: Sequence[Float32]
    search: Sequence[Float32]
    parity: Sequence[Float32]
    source: str
    synthetic: bool
    sha256: str


def load_samples(source: Path | None, card: Card, *, seed: int = 0, min_samples: int = MIN_SAMPLES) -> Samples:
    """Return the three splits.

    Args:
        source: a folder of images or sounds, an `.npy` (n, …) or an `.npz` with one such array; None: synthetic.
        card: of the model; its input contract shapes the samples.
        seed: of the synthetic set.
        min_samples: fewest distinct samples that are taken.

    Raises:
        InputError: nothing usable, too few distinct samples, wrong shape, or non-finite values.
        MediaError: an image or sound cannot be read.
    """
    if source is None:
        return _synthetic(card.family, card.input, seed)
    tensors = _from_array(source, card.input) if source.suffix in {".npy", ".npz"} else _from_folder(source, card.input)
    ordered = sorted({hashlib.sha256(tensor.tobytes()).hexdigest(): tensor for tensor in tensors}.items())
    if len(ordered) < min_samples:
        raise InputError(
            f"`{source}` has too few distinct samples",
            expected=f"at least {min_samples}",
            got=f"{len(ordered)} of {len(tensors)}",
            hint="add more, or accept the risk with --min-samples",
        )
    # Sorted by hash: a split that does not depend on file names, and the same on every machine.
    picked = [tensor for _, tensor in ordered]
    calibrate, search = max(1, len(picked) * 5 // 8), max(1, len(picked) // 8)
    parts = (picked[:calibrate], picked[calibrate : calibrate + search], picked[calibrate + search :])
    parts = tuple(part or picked for part in parts)  # type: ignore[assignment]  # one or two samples: --min-samples
    return Samples(
        calibrate=parts[0],
        search=parts[1],
        parity=parts[2],
        source=f"{source.name} ({len(picked)} samples)",
        synthetic=False,
        sha256=hashlib.sha256("".join(digest for digest, _ in ordered).encode()).hexdigest(),
    )


def samples_key(source: Path | None, seed: int) -> str:
    """Return a name of the sample source's content that is cheap to compute; nothing is decoded."""
    if source is None:
        return f"synthetic-{seed}"
    if not source.exists():
        raise InputError(f"calibration source `{source}` does not exist")
    if not source.is_dir() and not source.is_file():  # a pipe or a device could block or never end
        raise InputError(f"calibration source `{source}` is no file", expected="a folder, .npy or .npz")
    digest = hashlib.sha256()
    for path in _files(source) if source.is_dir() else [source]:
        try:
            found = sha256_file(path)
        except OSError as exc:
            raise InputError(f"calibration source `{path}` cannot be read", got=exc.strerror) from exc
        digest.update(f"{path.name}\0{found}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def synthetic_samples(card: Card, count: int, seed: int) -> list[Float32]:
    """Return samples of the card's input contract that we made up; equal seeds give equal samples."""
    return _make(card.family, card.input, count, seed % 2**32)


def stress_inputs(samples: Sequence[Float32], seed: int = 0) -> list[Float32]:
    """Return inputs no camera gives, for float parity: zeros, both extremes of the samples, noise between them."""
    low = min(float(sample.min()) for sample in samples)
    high = max(float(sample.max()) for sample in samples)
    shape = samples[0].shape
    noise = np.random.default_rng(seed).uniform(low, high, (2, *shape)).astype(np.float32)
    return [np.zeros(shape, np.float32), np.full(shape, low, np.float32), np.full(shape, high, np.float32), *noise]


@lru_cache(maxsize=1)  # the two students of a family follow each other in a run and take the same samples
def _synthetic(family: str, spec: InputSpec, seed: int) -> Samples:
    # One generator a split, of its own seed: no sample is in two.
    splits = [_make(family, spec, count, 3 * seed + index) for index, count in enumerate(_SYNTHETIC)]
    digest = hashlib.sha256()
    for split in splits:
        for tensor in split:
            digest.update(tensor.tobytes())
    kind = {"image": f"{family} pictures", "audio": "music"}.get(spec.kind, "noise")
    return Samples(
        calibrate=splits[0],
        search=splits[1],
        parity=splits[2],
        source=f"synthetic {kind} (seed {seed})",
        synthetic=True,
        sha256=digest.hexdigest(),
    )


def _make(family: str, spec: InputSpec, count: int, seed: int) -> list[Float32]:
    if spec.kind == "tensor":
        rng = np.random.default_rng(seed)
        return [rng.standard_normal(spec.shape).astype(np.float32) for _ in range(count)]
    if spec.kind == "audio":
        audio = spec.audio or AudioSpec()
        return [prepare_audio(samples, rate, spec) for samples, rate in synthetic_clips(count, seed, audio)]
    return [prepare(image, spec)[0] for image in synthetic_images(family, count, spec.hw, seed)]


def _from_folder(folder: Path, spec: InputSpec) -> list[Float32]:
    if spec.kind == "tensor":
        raise InputError(
            "a model without an image or audio card cannot be calibrated from a folder",
            hint="give an .npy of ready inputs, or a card with --card",
        )
    files = _files(folder) if folder.is_dir() else [folder]
    wanted, read = (SOUNDS, _read_sound) if spec.kind == "audio" else (IMAGES, _read_picture)
    chosen = [path for path in files if path.suffix.lower() in wanted][:_LARGEST]
    if not chosen:
        raise InputError(
            f"no {spec.kind} files in `{folder}`", expected=" ".join(sorted(wanted)), got=f"{len(files)} other files"
        )
    reader: Callable[[Path, InputSpec], Float32] = read
    return [reader(path, spec) for path in chosen]


def _read_picture(path: Path, spec: InputSpec) -> Float32:
    return prepare(read_image(path), spec)[0]


def _read_sound(path: Path, spec: InputSpec) -> Float32:
    samples, rate = read_audio(path, seconds=(spec.audio or AudioSpec()).seconds + 1.0)
    return prepare_audio(samples, rate, spec)


def _from_array(path: Path, spec: InputSpec) -> list[Float32]:
    array = _load(path)
    if array.shape[1:] == spec.shape[1:]:
        array = array[:, None]
    if array.ndim != len(spec.shape) + 1 or array.shape[1:] != spec.shape:
        raise InputError(f"`{path}` has the wrong shape", expected=f"(n, {spec.shape[1:]})", got=array.shape)
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise InputError(f"`{path}` has {bad} NaN or infinite values", expected="finite numbers")
    return list(array)


def _load(path: Path) -> Float32:
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                total = sum(member.file_size for member in archive.infolist())
            if total > min(64 * path.stat().st_size, 4 << 30):  # SEC-4: a bomb expands a thousandfold
                raise InputError(f"`{path}` expands too far", got=f"{total} bytes")
            with np.load(path, allow_pickle=False) as data:
                names = list(data)
                if len(names) != 1:
                    raise InputError(f"`{path}` must hold one array", got=names[:8])
                loaded = data[names[0]]
        else:
            loaded = np.load(path, allow_pickle=False, mmap_mode="r")
        if loaded.dtype.kind not in "fiu" or loaded.ndim < 1 or not len(loaded):
            raise InputError(f"`{path}` holds no numbers", got=f"{loaded.dtype} {loaded.shape}")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
            return np.asarray(loaded[:_LARGEST], np.float32)
    except InputError:
        raise
    except Exception as exc:  # NumPy's readers of damaged files raise every kind
        raise InputError(f"calibration file `{path}` cannot be read", got=str(exc)[:80]) from exc


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
