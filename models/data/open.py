"""One way to open data: "synthetic", or a folder in one of the layouts that people have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from .coco import COCO_LAYOUTS, CocoKeypoints, find_coco
from .deam import DEAM_LAYOUTS, Deam, find_tables
from .files import SPLITS, check_split, digest_of
from .samples import Source
from .wider import WIDER_LAYOUTS, WiderFace, find_wider

__all__ = ["FAMILIES", "SYNTHETIC", "Subset", "find_family", "find_splits", "open_source", "parted"]

SYNTHETIC = "synthetic"
FAMILIES = ("pose", "face", "emotion")
LAYOUTS = {"pose": COCO_LAYOUTS, "face": WIDER_LAYOUTS, "emotion": DEAM_LAYOUTS}
_READERS: dict[str, Callable[[Path, str], Source[Any]]] = {"pose": CocoKeypoints, "face": WiderFace, "emotion": Deam}
SYNTHETIC_COUNTS = {
    "train": {"pose": 8000, "face": 4000, "emotion": 3000},
    "val": dict.fromkeys(FAMILIES, 200),
    "test": dict.fromkeys(FAMILIES, 500),
}


def open_source(
    family: str,
    where: str,
    *,
    split: str,
    seed: int = 0,
    count: int | None = None,
    hw: tuple[int, int] | None = None,
) -> Source[Any]:
    """Return the samples of one split.

    Args:
        family: "pose", "face" or "emotion".
        where: "synthetic", or a folder with COCO keypoints, WIDER FACE, or DEAM-like annotations and sound.
        split: "train", "val" or "test". The splits of a synthetic set are drawn from seeds of their own.
        seed: >= 0; of a synthetic set its samples, of a folder which `count` of them.
        count: how many at most, >= 1. Default: of a folder all; of a synthetic set 8000, 4000 and 3000 for training
            (pose, face, emotion), 200 for validation and 500 for the test.
        hw: height and width of synthetic pictures; those of a folder keep theirs.

    Raises:
        InputError: the family, split or count makes no sense, or the folder has none of the family's layouts; the
            message lists them.
    """
    _check_family(family)
    check_split(split)
    if seed < 0 or (count is not None and count < 1):
        raise InputError("seed must not be negative and count at least 1", got=(seed, count))
    if where == SYNTHETIC:
        wanted = SYNTHETIC_COUNTS[split][family] if count is None else count
        return _synthetic(family, wanted, 3 * seed + SPLITS.index(split), hw)
    folder = _folder(where)
    if not _holds(folder, family, split):
        layouts = " | ".join(LAYOUTS[family])
        raise InputError(f"`{where}` holds no {family} data of `{split}`", expected=layouts, hint=_hint(folder, family))
    source = _READERS[family](folder, split)
    if not len(source):
        raise InputError(f"`{where}` has no sample in the split `{split}`")
    return source if count is None or count >= len(source) else _subset(source, count, seed)


def find_family(where: str) -> str:
    """Return the family of the data in a folder.

    Raises:
        InputError: there is none that is known, or more than one.
    """
    folder = _folder(where)
    found = _families_in(folder)
    if not found:
        layouts = " | ".join(layout for layouts in LAYOUTS.values() for layout in layouts)
        raise InputError(f"`{where}` holds no data that is known", expected=layouts)
    if len(found) > 1:
        raise InputError(f"`{where}` holds data of several families", got=", ".join(found), hint="name one: --family")
    return found[0]


def find_splits(family: str, where: str) -> list[str]:
    """Return the splits that a folder has data of its own for: COCO's and WIDER's "test" is "val" once more.

    Raises:
        InputError: there is none.
    """
    _check_family(family)
    folder = _folder(where)
    shared = family == "emotion" or (family == "pose" and (coco := find_coco(folder, "test")) and coco.shared)
    found = [split for split in (SPLITS if shared else ("train", "val")) if _holds(folder, family, split)]
    if shared:  # of a few samples the hash may give a split none
        found = [split for split in found if len(_READERS[family](folder, split))]
    if not found:
        raise InputError(
            f"`{where}` holds no {family} data", expected=" | ".join(LAYOUTS[family]), hint=_hint(folder, family)
        )
    return found


class Subset:
    """Some samples of a source, in its order.

    Args:
        source: all of them.
        indices: which ones.
        word: how they were chosen, for the label.
    """

    def __init__(self, source: Source[Any], indices: Sequence[int], word: str) -> None:
        self._source = source
        self._indices = list(indices)
        self.family = source.family
        self.label = f"{source.label}, {word}"
        self.digest = digest_of("subset 1", source.digest, np.array(self._indices, "<i8").tobytes())
        self.faults: tuple[str, ...] = getattr(source, "faults", ())

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        """Return sample `index` of the chosen ones; raises what the source raises."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._source[self._indices[index]]


def parted(source: Source[Any], seed: int) -> tuple[Subset, Subset]:
    """Return four fifths of a source and the other fifth, at least one sample each, drawn by `seed`.

    Raises:
        InputError: it has a single sample.
    """
    if len(source) < 2:
        raise InputError(f"{source.label} is too small to be parted", expected="at least 2 samples", got=len(source))
    chosen = np.random.default_rng([seed, 8]).permutation(len(source)).tolist()
    few = max(1, len(source) // 5)
    return (
        Subset(source, sorted(chosen[few:]), f"four fifths (seed {seed})"),
        Subset(source, sorted(chosen[:few]), f"a fifth (seed {seed})"),
    )


def _subset(source: Source[Any], count: int, seed: int) -> Subset:
    """Return some samples; of one seed a larger subset holds the smaller one."""
    chosen = np.random.default_rng([seed, 7]).permutation(len(source))[:count]
    return Subset(source, sorted(chosen.tolist()), f"{count} of them (seed {seed})")


def _synthetic(family: str, count: int, seed: int, hw: tuple[int, int] | None) -> Source[Any]:
    source: Source[Any]
    if family == "pose":
        from .synthetic_people import SyntheticPeople

        source = SyntheticPeople(count, seed, hw)
    elif family == "face":
        from .synthetic_faces import SyntheticFaces

        source = SyntheticFaces(count, seed) if hw is None else SyntheticFaces(count, seed, hw)
    else:
        from .synthetic_music import SyntheticMusic

        source = SyntheticMusic(count, seed)
    return source


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        raise InputError("there are no data of this family", expected=" | ".join(FAMILIES), got=family)


def _folder(where: str) -> Path:
    folder = Path(where)
    try:
        there = folder.is_dir()
    except ValueError:  # a NUL in the path
        there = False
    if not where or not there:
        raise InputError(f"there is no folder `{where}`", hint=f"or use `{SYNTHETIC}`")
    return folder


def _holds(folder: Path, family: str, split: str) -> bool:
    """Return whether a folder has a family's layout; a text without its pictures counts, and fails when opened."""
    if family == "emotion":
        return bool(find_tables(folder))
    try:
        return (find_coco if family == "pose" else find_wider)(folder, split) is not None
    except InputError:
        return True


def _families_in(folder: Path) -> list[str]:
    """Return the families that a folder holds data of; for emotion all files are looked through, so it comes last."""
    found = [family for family in ("pose", "face") if any(_holds(folder, family, split) for split in SPLITS)]
    return found or (["emotion"] if _holds(folder, "emotion", "train") else [])


def _hint(folder: Path, asked: str) -> str | None:
    """Return what a folder holds instead of the family that was asked for."""
    found = [family for family in _families_in(folder) if family != asked]
    return f"it looks like {found[0]} data" if found else None
