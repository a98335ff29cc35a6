"""A source rendered to disk once, so that no epoch draws, decodes or transforms a sample again. No torch here.

A cache is a folder `<digest>/`: shards of raw array bytes, `table.npy` (where each sample lies) and `index.json`
(names, types). It is built under another name, `<digest>.part/`, shard by shard, and renamed when whole: a build that
is killed goes on where it stopped. Samples are read with one plain read each, not through a memory map: no open files
to share between processes or to run out of, and a file that someone cut short is an error instead of a SIGBUS.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...runtime.errors import InputError, ResourceError
from ...runtime.progress import Progress, print_line
from .processes import without_interrupts
from .samples import EmotionSample, FaceSample, PoseSample, Sample, SampleError, Source, SpectrogramSample

__all__ = ["cached"]

S = TypeVar("S")

SCHEMA = 1
SHARD = 256  # samples; what a kill costs at most, a worker
ALIGN = 16  # bytes
RANKS = 3  # most axes of an array
SHOWN = 5  # broken samples that are named
KINDS: dict[str, type[Sample]] = {
    kind.__name__: kind for kind in (PoseSample, FaceSample, EmotionSample, SpectrogramSample)
}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cached(source: Source[S], folder: Path, *, workers: int, say: Callable[[str], None]) -> Source[S]:
    """Return the same samples, read from `folder / source.digest`; they are rendered there first if need be.

    Broken samples are left out; the label and `broken` say how many, and `say` gets the first `SHOWN` reasons when the
    cache is made. Two processes that ask for one cache build it once: the
    second waits for the first.

    Args:
        source: of one of the sample classes of `samples.py`; it must be picklable if `workers` is above 1.
        folder: parent of all caches; made if it is missing.
        workers: processes that render; 1 renders in this one.
        say: takes lines of progress.

    Returns:
        Source with the family and digest of `source`, and `broken`, the number of samples that are left out; cheap to
        pickle and to share between processes. Arrays are fresh and writable, about 0.1 ms a sample.

    Raises:
        InputError: the source has no usable sample, or the cache is damaged.
        ResourceError: the disk is full, or a worker was killed.
    """
    place = folder / source.digest
    if not place.exists():
        with _no_room(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{source.digest}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # ends with this process, however that ends
                if not place.exists():
                    _build(source, place, workers, say)
    return _Cached(place)


class _Cached:
    """The samples of a whole cache."""

    def __init__(self, place: Path) -> None:
        try:
            index = json.loads((place / "index.json").read_text())
            self.table = np.load(place / "table.npy", allow_pickle=False)
            self.kind, self.names, self.arrays = KINDS[index["kind"]], index["names"], index["arrays"]
            self.family, self.label, self.digest = index["family"], index["label"], index["digest"]
            self.broken = len(index["broken"])
            sizes = [_shard(place, number).stat().st_size for number in range(len(index["sizes"]))]
            whole = index["schema"] == SCHEMA and sizes == index["sizes"] and len(self.table) == len(self.names)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as exc:
            raise _damaged(place, f"{type(exc).__name__}: {exc}"[:120]) from exc
        if not whole:
            raise _damaged(place, "files of another size or version")
        self.place = place

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        """Return a sample of the source's class; raises as `Source` says."""
        if not 0 <= index < len(self.names):
            raise IndexError(f"sample {index} of {len(self.names)}")
        shard, offset, *sides = self.table[index].tolist()
        shapes, places, size = [], [], 0
        for number, (_, kind, rank) in enumerate(self.arrays):
            shape = sides[number * RANKS : number * RANKS + rank]
            count = math.prod(shape)
            shapes.append(shape)
            places.append((size, count))
            size = _aligned(size + count * np.dtype(kind).itemsize)
        try:
            blob = np.fromfile(_shard(self.place, shard), np.uint8, size, offset=offset)
        except OSError as exc:
            raise SampleError(f"`{self.place}` cannot be read: {exc.strerror}") from exc
        if len(blob) < size:
            raise SampleError(f"sample {index} of `{self.place}` is cut short", got=f"{len(blob)} of {size} bytes")
        values: dict[str, Any] = {
            name: np.frombuffer(blob, kind, count, start).reshape(shape)
            for (name, kind, _), shape, (start, count) in zip(self.arrays, shapes, places, strict=True)
        }
        return self.kind(name=self.names[index], **values)


# --- building -------------------------------------------------------------------


