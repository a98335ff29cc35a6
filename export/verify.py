"""Whether a bundle is what its manifest says: every hash, every card, the precision really in each file.

    found = verify_bundle(Path("edge-out/face-nanob"))
    found.findings, found.not_checked

A bundle may come from anywhere. Hashes and cards are read by this process, in plain Python that nothing in a file can
crash; precision is looked at by onnx and the flatbuffer reader in a child with limits. No torch. Where the packages for
that are not installed, the precision is listed as not checked, never passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import signal
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.card import Card
from ..runtime.embedded import file_target, read_card
from ..runtime.errors import EdgeError, InputError, one_line
from ..runtime.isolate import Limits, run_limited
from .bundle import MANIFEST
from .seal import DIGEST, manifest_digest, manifest_text
from .store import sha256_file

__all__ = ["SIGNATURE", "Finding", "Verification", "verify_bundle"]

SIGNATURE = "model.sig"
MAX_MANIFEST_BYTES = 16 << 20
WALL_S = 300.0  # for the precision of all files of a bundle
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
SHARED_CARD = ("model", "family", "decoder", "parity", "budget", "provenance", "schema")
SHARED_INPUT = ("name", "dtype", "kind", "colour", "mean", "std", "resize", "audio")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: the file, which check, and what is wrong with it, or why it was not done."""

    file: str
    check: str
    message: str


@dataclass(kw_only=True)
class Verification:
    """What was found.

    Attributes:
        bundle: the folder.
        manifest: as it was read; None where it could not be.
        findings: what is wrong; nothing, and the bundle is what it says.
        not_checked: what could not be looked at, and why.
        checked: how often each check was done, and held.
        hashes: SHA-256 of every file that was read, the manifest's among them.
    """

    bundle: Path
    manifest: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "bundle": str(self.bundle),
            "ok": not self.findings,
            "findings": [asdict(one) for one in self.findings],
            "not_checked": [asdict(one) for one in self.not_checked],
            "checked": self.checked,
        }

    def found(self, file: str, check: str, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(file=file, check=check, message=message))

    def missed(self, file: str, check: str, message: str) -> None:
        """Add what was not checked."""
        self.not_checked.append(Finding(file=file, check=check, message=message))

    @contextlib.contextmanager
    def doing(self, check: str) -> Iterator[None]:
        """Count a check that ends without a finding."""
        before = len(self.findings) + len(self.not_checked)
        yield
        held = len(self.findings) + len(self.not_checked) == before
        self.checked[check] = self.checked.get(check, 0) + held


def verify_bundle(bundle: Path, *, checkpoint: Path | None = None, precision: bool = True) -> Verification:
    """Check a bundle and return everything that is wrong with it.

    Args:
        bundle: folder of `edge export`.
        checkpoint: the weights it was made of; None takes those that ship with the package, where they are the same.
        precision: look into the files; False lists that as not checked.

    Raises:
        InputError: there is no bundle.
    """
    result = Verification(bundle=bundle)
    if not bundle.is_dir():
        raise InputError(f"`{bundle}` is no bundle", expected="a folder of `edge export`")
    if not os.path.lexists(bundle / MANIFEST):
        raise InputError(f"`{bundle}` is no bundle", expected=MANIFEST, got="none there")
    with result.doing("manifest"):
        _read_manifest(result)
    if result.manifest is None:
        return result
    files = _table(result.manifest.get("files"))
    with result.doing("names"):
        _check_names(result, files)
    for name, facts in files.items():
        with result.doing("hash"):
            _check_hash(result, name, _table(facts))
    sound = [name for name in files if name in result.hashes]
    with contextlib.suppress(_NoCard):
        model = _model_card(result)
        for name in sound:
            with result.doing("card"):
                _check_card(result, name, model)
    if precision:
        _check_precision(result, sound)
    else:
        result.missed(MANIFEST, "precision", "not asked for")
    with result.doing("checkpoint"):
        _check_checkpoint(result, checkpoint)
    return result


