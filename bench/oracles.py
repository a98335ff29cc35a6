"""The slow references that live among the tests, for measurements in a checkout; an installed wheel has none."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

__all__ = ["GOLDEN", "ROOT", "load_oracle"]

ROOT = Path(__file__).resolve().parents[1]  # of the checkout; in a wheel, of the package
GOLDEN = ROOT / ".." / "shared" / "golden"
FOLDER = ROOT / "tests" / "runtime"
PACKAGE = "edge_test_oracles"


def load_oracle(name: str) -> types.ModuleType | None:
    """Return `tests/runtime/<name>.py` as a module, or None where there is no checkout.

    It is loaded under a package name of its own: the tests are no package that could be imported from here.
    """
    if not (FOLDER / f"{name}.py").is_file():
        return None
    if PACKAGE not in sys.modules:
        package = types.ModuleType(PACKAGE)
        package.__path__ = [str(FOLDER)]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")
