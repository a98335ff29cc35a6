"""Music with an emotion: CSV files of valence and arousal as DEAM and PMEmo publish them, and a folder of sound.

The header decides the scale: `valence_mean` and `arousal_mean` (DEAM) are on 1..9, `Valence(mean)` and `Arousal(mean)`
(PMEmo) on 0..1. Both become -1..1. Sound files are found by name, `<id>.mp3` or another format, anywhere in the folder,
and read when a sample is asked for.

Source:
    Aljanaki et al., "Developing a benchmark for emotional analysis of music", PLoS ONE 12(3), 2017 (DEAM); Zhang et
    al., "The PMEmo dataset for music emotion recognition", ICMR 2018.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...runtime.audio import read_audio
from ...runtime.errors import InputError, MediaError
from .files import check_split, digest_of, read_bytes, split_of
from .samples import EmotionSample, SampleError

__all__ = ["DEAM_LAYOUTS", "Deam", "find_tables"]

SECONDS = 31.0  # of a file that are read: a window of 30, and what a resampler needs behind it
MAX_CSV_BYTES = 64 << 20
MAX_HEADER_BYTES = 1 << 16
MAX_FILES, MAX_DEPTH = 200_000, 8  # that are looked at
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")  # the first that is there is taken
DEAM_LAYOUTS = (
    "CSV with song_id, valence_mean, arousal_mean on 1..9 (DEAM), and <song_id>.{wav,flac,ogg,mp3}",
    "CSV with musicId, Valence(mean), Arousal(mean) on 0..1 (PMEmo), and <musicId>.{wav,flac,ogg,mp3}",
)


class _Scale(NamedTuple):
    """Columns, by name in lower case, and the range of their values."""

    number: str
    valence: str
    arousal: str
    low: float
    high: float


SCALES = (
    _Scale("song_id", "valence_mean", "arousal_mean", 1.0, 9.0),
    _Scale("musicid", "valence(mean)", "arousal(mean)", 0.0, 1.0),
)


class _Row(NamedTuple):
    """One song: its id, where it stands, and the two values or what is wrong with them."""

    number: str
    place: str
    valence: float
    arousal: float
    wrong: str


def find_tables(folder: Path) -> list[Path]:
    """Return the CSV files below a folder whose header is one that is known, sorted."""
    return sorted(path for path in _walk(folder) if path.suffix.lower() == ".csv" and _scale_of(_header(path)))


class Deam:
    """Songs of one split of DEAM, PMEmo, or a set in their format. The splits are 80, 10 and 10 % by a hash of the id.

    Args:
        folder: holds the CSV files and the sound, at any depth.
        split: "train", "val" or "test".

    Attributes:
        family, label, digest: as of a `Source`; the digest is of the annotations, and of the sounds' names, sizes
            and times of change.
        faults: what is broken in the CSV files and belongs to no song, a message each.

    Raises:
        InputError: no CSV has a known header, or there is no song at all.
    """

    family = "emotion"

    def __init__(self, folder: str | Path, split: str) -> None:
        check_split(split)
        root = Path(folder)
        tables = find_tables(root)
        if not tables:
            raise InputError(f"`{folder}` holds no CSV of valence and arousal", expected=" | ".join(DEAM_LAYOUTS))
        contents = [read_bytes(table, MAX_CSV_BYTES) for table in tables]
        faults: list[str] = []
        rows: dict[str, _Row] = {}
        for table, content in zip(tables, contents, strict=True):
            for row in _rows(table, content, faults):
                first = rows.get(row.number)
                rows[row.number] = row if first is None else _twice(first, row)
        self.faults = tuple(faults)
        self._rows = [row for row in rows.values() if split_of(row.number) == split]
        if not rows:
            raise InputError(f"`{tables[0]}` has no song")
        self._sounds = _sounds(root, {row.number for row in self._rows})
        self.digest = digest_of("deam 2", split, *contents, *(_stamp(path) for path in self._sounds.values()))
        self.label = f"{root.name or root} {split} ({len(self)} songs)"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> EmotionSample:
        """Return sample `index`; its id is its name.

        Raises:
            SampleError: its line is broken, or its sound is missing or cannot be read.
            MissingExtraError: the sound needs `soundfile`, which is not installed.
            IndexError: there is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self._rows[index]
        if row.wrong:
            raise SampleError(f"{row.place}: {row.wrong}")
        path = self._sounds.get(row.number)
        if path is None:
            names = ", ".join(f"`{row.number}{suffix}`" for suffix in SOUNDS)
            raise SampleError(f"{row.place}: song {row.number} has no sound", expected=f"one of {names}")
        try:
            sound, rate = read_audio(path, seconds=SECONDS)
        except MediaError as error:
            raise SampleError(f"{row.place}: {error.message}", expected=error.expected, got=error.got) from error
        return EmotionSample(
            name=row.number,
            sound=sound,
            rate=np.array([rate], np.int32),
            target=np.array([row.valence, row.arousal], np.float32),
        )


