"""The picture of the app's overlays: marks drawn by its own Java in every rotation of the phone, of both cameras.

    python android_demo/gallery.py edge-out/pose-student-2mb/pose-student-2mb-int8.tflite \\
        edge-out/face-nanob/face-nanob-int8.tflite --out docs/android-overlays.jpg

Networks run here, on the app's own samples; decoders, rotation, placement and marks are the app's, on this machine's
JVM. The small pictures are what the camera's sensor gives, the dot on the frame is the phone's upper end.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app_models import PICTURE_HW, SEEDS
from check import TESTS, compile_core, compile_java, run_java
from golden import Vectors, add_decoded
from PIL import Image, ImageDraw

from edge.models.data.synthetic import synthetic_images
from edge.runtime.embedded import read_card
from edge.runtime.engines import open_engine
from edge.runtime.errors import EdgeError, InputError, one_line
from edge.runtime.files import write_whole
from edge.runtime.preprocess import prepare

CAMERAS = ("back camera", "front camera, mirrored")
TURNS = ("upright", "turned left", "upside down", "turned right")
WIDTH = 1240  # of the picture, pixels
QUALITY = 74
HEADLESS = ("-Djava.awt.headless=true",)


def main() -> int:
    """Run the command line; the exit status of the JVM where that fails, 2 where a model is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help=".tflite file of pose or faces")
    parser.add_argument("--out", type=Path, required=True, help="JPEG to write")
    given = parser.parse_args()
    try:
        return draw(given.models, given.out)
    except EdgeError as exc:
        print(one_line(exc), file=sys.stderr)
        return exc.exit_code


def draw(models: Sequence[Path], out: Path) -> int:
    """Draw the overlays of some models into a JPEG; return the exit status of the JVM."""
    with tempfile.TemporaryDirectory(prefix="edge-gallery-") as name:
        folder = Path(name)
        vectors = Vectors()
        for number, path in enumerate(models):
            add_scene(vectors, path, folder, number)
        vectors.write(folder)
        core = compile_core(folder / "core")
        classes = [core, compile_java(folder / "tests", [TESTS / "Golden.java", TESTS / "Gallery.java"], [core])]
        status = run_java(classes, "edge.vision.core.Gallery", folder, folder / "sheet.png", properties=HEADLESS)
        if status:
            return status
        write_whole(out, _captioned(folder / "sheet.png", len(models)))
    print(f"{out}: {out.stat().st_size} bytes", file=sys.stderr)
    return 0


def add_scene(vectors: Vectors, path: Path, folder: Path, number: int) -> None:
    """Run a model on its family's sample; add what it gives to the vectors, and the sample to a folder."""
    card = read_card(path)
    if card.family not in SEEDS:
        raise InputError(f"`{path.name}` has no overlay", expected="a model of people or faces", got=card.family)
    picture = synthetic_images(card.family, 1, PICTURE_HW, SEEDS[card.family])[0]
    tensor, _ = prepare(picture, card.input)
    engine = open_engine(path, card, engine="litert", threads=1)
    try:
        outputs = engine.run(tensor)
    finally:
        engine.close()
    kind = {"pose": "people", "face": "faces"}[card.family]
    add_decoded(vectors, kind, str(number), card, outputs, PICTURE_HW)
    Image.fromarray(picture).save(folder / f"{kind}-{number}.png")


def _captioned(sheet: Path, scenes: int) -> bytes:
    with Image.open(sheet) as drawn:
        high = drawn.height * WIDTH // drawn.width
        picture = drawn.convert("RGB").resize((WIDTH, high), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    across, down = picture.width / len(TURNS), picture.height / (scenes * len(CAMERAS))
    for row in range(scenes * len(CAMERAS)):
        for column, turn in enumerate(TURNS):
            words = f"{CAMERAS[row % len(CAMERAS)]}, {turn}"
            pen.text((column * across + 12, row * down + 4), words, fill=(40, 40, 40), font_size=14)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
