"""Signatures of bundles by sigstore's `model_signing`, with a key of your own, offline.

The program is run, not imported: its dependencies and those of the converters shut each other out (typing-extensions),
so it lives in an environment of its own, and on PATH. A signature covers every file of
the bundle by name and hash; it is `model.sig` in the bundle.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..runtime.errors import EdgeError, InputError, MissingExtraError, ResourceError
from ..runtime.files import fsync
from .verify import SIGNATURE

__all__ = ["sign", "signature_complaint"]

PROGRAM = "model_signing"
TIMEOUT_S = 300.0


def sign(bundle: Path, key: Path) -> Path:
    """Write the signature of a bundle, whole or not at all, and return its path.

    Args:
        bundle: its folder, already verified.
        key: private key of an elliptic curve, PEM, without a password.

    Raises:
        MissingExtraError: the program is not installed.
        EdgeError: it refused the key, or failed.
    """
    _must_be_file(key, "key")
    final = bundle / SIGNATURE
    with tempfile.TemporaryDirectory(prefix="edge-sign-") as folder:
        made = Path(folder) / SIGNATURE
        words = ["--private_key", str(key.absolute()), "--signature", str(made), *_but_signature(bundle)]
        code, said = _run(["sign", "key", *words, str(bundle.absolute())])
        if code or not made.is_file():
            raise EdgeError("the bundle could not be signed", got=said, hint="the key must be PEM, an elliptic curve's")
        handle, part = tempfile.mkstemp(dir=bundle.parent, prefix=f".{SIGNATURE}.")
        os.close(handle)
        try:
            shutil.copyfile(made, part)
            os.chmod(part, 0o644)
            fsync(Path(part))
            os.replace(part, final)
        except BaseException:
            os.unlink(part)
            raise
    fsync(bundle)
    return final


def signature_complaint(bundle: Path, key: Path) -> str | None:
    """Return what is wrong with a bundle's signature, or None where it holds.

    Args:
        bundle: its folder.
        key: public key, PEM.

    Raises:
        MissingExtraError: the program is not installed.
        InputError: the key cannot be read.
    """
    _must_be_file(key, "key")
    signature = bundle / SIGNATURE
    if not signature.is_file() or signature.is_symlink():
        return "there is none"
    words = ["--public_key", str(key.absolute()), "--signature", str(signature.absolute()), *_but_signature(bundle)]
    code, said = _run(["verify", "key", *words, str(bundle.absolute())])
    return None if code == 0 else f"does not hold: {said}"


def _but_signature(bundle: Path) -> list[str]:
    return ["--ignore-paths", str((bundle / SIGNATURE).absolute())]


def _must_be_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"{what} `{path}` does not exist, or is no file")


def _run(words: Sequence[str]) -> tuple[int, str]:
    """Return the program's exit status and the last line it said."""
    beside = Path(sys.executable).with_name(PROGRAM)
    program = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if program is None:
        raise MissingExtraError(
            "signatures need the program `model_signing`",
            hint="in an environment of its own: pip install model-signing pyopenssl; then put its bin folder on PATH",
        )
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise ResourceError(f"`{PROGRAM}` did not finish", expected=f"at most {TIMEOUT_S:.0f} s") from exc
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode, lines[-1][:200] if lines else f"exit status {done.returncode}"