def _twice(first: _Row, second: _Row) -> _Row:
    return first._replace(wrong=first.wrong or f"song {first.number} is there again at {second.place}")


def _rows(table: Path, content: bytes, faults: list[str]) -> Iterator[_Row]:
    """Yield the songs of a CSV; what names no song goes to `faults`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # titles of songs in other columns; ids and numbers are ASCII
    reader = csv.reader(io.StringIO(text, newline=""))
    columns: dict[str, int] = {}
    scale: _Scale | None = None
    try:
        for values in reader:
            place = f"`{table}:{reader.line_num}`"
            if scale is None:
                names = _names(values)
                columns = {name: index for index, name in reversed(list(enumerate(names)))}
                scale = _scale_of(names)
                if scale is None:
                    faults.append(f"{place}: the header is not the one that its first line had")
                    return
            elif any(value.strip() for value in values):
                cells = [values[columns[name]].strip() if columns[name] < len(values) else "" for name in scale[:3]]
                number = cells[0].removesuffix(".0")  # as pandas writes ids that went through a float
                if not number or not number.isprintable() or "/" in number or len(number) > 200:
                    faults.append(f"{place}: no song id, got {cells[0][:40]!r}")
                else:
                    yield _row(number, place, cells[1:], scale)
    except csv.Error as exc:
        faults.append(f"`{table}:{reader.line_num}`: {exc}; the rest is not read")


def _row(number: str, place: str, cells: list[str], scale: _Scale) -> _Row:
    values = []
    for name, cell in zip((scale.valence, scale.arousal), cells, strict=True):
        try:
            value = float(cell)
        except ValueError:
            return _Row(number, place, 0.0, 0.0, f"`{name}` is not a number, got {cell[:40]!r}")
        if not scale.low <= value <= scale.high:  # nor is NaN
            rule = "; ".join(f"`{known.valence}` is on {known.low:g}..{known.high:g}" for known in SCALES)
            wrong = f"`{name}` must be within {scale.low:g}..{scale.high:g}, got {value:g} (the header decides: {rule})"
            return _Row(number, place, 0.0, 0.0, wrong)
        values.append((2 * value - scale.low - scale.high) / (scale.high - scale.low))
    return _Row(number, place, values[0], values[1], "")


def _header(path: Path) -> list[str]:
    """Return the names of a CSV's columns; none where it cannot be read."""
    try:
        if not path.is_file():  # not a pipe, which would block
            return []
        with path.open("rb") as stream:
            line = stream.readline(MAX_HEADER_BYTES)
        return _names(next(csv.reader([line.decode("utf-8-sig", "replace")]), []))
    except (OSError, csv.Error):
        return []


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _scale_of(names: list[str]) -> _Scale | None:
    return next((scale for scale in SCALES if set(scale[:3]) <= set(names)), None)


def _sounds(folder: Path, numbers: set[str]) -> dict[str, Path]:
    """Return the sound file of each song: the first format of `SOUNDS`, then the first in order of path."""
    found = [
        (SOUNDS.index(path.suffix.lower()), path)
        for path in _walk(folder)
        if path.suffix.lower() in SOUNDS and path.stem in numbers
    ]
    return {path.stem: path for _, path in sorted(found, reverse=True)}


def _stamp(path: Path) -> str:
    """Return what tells a file from one that was there before it; a broken link has its name alone."""
    try:
        status = path.stat()
    except OSError:
        return path.name
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, which may be nonsense: not too deep, not too many, no links to folders."""
    depth = len(folder.parts)
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(Path(place).parts) - depth >= MAX_DEPTH:
            folders.clear()
        for name in files:
            count += 1
            if count > MAX_FILES:
                raise InputError(f"`{folder}` has more than {MAX_FILES} files", hint="name the folder of the data set")
            yield Path(place, name)
