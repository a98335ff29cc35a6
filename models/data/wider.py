"""WIDER FACE: an annotation text and pictures, as RetinaFace distributes it with landmarks, or as WIDER itself does.

RetinaFace's `label.txt` has a line `# path` for each picture, and after it a line for each face: x y w h, then x y
visible of five landmarks (-1 where there are none), then blur; of its validation split, x y w h alone. WIDER's own text
has the path, the number of faces, and for each x y w h blur expression illumination invalid occlusion pose. Lines are
read when a sample is asked for, so that a broken one fails alone, by file and line.

Source:
    Deng et al., "RetinaFace", CVPR 2020, arXiv:1905.00641, annotations v1.1; Yang et al., "WIDER FACE", CVPR 2016,
    arXiv:1511.06523, `readme.txt` of its annotations.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from .files import check_split, digest_of, read_bytes, read_picture, resolve
from .samples import FaceSample, SampleError

__all__ = ["WIDER_LAYOUTS", "WiderFace", "find_wider"]

MAX_TEXT_BYTES = 256 << 20
MAX_LINE_BYTES = 4096
MAX_NUMBER = 1e6  # no picture has that many pixels a side
PICTURES = (b".jpg", b".jpeg", b".png", b".bmp", b".webp")
WIDER_LAYOUTS = (
    "{train,val}/label.txt with {train,val}/images/ (RetinaFace)",
    "wider_face_split/wider_face_{train,val}_bbx_gt.txt with WIDER_{train,val}/images/ (WIDER FACE)",
)
RETINA_COUNTS = (4, 20)  # numbers of a line: the box; with landmarks and blur
WIDER_COUNTS = (10,)
INVALID = 7  # place of WIDER's flag


class WiderFiles(NamedTuple):
    """Where one split is: the text, the folder of the pictures, and whether the text is RetinaFace's."""

    labels: Path
    pictures: Path
    part: str
    retina: bool


def find_wider(folder: Path, split: str) -> WiderFiles | None:
    """Return the files of a split, or None where the folder holds no WIDER FACE for it.

    WIDER keeps the labels of its test pictures to itself: "test" is its validation split.

    Raises:
        InputError: the text is there, its pictures are not; or there is no such split.
    """
    check_split(split)
    part = "train" if split == "train" else "val"
    for found in (
        WiderFiles(folder / part / "label.txt", folder / part / "images", part, True),
        WiderFiles(
            folder / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt",
            folder / f"WIDER_{part}" / "images",
            part,
            False,
        ),
    ):
        if found.labels.is_file():
            if not found.pictures.is_dir():
                raise InputError(
                    f"`{found.labels}` has no pictures beside it", expected=f"the folder `{found.pictures}`"
                )
            return found
    return None


