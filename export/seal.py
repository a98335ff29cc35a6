"""The manifest of a bundle as bytes that vouch for themselves: one way to write it, and a digest of all it says.

The digest finds every accident, down to one bit, in whatever field. It is no signature: who can write the file can
write another digest (`edge sign` makes a signature). Nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["manifest_digest", "manifest_text"]

DIGEST = "digest"


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in a manifest but its digest, hexadecimal."""
    said = {name: value for name, value in manifest.items() if name != DIGEST}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as its file holds it; there is no other way to write the same."""
    return json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