def _read_manifest(result: Verification) -> None:
    path = result.bundle / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_MANIFEST_BYTES:
            return result.found(MANIFEST, "manifest", "no regular file of at most 16 MiB")
        data = path.read_bytes()
        values = json.loads(data.decode("utf-8"))
        text, digest = manifest_text(values), manifest_digest(values)
    except OSError as exc:
        return result.found(MANIFEST, "manifest", f"cannot be read: {exc.strerror}")
    except (ValueError, RecursionError, AttributeError) as exc:
        return result.found(MANIFEST, "manifest", f"is not JSON as edge writes it: {str(exc)[:80]}")
    result.hashes[MANIFEST] = hashlib.sha256(data).hexdigest()
    if values.get("schema") != 1 or not all(
        isinstance(values.get(word), dict) for word in ("files", "variants", "card")
    ):
        return result.found(MANIFEST, "manifest", "is of a schema that is not known, or lacks files, variants or card")
    result.manifest = values
    if DIGEST not in values:
        result.found(MANIFEST, "manifest", "carries no digest of its own: made by an older edge; export it again")
    elif values[DIGEST] != digest:
        result.found(
            MANIFEST, "manifest", f"says something else than its digest: {digest[:16]}…, it has {values[DIGEST]!s:.16}…"
        )
    if data != text.encode():
        result.found(MANIFEST, "manifest", "is not written as edge writes it")


def _check_names(result: Verification, files: Mapping[str, Any]) -> None:
    """Find what is there and not in the manifest, and names that lead elsewhere."""
    assert result.manifest is not None
    known = {*files, MANIFEST, SIGNATURE}
    for entry in sorted(os.listdir(result.bundle)):
        if entry not in known:
            result.found(entry, "names", "is not in the manifest")
    for name in files:
        if not PLAIN_NAME.fullmatch(name) or name in (MANIFEST, SIGNATURE):
            result.found(name, "names", "is no name of an artifact")
    for name in sorted(set(files) ^ set(result.manifest["variants"])):
        result.found(name, "names", "is a file without its facts" if name in files else "has facts and is no file")


def _check_hash(result: Verification, name: str, facts: Mapping[str, Any]) -> None:
    assert result.manifest is not None
    path = result.bundle / name
    if not PLAIN_NAME.fullmatch(name):
        return None
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return result.found(name, "hash", "is no regular file")
        digest = sha256_file(path)
    except FileNotFoundError:
        return result.found(name, "hash", "is missing")
    except OSError as exc:
        return result.found(name, "hash", f"cannot be read: {exc.strerror}")
    variant = _table(result.manifest["variants"].get(name))
    for word, real in (("bytes", status.st_size), ("sha256", digest)):
        for place, told in (("files", facts.get(word)), ("variants", variant.get(word, real))):
            if told != real:
                return result.found(name, "hash", f"{word} is {real!s:.16}, {place} of the manifest has {told!s:.16}")
    result.hashes[name] = digest
    return None


class _NoCard(Exception):
    """The manifest has no card to hold others against."""


def _model_card(result: Verification) -> Card:
    assert result.manifest is not None
    try:
        return Card.from_dict(result.manifest["card"])
    except EdgeError as exc:
        result.found(MANIFEST, "card", one_line(exc).removeprefix("error: "))
        raise _NoCard from exc


def _check_card(result: Verification, name: str, model: Card) -> None:
    """Hold the card inside a file against the manifest's."""
    assert result.manifest is not None
    variant = _table(result.manifest["variants"].get(name))
    try:
        card, target = read_card(result.bundle / name), file_target(result.bundle / name)
    except EdgeError as exc:
        return result.found(name, "card", one_line(exc).removeprefix("error: "))
    told = {word: variant.get(word) for word in ("target", "precision", "recipe")}
    inside: dict[str, Any] = {word: card.artifact.get(word) for word in told}
    told |= {"format": variant.get("target"), "name": name, "model of the manifest": result.manifest.get("model")}
    inside |= {
        "format": str(target),
        "name": f"{card.model}-{inside['precision']}.{target}",
        "model of the manifest": card.model,
    }
    mine, theirs = model.to_dict(), card.to_dict()
    told |= {word: mine[word] for word in SHARED_CARD} | _tensors(mine)
    inside |= {word: theirs[word] for word in SHARED_CARD} | _tensors(theirs)
    for word, value in told.items():
        if inside[word] != value:
            result.found(name, "card", f"{word} is {str(inside[word])[:80]}, the manifest has {str(value)[:80]}")
    return None


