"""The child of `verify`: looks into files of a bundle, one JSON line of answer for each.

{"files": [{"name", "path", "sha256", "target", "precision", "contents"}, ...], limits}  on stdin
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ..runtime.errors import EdgeError
from ..runtime.isolate import limit_self

__all__: list[str] = []


def main() -> int:
    """Answer for each file of the order on stdin."""
    order = json.loads(sys.stdin.buffer.read())
    limit_self(order)
    for facts in order["files"]:
        answer: dict[str, Any] = {"edge.verify": 1}
        try:
            answer["finding"] = _wrong(facts)
        except ModuleNotFoundError as exc:
            answer["missing"] = exc.name or str(exc)
        except EdgeError as exc:
            answer["finding"] = str(exc)
        except Exception as exc:  # readers of damaged files raise every kind
            answer["finding"] = f"cannot be inspected: {type(exc).__name__}: {str(exc)[:100]}"
        print(json.dumps(answer), flush=True)
    return 0


def _wrong(facts: dict[str, Any]) -> str | None:
    """Return what is wrong with a file's contents, or None."""
    from ..runtime.card import Precision, Target
    from .formats import FORMATS

    data = Path(facts["path"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        return "changed while it was checked"
    if facts["target"] not in list(Target) or facts["precision"] not in list(Precision):
        return f"of an unknown target or precision: {facts['target']!s:.20}, {facts['precision']!s:.20}"
    form = FORMATS[Target(facts["target"])]
    found = form.inspect(data)
    form.check_precision(found, Precision(facts["precision"]))
    inside, told = json.loads(json.dumps(found.to_dict())), facts["contents"]
    if not isinstance(told, dict):
        return "the manifest does not say what is in it"
    # An older or a newer edge may list more, or less.
    different = [name for name in inside if name in told and inside[name] != told[name]]
    return f"{different[0]} inside is not as the manifest has it" if different else None


if __name__ == "__main__":
    sys.exit(main())
