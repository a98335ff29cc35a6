"""The scripts beside the app are no package: they find each other, and tests find them, by their folder."""

from __future__ import annotations

import sys
from pathlib import Path

DEMO = str(Path(__file__).parents[2] / "android_demo")
if DEMO not in sys.path:
    sys.path.append(DEMO)  # at the end: `build` and `check` are names that others may have, too
