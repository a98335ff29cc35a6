"""Pictures of a report for the documentation: three widths, each light and dark, in a real Chromium.

    python -m tests.bench.report_shots report.html docs

Writes `report-360.png`, `report-768.png` and `report-1280.png`. Of the narrow ones light and dark stand side by side,
of the wide one the left half is light and the right half dark. They have few colours, to be small.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from edge.bench.chromium import find_chromium

from .chromium_page import Browser

# Width of a screen -> where the picture begins, and how high it is.
PARTS = {360: ("body", 1500), 768: ("#m1", 1500), 1280: ("#m1", 1500)}
GAP = 12
COLOURS = 192


def main(page: Path, folder: Path) -> None:
    """Write the pictures of a page into a folder."""
    with tempfile.TemporaryDirectory() as work, Browser(find_chromium()) as browser:
        for width, (start, height) in PARTS.items():
            pair = []
            for dark in (False, True):
                browser.open(page, width=width, dark=dark)
                shot = Path(work) / f"{width}-{dark}.png"
                top = browser.value(f"document.querySelector('{start}').getBoundingClientRect().top + scrollY")
                browser.shoot(shot, top=max(top, 0), height=height)
                pair.append(Image.open(shot).convert("RGB"))
            target = folder / f"report-{width}.png"
            _beside(*pair, is_split=width > 1000).quantize(COLOURS).save(target, optimize=True)
            print(f"{target}: {target.stat().st_size:,} bytes")


def _beside(light: Image.Image, dark: Image.Image, *, is_split: bool) -> Image.Image:
    width, height = light.size
    if is_split:
        light.paste(dark.crop((width // 2, 0, width, height)), (width // 2, 0))
        return light
    both = Image.new("RGB", (2 * width + GAP, height), (128, 128, 128))
    both.paste(light, (0, 0))
    both.paste(dark, (width + GAP, 0))
    return both


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
