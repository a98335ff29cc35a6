"""Read every sample of a source once, in several processes, and say what is broken and what is there."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, ResourceError
from ...runtime.skeleton import KEYPOINTS
from .processes import without_interrupts
from .samples import EmotionSample, FaceSample, PoseSample, SampleError, Source

__all__ = ["CheckReport", "check_source"]

Progress = Callable[[int, int, int], None]

CHUNK = 16  # samples that a process is given at a time
AHEAD = 3  # chunks a process that are handed out
SIDES = (8, 16, 32, 64, 128, 256, 512)  # pixels, root of the area of faces and people: edges of the histogram


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a source holds.

    Attributes:
        family, label: of the source.
        samples: how many were read.
        broken: a message for each sample that cannot be used; training passes over it.
        faults: a message for each annotation that belongs to no sample.
        statistics: plain JSON values of the samples that are fine; which ones, depends on the family.
        duplicates: names of samples with the same pixels or sound, group by group.
    """

    family: str
    label: str
    samples: int
    broken: tuple[str, ...]
    faults: tuple[str, ...]
    statistics: dict[str, Any]
    duplicates: tuple[tuple[str, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "family": self.family,
            "label": self.label,
            "samples": self.samples,
            "broken": list(self.broken),
            "faults": list(self.faults),
            "statistics": self.statistics,
            "duplicates": [list(names) for names in self.duplicates],
        }


class _Seen(NamedTuple):
    """What is kept of one sample: a hash of its content, and figures by name; or what is wrong with it."""

    place: int
    name: str
    digest: bytes
    figures: dict[str, Any]
    wrong: str


def check_source(
    source: Source[Any], *, workers: int = 1, limit: int | None = None, say: Progress | None = None
) -> CheckReport:
    """Read samples and report.

    Args:
        source: pictures with people or faces, or sound with an emotion; it is copied to the processes.
        workers: processes, >= 1; with 1 it is this one.
        limit: read only the first ones.
        say: told samples read, samples in all, and broken ones, now and then.

    Raises:
        MissingExtraError: a format needs a package that is not installed.
        ResourceError: a process died, for want of memory most likely.
    """
    total = len(source) if limit is None else min(limit, len(source))
    seen: list[_Seen] = []
    broken = 0
    for part in _read_all(source, total, workers):
        seen += part
        broken += sum(1 for one in part if one.wrong)
        if say is not None:
            say(len(seen), total, broken)
    seen.sort(key=lambda one: one.place)
    good = [one for one in seen if not one.wrong]
    groups: dict[bytes, list[str]] = defaultdict(list)
    for one in good:
        groups[one.digest].append(one.name)
    return CheckReport(
        family=source.family,
        label=source.label,
        samples=total,
        broken=tuple(one.wrong for one in seen if one.wrong),
        faults=getattr(source, "faults", ()),
        statistics=_statistics(source.family, [one.figures for one in good]),
        duplicates=tuple(tuple(names) for names in groups.values() if len(names) > 1),
    )


def _read_all(source: Source[Any], total: int, workers: int) -> Iterator[list[_Seen]]:
    chunks = [range(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield _read(source, chunk)
        return
    # Not forked: this process may have threads, and a copy of a lock that one of them holds never opens.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, _keep, (source,))
    try:
        waiting = iter(chunks)
        running: set[Future[list[_Seen]]] = set()
        with without_interrupts():
            for chunk in itertools.islice(waiting, AHEAD * workers):
                running.add(pool.submit(_read_kept, chunk))
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                if (chunk_next := next(waiting, None)) is not None:
                    running.add(pool.submit(_read_kept, chunk_next))
    except BrokenProcessPool as exc:
        raise ResourceError("a process that read samples died", hint="try fewer: --workers 1") from exc
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_kept: list[Source[Any]] = []  # in a process of the pool: the source


def _keep(source: Source[Any]) -> None:
    _kept[:] = [source]


def _read_kept(indices: Sequence[int]) -> list[_Seen]:
    return _read(_kept[0], indices)


def _read(source: Source[Any], indices: Sequence[int]) -> list[_Seen]:
    seen = []
    for index in indices:
        try:
            sample = source[index]
        except SampleError as error:
            seen.append(_Seen(index, "", b"", {}, str(error)))
            continue
        content, figures = _figures(sample)
        digest = hashlib.blake2b(repr(content.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(content).data)
        seen.append(_Seen(index, sample.name, digest.digest(), figures, ""))
    return seen


def _figures(sample: object) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return what is compared between samples, and the figures that statistics are made of."""
    if isinstance(sample, PoseSample):
        people = ~sample.crowd & (sample.keypoints[:, :, 2] > 0).any(axis=1)
        return sample.image, {
            "hw": sample.image.shape[:2],
            "sides": np.sqrt(sample.areas[people]),
            "passed": int((~people).sum()),
            "joints": (sample.keypoints[people, :, 2] > 0).sum(axis=0),
        }
    if isinstance(sample, FaceSample):
        faces = ~sample.ignore
        sides = sample.boxes[faces, 2:] - sample.boxes[faces, :2]
        return sample.image, {
            "hw": sample.image.shape[:2],
            "sides": np.sqrt(sides.prod(axis=1)),
            "passed": int(sample.ignore.sum()),
            "landmarks": int(sample.has_landmarks[faces].sum()),
        }
    if isinstance(sample, EmotionSample):
        rate = int(sample.rate[0])
        return sample.sound, {"seconds": len(sample.sound) / rate, "rate": rate, "target": sample.target}
    raise InputError("samples of this kind are not checked", got=type(sample).__name__)


def _statistics(family: str, figures: list[dict[str, Any]]) -> dict[str, Any]:
    if not figures:
        return {}
    if family == "emotion":
        targets = np.array([one["target"] for one in figures], np.float64)
        return {
            "clips": len(figures),
            "seconds": _range(np.array([one["seconds"] for one in figures])),
            "rates_hz": {str(rate): count for rate, count in Counter(one["rate"] for one in figures).most_common(20)},
            "valence": _range(targets[:, 0]),
            "arousal": _range(targets[:, 1]),
        }
    sizes = np.array([one["hw"] for one in figures])
    sides = np.concatenate([one["sides"] for one in figures])
    what = "people" if family == "pose" else "faces"
    found = {
        "pictures": len(figures),
        f"pictures_without_{what}": sum(1 for one in figures if not len(one["sides"])),
        "heights": _range(sizes[:, 0]),
        "widths": _range(sizes[:, 1]),
        what: len(sides),
        "ignored": sum(one["passed"] for one in figures),
        "sides_px": _histogram(sides),
    }
    if family == "pose":
        joints = sum((one["joints"] for one in figures), np.zeros(len(KEYPOINTS), np.int64))
        return found | {
            "labelled_joints": int(joints.sum()),
            "joints": dict(zip(KEYPOINTS, joints.tolist(), strict=True)),
        }
    return found | {"with_landmarks": sum(one["landmarks"] for one in figures)}


def _range(values: NDArray[Any]) -> dict[str, float]:
    low, middle, high = (round(float(value), 4) for value in (values.min(), np.median(values), values.max()))
    return {"min": low, "median": middle, "mean": round(float(values.mean()), 4), "max": high}


def _histogram(sides: NDArray[Any]) -> dict[str, int]:
    """Return how many are below, between and above `SIDES`."""
    places = np.bincount(np.searchsorted(SIDES, sides, side="right"), minlength=len(SIDES) + 1)
    names = [f"<{SIDES[0]}", *(f"{low}-{high}" for low, high in itertools.pairwise(SIDES)), f">={SIDES[-1]}"]
    return dict(zip(names, places.tolist(), strict=True))