def _tensors(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what input and outputs of a card have in common in every file format: all but the order of axes."""
    found = {f"input.{word}": card["input"][word] for word in SHARED_INPUT}
    found["input.shape"] = sorted(card["input"]["shape"])
    found["outputs"] = [(one["name"], one["meaning"], math.prod(one["shape"])) for one in card["outputs"]]
    return found


def _check_precision(result: Verification, names: list[str]) -> None:
    """Let a child look into files; after a crash the next child goes on with the file behind."""
    assert result.manifest is not None
    left = [
        {
            "name": name,
            "path": str((result.bundle / name).resolve()),
            "sha256": result.hashes[name],
            **{word: result.manifest["variants"][name].get(word) for word in ("target", "precision", "contents")},
        }
        for name in names
        if isinstance(result.manifest["variants"].get(name), dict)
    ]
    while left:
        answers, crash = _ask_child(left, sum((result.bundle / order["name"]).stat().st_size for order in left))
        for answer in answers:
            with result.doing("precision"):
                if answer.get("finding"):
                    result.found(left[0]["name"], "precision", str(answer["finding"])[:250])
                elif answer.get("missing"):
                    result.missed(left[0]["name"], "precision", f"needs the package {str(answer['missing'])[:60]}")
            left.pop(0)
        if left and crash is None:
            crash = "the inspection ended without a word"
        if left:
            result.found(left.pop(0)["name"], "precision", f"cannot be inspected: {crash}")


def _ask_child(orders: list[dict[str, Any]], size_bytes: int) -> tuple[list[dict[str, Any]], str | None]:
    """Return the child's answers, one for each file as far as it came, and what ended it early."""
    limits = Limits()
    order: dict[str, object] = {
        "files": orders,
        "memory_bytes": 2 * limits.memory_bytes + 8 * size_bytes,
        "cpu_seconds": int(WALL_S),
        "file_bytes": limits.file_bytes,
    }
    with (
        tempfile.TemporaryDirectory(prefix="edge-verify-") as folder,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as log,
    ):
        code = run_limited(order, folder, answer, log, WALL_S, f"{__package__}.verify_child")
        answer.seek(0)
        answers: list[dict[str, Any]] = []
        for line in answer.read(1 << 24).splitlines():
            with contextlib.suppress(ValueError):
                values = json.loads(line)
                if isinstance(values, dict) and "edge.verify" in values and len(answers) < len(orders):
                    answers.append(values)
    if code is None:
        return answers, f"not done within {WALL_S:.0f} s"
    if code < 0:
        names = {int(number): number.name for number in signal.Signals}
        return answers, f"it crashed the reader ({names.get(-code, -code)})"
    return answers, None if code == 0 else f"the reader failed with exit status {code}"


def _check_checkpoint(result: Verification, given: Path | None) -> None:
    assert result.manifest is not None
    told = result.manifest.get("checkpoint_sha256")
    if told is None:
        if given is not None:
            result.found(str(given), "checkpoint", "the bundle was made of no checkpoint")
        return
    if given is not None:
        try:
            digest = sha256_file(given)
        except OSError as exc:
            raise InputError(f"cannot read the checkpoint `{given}`", got=exc.strerror) from exc
        if digest != told:
            result.found(str(given), "checkpoint", f"sha256 is {digest[:16]}, the manifest has {told!s:.16}")
        return
    from ..models.shipped import WEIGHTS  # no torch there

    name = str(result.manifest.get("model"))
    ours = WEIGHTS / f"{name}.safetensors"
    if not PLAIN_NAME.fullmatch(name) or not ours.is_file():
        result.missed(MANIFEST, "checkpoint", "not at hand; name it with --checkpoint")
    elif sha256_file(ours) != told:
        result.missed(MANIFEST, "checkpoint", "not the one that ships with this edge; name it with --checkpoint")


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
