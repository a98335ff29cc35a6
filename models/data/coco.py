"""COCO keypoints: a JSON file and pictures, as `PoseSample`s with the 18 joints of `runtime.skeleton`.

The JSON is read once, at the start, into arrays; pictures are read when they are asked for. A broken annotation makes
the sample of its picture fail, with the file and the annotation's place and id in the message; one that belongs to no
picture is in `faults`. Nothing else of the data set suffers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.skeleton import COCO_INDEX, KEYPOINTS
from .coco_json import Images, Person, check_categories, parse, people_of, read_person
from .coco_mask import mask_of
from .files import check_split, digest_of, read_bytes, read_picture, resolve, split_of
from .samples import PoseSample, SampleError

__all__ = ["COCO_LAYOUTS", "CocoKeypoints", "find_coco"]

Float32 = NDArray[np.float32]

MAX_JSON_BYTES = 2 << 30
PIXEL_MIDDLE = 0.5  # of the first pixel, in continuous coordinates
COCO_LAYOUTS = (
    "annotations/person_keypoints_{train,val}{2017,2014}.json with {train,val}{2017,2014}/ or images/{train,val}...",
    "annotations.json with images/",
)
NECK, SHOULDERS = KEYPOINTS.index("neck"), (KEYPOINTS.index("right_shoulder"), KEYPOINTS.index("left_shoulder"))


class CocoFiles(NamedTuple):
    """Where one split is: the JSON, the folder of the pictures, and what the split is called.

    `shared` is true where all splits are in one file, so that a hash of the file name tells them apart.
    """

    annotations: Path
    pictures: Path
    name: str
    shared: bool


def find_coco(folder: Path, split: str) -> CocoFiles | None:
    """Return the files of a split, or None where the folder holds no COCO keypoints for it.

    COCO publishes no keypoints of its test pictures: "test" is its validation split.

    Raises:
        InputError: the JSON is there, its pictures are not; or there is no such split.
    """
    check_split(split)
    part = "train" if split == "train" else "val"
    for year in ("2017", "2014"):
        annotations = folder / "annotations" / f"person_keypoints_{part}{year}.json"
        if annotations.is_file():
            pictures = (folder / f"{part}{year}", folder / "images" / f"{part}{year}", folder / "images")
            return CocoFiles(annotations, _first_folder(annotations, pictures), f"{part}{year}", False)
    annotations = folder / "annotations.json"
    if annotations.is_file():
        return CocoFiles(annotations, _first_folder(annotations, (folder / "images",)), f"{split} by hash", True)
    return None


def _first_folder(annotations: Path, candidates: tuple[Path, ...]) -> Path:
    for folder in candidates:
        if folder.is_dir():
            return folder
    names = " or ".join(f"`{folder}`" for folder in candidates)
    raise InputError(f"`{annotations}` has no pictures beside it", expected=f"the folder {names}")


class CocoKeypoints:
    """Pictures with people of one split of COCO keypoints, or of a set in its format.

    Of the training split the pictures without an annotated person are left out; of the others all are there. The
    segmentation (the box where there is none) of a crowd or of a person without a labelled joint is in `ignore`. COCO's
    keypoints are numbers of pixels: half a pixel is added, so that they lie in the middles of these.

    Args:
        folder: one of `COCO_LAYOUTS`.
        split: "train", "val" or "test".

    Attributes:
        family, label, digest: as of a `Source`; the digest is of the annotations, not of the pictures.
        faults: what is broken in the JSON and belongs to no picture, a message each.

    Raises:
        InputError: there is no such layout, or the JSON is not COCO's at all.
    """

    family = "pose"

    def __init__(self, folder: str | Path, split: str) -> None:
        found = find_coco(Path(folder), split)
        if found is None:
            raise InputError(f"`{folder}` holds no COCO keypoints of `{split}`", expected=" | ".join(COCO_LAYOUTS))
        self._file, self._pictures = found.annotations, found.pictures
        content = read_bytes(self._file, MAX_JSON_BYTES)
        self.digest = digest_of("coco keypoints 2", split if found.shared else found.name, content)
        data = parse(self._file, content)
        del content
        check_categories(self._file, data)
        self.faults: tuple[str, ...] = ()
        self._load(data, split, found.shared)
        self.label = f"COCO keypoints {found.name} ({len(self)} pictures)"

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> PoseSample:
        """Return sample `index`; the file name of its picture is its name.

        Raises:
            SampleError: its picture or one of its annotations is broken.
            IndexError: there is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        name, (height, width) = self._names[index], self._sizes[index].tolist()
        place = f"`{self._file}`, image {self._image_ids[index]}"
        if index in self._broken:
            raise SampleError(self._broken[index])
        path = resolve(self._pictures, name)
        if path is None:
            raise SampleError(f"{place}: the file name leaves the folder of pictures", got=f"`{name}`")
        image = read_picture(path, place)
        if image.shape[:2] != (height, width):
            raise SampleError(
                f"{place}: `{path}` has another size than its annotations",
                expected=f"{width}x{height}",
                got=f"{image.shape[1]}x{image.shape[0]}",
            )
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        keypoints = self._keypoints[rows]
        corners = self._boxes[rows].copy()
        corners[:, 2:] += corners[:, :2]
        crowd = self._crowd[rows]
        ignore = np.zeros((height, width), np.bool_)
        for row in rows[crowd | ~(keypoints[:, :, 2] > 0).any(axis=1)].tolist():
            self._mark(ignore, row, name)
        return PoseSample(
            name=name,
            image=image,
            keypoints=_to_ours(keypoints),
            boxes=corners,
            areas=self._areas[rows],
            crowd=crowd,
            ignore=ignore,
        )

    def _mark(self, ignore: NDArray[np.bool_], row: int, name: str) -> None:
        """Set the pixels of a crowd, or of a person without joints."""
        height, width = ignore.shape
        region = self._regions.get(row)
        if region is None:
            x, y, w, h = self._boxes[row].tolist()
            ignore[max(0, math.floor(y)) : math.ceil(y + h), max(0, math.floor(x)) : math.ceil(x + w)] = True
            return
        try:
            ignore |= mask_of(region, (height, width))
        except ValueError as exc:
            raise SampleError(f"{self._place(self._order[row], self._ids[row])} of `{name}`: {exc}") from exc

    def _place(self, order: int, number: object) -> str:
        return f"`{self._file}`, annotation {order} (id {str(number)[:40]})"

    def _load(self, data: dict[str, Any], split: str, shared: bool) -> None:
        """Bring the parsed JSON into arrays; what is broken goes to the picture it belongs to, or to `faults`."""
        people, faults = people_of(data), []
        images = Images()
        for order, entry in enumerate(data["images"]):
            reason = images.add(entry)
            if reason:
                faults.append(f"`{self._file}`, image entry {order}: {reason}")
        broken: dict[int, str] = {}
        seen: set[object] = set()
        kept: list[tuple[int, int, object, Person]] = []
        for order, entry in enumerate(data["annotations"]):
            if not isinstance(entry, dict):
                faults.append(f"`{self._file}`, annotation {order}: not an object")
                continue
            category = entry.get("category_id")
            if people is not None and not (isinstance(category, int) and category in people):
                continue
            number, owner = entry.get("id"), entry.get("image_id")
            place = self._place(order, number)
            if not isinstance(owner, int) or owner not in images.place_of:
                faults.append(f"{place}: there is no image with the `image_id` {str(owner)[:40]}")
                continue
            image = images.place_of[owner]
            try:
                if not isinstance(number, int):
                    raise ValueError("`id` is missing or not a whole number")
                if number in seen:
                    raise ValueError("the id was used before")
                seen.add(number)
                kept.append((image, order, number, read_person(entry, images.sizes[image])))
            except ValueError as exc:
                broken.setdefault(image, f"{place} of `{images.names[image]}`: {exc}")
        for image, reason in images.broken.items():
            broken[image] = f"`{self._file}`, image {images.ids[image]}: {reason}"
        self.faults = tuple(faults)
        self._store(images, kept, broken, split, shared)

    def _store(
        self,
        images: Images,
        kept: list[tuple[int, int, object, Person]],
        broken: dict[int, str],
        split: str,
        shared: bool,
    ) -> None:
        kept.sort(key=lambda item: item[:2])
        people = [person for *_, person in kept]
        self._keypoints = np.array([person.keypoints for person in people], np.float32).reshape(-1, 17, 3)
        self._boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
        self._areas = np.array([person.area for person in people], np.float32)
        self._crowd = np.array([person.crowd for person in people], np.bool_)
        self._regions = {row: person.region for row, person in enumerate(people) if person.region is not None}
        self._order = np.array([order for _, order, _, _ in kept], np.int64)
        self._ids = [number for _, _, number, _ in kept]
        owners = np.array([image for image, *_ in kept], np.int64)
        edges = np.searchsorted(owners, np.arange(len(images.names) + 1))
        wanted = [
            image
            for image, name in enumerate(images.names)
            if (not shared or split_of(name) == split)
            and (split != "train" or image in broken or edges[image + 1] > edges[image])
        ]
        self._names = [images.names[image] for image in wanted]
        self._image_ids = [images.ids[image] for image in wanted]
        self._sizes = np.array([images.sizes[image] for image in wanted], np.int64).reshape(-1, 2)
        self._broken = {place: broken[image] for place, image in enumerate(wanted) if image in broken}
        spans = [np.arange(edges[image], edges[image + 1]) for image in wanted]
        self._rows = np.concatenate([np.empty(0, np.int64), *spans])
        self._starts = np.cumsum([0, *(len(span) for span in spans)])


def _to_ours(coco: Float32) -> Float32:
    """Return (n, 18, 3) keypoints in our order of (n, 17, 3) in COCO's; the neck is between labelled shoulders."""
    ours = np.zeros((len(coco), len(KEYPOINTS), 3), np.float32)
    for place, index in enumerate(COCO_INDEX):
        if index is not None:
            ours[:, place] = coco[:, index]
    ours[:, :, :2] += np.where(ours[:, :, 2:] > 0, np.float32(PIXEL_MIDDLE), np.float32(0.0))
    left, right = ours[:, SHOULDERS[0]], ours[:, SHOULDERS[1]]
    both = (left[:, 2] > 0) & (right[:, 2] > 0)
    ours[both, NECK, :2] = (left[both, :2] + right[both, :2]) / 2
    ours[both, NECK, 2] = np.minimum(left[both, 2], right[both, 2])
    return ours
