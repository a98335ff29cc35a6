"""README's picture of what artifacts find in a browser: each drawn by its page, side by side.

    python -m edge.browser_pictures pose.tflite face.tflite emotion.tflite --out docs/browser-overlays.jpg

The sources are those of `edge bench`: the first synthetic sample of each artifact's family.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from .bench.browser import BrowserDevice
from .bench_inputs import find_artifacts, write_source
from .runtime.errors import InputError
from .runtime.files import write_whole

__all__ = ["main"]

HEIGHT = 300  # of the picture, pixels
QUALITY = 82


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JPEG to write.")
def main(artifacts: Sequence[Path], out: Path) -> None:
    """Draw what artifacts find on pages of a headless Chromium."""
    from PIL import Image

    device = BrowserDevice()
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        for artifact, card in find_artifacts(artifacts):
            source = write_source(card, None, Path(folder))
            if source is None:
                raise InputError(f"`{artifact.path.name}` takes no picture or sound")
            overlay = Image.open(io.BytesIO(device.overlay(artifact.path, source[0]))).convert("RGB")
            pictures.append(
                overlay.resize((overlay.width * HEIGHT // overlay.height, HEIGHT), Image.Resampling.LANCZOS)
            )
            click.echo(f"{artifact.path.name}: {source[1]}", err=True)
    sheet = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width
    data = io.BytesIO()
    sheet.save(data, format="JPEG", quality=QUALITY, optimize=True)
    write_whole(out, data.getvalue())


if __name__ == "__main__":
    main()
