"""Real data sets of a few samples, written to disk as their publishers lay them out."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from edge.models.data.samples import SampleError, Source

S = TypeVar("S")

# COCO's 17 joints of a person in a picture of 64x48: x, y, visibility.
STANDING = [
    30, 8, 2, 31, 7, 2, 29, 7, 2, 32, 8, 1, 28, 8, 1, 34, 14, 2, 26, 16, 1, 36, 20, 2, 24, 20, 2, 37, 26, 2, 23, 26, 2,
    33, 28, 2, 27, 28, 2, 33, 36, 2, 27, 36, 2, 33, 44, 2, 0, 0, 0,
]  # fmt: skip
BOX_RUNS = [5 * 48 + 10, 4, 44, 4, 64 * 48 - (5 * 48 + 10 + 52)]  # columns 5 and 6, rows 10 to 13, of 64x48


def write_picture(path: Path, hw: tuple[int, int], seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def usable(source: Source[S], *, naming: str) -> Iterator[S]:
    """Yield the samples that can be read; of every other one the error must name the place that is broken."""
    messages = []
    for index in range(len(source)):
        try:
            yield source[index]
        except SampleError as error:
            messages.append(str(error))
    assert all(naming in message for message in messages)


def coco_json() -> dict[str, Any]:
    """Return three pictures of 64x48: a person and a crowd, one without joints, and nobody."""
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 64, "height": 48, "license": 1}
            for number in (7, 8, 9)
        ],
        "annotations": [
            {"id": 101, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 600.5, "bbox": [22, 6, 17, 40.5],
             "num_keypoints": 16, "keypoints": list(STANDING), "segmentation": [[22, 6, 39, 6, 39, 46]]},
            {"id": 102, "image_id": 7, "category_id": 1, "iscrowd": 1, "area": 8, "bbox": [5, 10, 2, 4],
             "num_keypoints": 0, "keypoints": [0] * 51, "segmentation": {"size": [48, 64], "counts": BOX_RUNS}},
            {"id": 103, "image_id": 8, "category_id": 1, "iscrowd": 0, "area": 100, "bbox": [10, 10, 10, 10],
             "num_keypoints": 0, "keypoints": [0] * 51, "segmentation": [[10, 10, 20, 10, 20, 20, 10, 20]]},
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip


def write_coco(folder: Path, data: object | None = None, part: str = "val2017") -> Path:
    """Write the set, with any content of the JSON; return the file of the JSON."""
    file = folder / "annotations" / f"person_keypoints_{part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(coco_json() if data is None else data))
    for number in (7, 8, 9):
        write_picture(folder / part / f"{number}.png", (48, 64), number)
    return file


RETINA = """# a/one.png
10 12 20 24 14.5 20 0.0 24 20.5 0.0 19 26 0.0 15 31 1.0 23 31.5 0.0 0.82
40 2 7 8 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 0.2
50 30 0 8 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0
# a/two.png
# a/three.png
1 2 30 40
"""
WIDER = """a/one.png
2
10 12 20 24 0 0 0 0 0 0
40 2 7 8 2 0 0 1 0 0 
a/two.png
0
0 0 0 0 0 0 0 0 0 0 
a/three.png
1
1 2 30 40 0 0 0 0 0 0
"""


def write_wider(folder: Path, text: str | bytes = RETINA, *, retina: bool = True, part: str = "train") -> Path:
    """Write the set, with any content of the text; return the file of the text."""
    file = folder / part / "label.txt" if retina else folder / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    pictures = folder / part / "images" if retina else folder / f"WIDER_{part}" / "images"
    for seed, name in enumerate(("one", "two", "three")):
        write_picture(pictures / "a" / f"{name}.png", (48, 64), seed)
    return file


DEAM = "song_id, valence_mean, valence_std, arousal_mean, arousal_std\n" + "".join(
    f"{number},{1 + number % 9},0.5,{9 - number % 9},0.7\n" for number in range(1, 31)
)


def write_deam(folder: Path, text: str | bytes = DEAM, numbers: range = range(1, 31)) -> Path:
    """Write the set, with any content of the CSV, and half a second of noise for each number; return the CSV."""
    file = folder / "annotations" / "song_level" / "static_annotations.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    for number in numbers:
        write_sound(folder / "MEMD_audio" / f"{number}.wav", number)
    return file


def write_sound(path: Path, seed: int, seconds: float = 0.05) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20000, 20000, round(seconds * 8000), np.int16)
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(noise.tobytes())