def _build(source: Source[Any], place: Path, workers: int, say: Callable[[str], None]) -> None:
    part = place.with_name(f"{place.name}.part")
    part.mkdir(exist_ok=True)
    shards = -(-len(source) // SHARD)
    missing = [number for number in range(shards) if _said(part, number) is None]
    done = len(source) - sum(min(SHARD, len(source) - number * SHARD) for number in missing)
    if missing:
        say(f"rendering {source.label} to {place}" + (f": {done} of {len(source)} are there" if done else ""))
    with Progress("rendering", len(source), start=done, quiet=say is not print_line) as progress:
        for count in _render(source, part, missing, workers):
            done += count
            progress.at(done)
    if missing:
        say(f"rendered {done} of {len(source)}")
    for line in _finish(source, part, shards)[:SHOWN]:
        say(f"left out: {line}")
    part.rename(place)


def _render(source: Source[Any], part: Path, missing: list[int], workers: int) -> Iterator[int]:
    """Render the missing shards, in any order; yield the number of samples of each that is done."""
    if workers <= 1 or len(missing) <= 1:
        for number in missing:
            yield _render_shard(source, part, number)
        return
    context = get_context("spawn")  # a fork would copy torch's threads in the middle of something
    stop = context.Event()
    arguments = (source, part, stop)
    with ProcessPoolExecutor(min(workers, len(missing)), context, _start_worker, arguments) as pool:
        try:
            with without_interrupts():  # workers are born here
                futures = [pool.submit(_render_in_worker, number) for number in missing]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as exc:
            raise ResourceError(
                "a process that renders samples died", hint="run it again; if memory is short, with fewer workers"
            ) from exc
        finally:
            stop.set()  # an interrupt must not wait for the shards in work
            pool.shutdown(wait=False, cancel_futures=True)


def _render_shard(source: Source[Any], part: Path, number: int, stop: Event | None = None) -> int:
    """Write one shard and its index; both get their names when they are whole."""
    first, last = number * SHARD, min(len(source), (number + 1) * SHARD)
    names: list[str] = []
    rows: list[list[int]] = []
    broken: list[str] = []
    head: tuple[str, list[list[Any]]] | None = None
    with _no_room(part), _whole_file(_shard(part, number)) as temporary, temporary.open("wb") as file:
        for index in range(first, last):
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            try:
                sample = source[index]
            except SampleError as exc:
                broken.append(str(exc))
                continue
            values = [np.ascontiguousarray(getattr(sample, field.name)) for field in fields(sample)[1:]]
            arrays = [
                [field.name, value.dtype.str, value.ndim]
                for field, value in zip(fields(sample)[1:], values, strict=True)
            ]
            head = head or (type(sample).__name__, arrays)
            _check_alike(sample, arrays, head)
            shapes = [side for value in values for side in (*value.shape, *[1] * (RANKS - value.ndim))]
            rows.append([number, file.tell(), *shapes])
            names.append(sample.name)
            for value in values:
                file.write(value.data if value.size else b"")
                file.write(bytes(_aligned(value.nbytes) - value.nbytes))
    with _no_room(part), _whole_file(part / f"{number:05d}.json") as temporary:
        temporary.write_text(json.dumps({"head": head, "names": names, "rows": rows, "broken": broken}))
    return last - first


def _finish(source: Source[Any], part: Path, shards: int) -> list[str]:
    """Gather what the shards say of themselves into the cache's index; return why samples are left out."""
    said = [shard for number in range(shards) if (shard := _said(part, number)) is not None]
    assert len(said) == shards
    heads = [shard["head"] for shard in said if shard["head"]]
    broken = [line for shard in said for line in shard["broken"]]
    if not heads:
        shutil.rmtree(part, ignore_errors=True)  # once the files are mended, all are to be read again
        raise InputError(
            f"no sample of {source.label} can be used", got=broken[0] if broken else "an empty set", hint=None
        )
    if any(head != heads[0] for head in heads):
        raise InputError(f"samples of {source.label} differ in kind", got=[head for head in heads if head != heads[0]])
    kind, arrays = heads[0]
    label = f"{source.label}, {len(broken)} broken left out" if broken else source.label
    with _whole_file(part / "table.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.array([row for shard in said for row in shard["rows"]], np.int64))
    index = {
        "schema": SCHEMA,
        "kind": kind,
        "family": source.family,
        "label": label,
        "digest": source.digest,
        "arrays": arrays,
        "sizes": [_shard(part, number).stat().st_size for number in range(shards)],
        "names": [name for shard in said for name in shard["names"]],
        "broken": broken,
    }
    with _whole_file(part / "index.json") as temporary:
        temporary.write_text(json.dumps(index))
    for number in range(shards):
        (part / f"{number:05d}.json").unlink()
    return broken


def _said(part: Path, number: int) -> dict[str, Any] | None:
    """Return what a shard says of itself, or None where it is not there whole."""
    try:
        said = json.loads((part / f"{number:05d}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    known = isinstance(said, dict) and said.keys() == {"head", "names", "rows", "broken"}
    return said if known and _shard(part, number).is_file() else None


def _check_alike(sample: Any, arrays: list[list[Any]], head: tuple[str, list[list[Any]]]) -> None:
    kind = type(sample).__name__
    if kind not in KINDS or (kind, arrays) != head:
        raise InputError(f"sample `{sample.name}` does not fit the cache", expected=head, got=(kind, arrays))


# --- workers --------------------------------------------------------------------

_worker: tuple[Source[Any], Path, Event] | None = None  # what a worker process renders; set once, by `_start_worker`


def _start_worker(source: Source[Any], part: Path, stop: Event) -> None:
    global _worker
    _worker = (source, part, stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the parent is gone, killed: it would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _render_in_worker(number: int) -> int:
    assert _worker is not None
    source, part, stop = _worker
    return _render_shard(source, part, number, stop)


# --- files ----------------------------------------------------------------------


def _shard(place: Path, number: int) -> Path:
    return place / f"{number:05d}.bin"


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """Give a name to write under; the file gets its own name if nothing fails, and else is removed."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _no_room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in NO_ROOM:
            raise
        raise ResourceError(
            f"the disk of `{folder}` is full", hint="free some room and run it again; what is rendered is kept"
        ) from exc


def _damaged(place: Path, got: str) -> InputError:
    return InputError(f"the cache `{place}` is damaged", got=got, hint="delete that folder; it is rendered again")