class WiderFace:
    """Pictures with faces of one split of WIDER FACE.

    A face that WIDER marks as invalid, or whose box has no width or height, is `ignore`.

    Args:
        folder: one of `WIDER_LAYOUTS`.
        split: "train", "val" or "test".

    Attributes:
        family, label, digest: as of a `Source`; the digest is of the annotations, not of the pictures.
        faults: what is broken in the text and belongs to no picture, a message each.

    Raises:
        InputError: there is no such layout, or the text names no picture.
    """

    family = "face"

    def __init__(self, folder: str | Path, split: str) -> None:
        found = find_wider(Path(folder), split)
        if found is None:
            raise InputError(f"`{folder}` holds no WIDER FACE of `{split}`", expected=" | ".join(WIDER_LAYOUTS))
        self._file, self._pictures, _, self._retina = found
        self._text = read_bytes(self._file, MAX_TEXT_BYTES)
        self.digest = digest_of("wider face 1", found.part, self._text)
        self._heads = _heads(self._text, self._retina)
        if not len(self._heads):
            shape = "`# path`" if self._retina else "the path of a picture"
            raise InputError(f"`{self._file}` names no picture", expected=f"lines with {shape}")
        self.faults: tuple[str, ...] = ()
        if self._text[: self._heads[0, 0]].strip():
            self.faults = (f"`{self._file}:1`: the lines before the first picture belong to none",)
        kind = "landmarks by RetinaFace" if self._retina else "boxes"
        self.label = f"WIDER FACE {found.part}, {kind} ({len(self)} pictures)"

    def __len__(self) -> int:
        return len(self._heads)

    def __getitem__(self, index: int) -> FaceSample:
        """Return sample `index`; the path of its picture in the text is its name.

        Raises:
            SampleError: its picture or one of its lines is broken.
            IndexError: there is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        start, number = self._heads[index].tolist()
        stop = int(self._heads[index + 1, 0]) if index + 1 < len(self) else len(self._text)
        head, *body = self._text[start:stop].split(b"\n")
        place = f"`{self._file}:{number}`"
        try:
            name = head.decode("utf-8").strip().removeprefix("#").strip()
        except UnicodeDecodeError as exc:
            raise SampleError(f"{place}: the name of the picture is not UTF-8") from exc
        path = resolve(self._pictures, name)
        if path is None:
            raise SampleError(f"{place}: the name leaves the folder of pictures", got=f"`{name[:200]}`")
        lines = [(number + 1 + offset, line) for offset, line in enumerate(body) if line.strip()]
        rows = [self._row(place, line) for place, line in (lines if self._retina else self._counted(place, lines))]
        image = read_picture(path, place)
        faces = np.array([row.box for row in rows], np.float32).reshape(-1, 4)
        landmarks = np.array([row.landmarks for row in rows], np.float32).reshape(-1, 5, 2)
        ignore = np.array([row.ignore for row in rows], np.bool_)
        self._refuse_outside(image.shape[:2], faces, landmarks, [number for number, _ in lines][-len(rows) :], ignore)
        return FaceSample(
            name=name,
            image=image,
            boxes=faces,
            landmarks=landmarks,
            has_landmarks=np.array([row.has_landmarks for row in rows], np.bool_),
            ignore=ignore,
        )

    def _counted(self, place: str, lines: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Return the lines of the faces of WIDER's own text, whose number comes first; none has one line of zeros."""
        if not lines:
            raise SampleError(f"{place}: the number of faces is missing")
        number, text = lines[0]
        if not text.strip().isdigit() or len(text) > 10:
            raise SampleError(f"`{self._file}:{number}`: not a number of faces", got=_shown(text))
        count, faces = int(text), lines[1:]
        if count == 0 and len(faces) <= 1:
            return []
        if len(faces) != count:
            raise SampleError(f"`{self._file}:{number}`: wrong number of faces", expected=count, got=len(faces))
        return faces

    def _row(self, number: int, line: bytes) -> _Face:
        counts = RETINA_COUNTS if self._retina else WIDER_COUNTS
        place = f"`{self._file}:{number}`"
        try:
            values = [float(word) for word in line[:MAX_LINE_BYTES].split()]
        except ValueError as exc:
            raise SampleError(f"{place}: not a line of numbers", got=_shown(line)) from exc
        if len(values) not in counts:
            expected = " or ".join(str(count) for count in counts)
            raise SampleError(f"{place}: wrong number of numbers", expected=expected, got=len(values))
        array = np.array(values)
        if not (np.abs(array) <= MAX_NUMBER).all():  # nor is NaN
            raise SampleError(f"{place}: a number is not finite, or beyond {MAX_NUMBER:g}", got=_shown(line))
        return _face(array, self._retina)

    def _refuse_outside(
        self,
        hw: tuple[int, ...],
        boxes: NDArray[np.float32],
        landmarks: NDArray[np.float32],
        lines: list[int],
        ignore: NDArray[np.bool_],
    ) -> None:
        """Raise SampleError for a face that cannot be in this picture: a line that belongs to another one."""
        size = np.array(hw[::-1], np.float32)
        outside = ((boxes[:, 2:] < 0) | (boxes[:, :2] > size)).any(axis=1)
        far = ((landmarks < -size) | (landmarks > 2 * size)).any(axis=(1, 2))  # labels may leave it by a little
        for rows, what in ((outside, "box"), (far, "landmarks")):
            wrong = np.flatnonzero(rows & ~ignore)
            if len(wrong):
                place = f"`{self._file}:{lines[wrong[0]]}`"
                raise SampleError(f"{place}: the {what} of a face outside the picture", expected=f"{hw[1]}x{hw[0]}")


class _Face(NamedTuple):
    """One line: corners of the box, (5, 2) landmarks, whether there are any, and whether it is passed over."""

    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    has_landmarks: bool
    ignore: bool


def _face(values: NDArray[np.float64], retina: bool) -> _Face:
    x, y, w, h = values[:4].tolist()
    box = np.array([x, y, x + max(w, 0.0), y + max(h, 0.0)])
    landmarks = np.zeros((5, 2))
    has_landmarks = False
    if retina and len(values) > 4:
        triples = values[4:19].reshape(5, 3)
        has_landmarks = bool((triples[:, 2] >= 0).all())
        landmarks = triples[:, :2] if has_landmarks else landmarks
    return _Face(box, landmarks, has_landmarks, min(w, h) <= 0 or (not retina and values[INVALID] != 0))


def _heads(text: bytes, retina: bool) -> NDArray[np.int64]:
    """Return (n, 2) int64: byte and line, from 1, of every line that names a picture."""
    found = []
    start = 0
    for number, line in enumerate(text.split(b"\n"), start=1):
        if line.startswith(b"#") if retina else line.rstrip().lower().endswith(PICTURES):
            found.append((start, number))
        start += len(line) + 1
    return np.array(found, np.int64).reshape(-1, 2)


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace"))
