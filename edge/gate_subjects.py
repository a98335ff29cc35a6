"""What `edge gate` checks: the files that targets name, the manifest of each, and what an inspection finds in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .bench.budgets import Budget, limits_of
from .bench.gate import Subject
from .bench.gate_file import FileFacts
from .bench_inputs import find_artifacts
from .runtime.card import Precision, Target
from .runtime.embedded import file_target
from .runtime.errors import InputError, PrecisionError
from .runtime.files import read_json

__all__ = ["find_subjects", "inspect_file"]

MANIFEST = "manifest.json"
MAX_BYTES = 64 << 20
CLAIM = re.compile(r"-(fp32|fp16|int8|dynamic|w8a16)\.(?:onnx|tflite)$")


def find_subjects(targets: Sequence[Path], budgets: Sequence[Budget]) -> list[Subject]:
    """Return the files that are named, those of named bundles, and those of the bundles in a named folder.

    Args:
        targets: files and folders. A bundle must have its manifest, and all that the manifest lists.
        budgets: of the configuration.

    Raises:
        InputError: a target, manifest or listed file is missing, or two files have one name.
        ArtifactError, CardError: a file is damaged, or carries no card.
    """
    folders = {target.resolve() for target in targets if target.is_dir()}
    manifests: dict[Path, Mapping[str, Any] | None] = {}
    found: list[Subject] = []
    for artifact, card in find_artifacts(targets):
        folder = artifact.path.parent
        if folder not in manifests:
            is_bundle = any(part in folders for part in (folder.resolve(), folder.resolve().parent))
            manifests[folder] = _manifest(folder, is_needed=is_bundle)
        variant = _variant(artifact.path, artifact.precision)
        limits = limits_of(budgets, artifact.model, variant)
        found.append(Subject(artifact=artifact, card=card, variant=variant, limits=limits, manifest=manifests[folder]))
    names = [subject.path.name for subject in found]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise InputError(f"two files are called `{again}`", hint="gate them one after the other")
    return found


def inspect_file(subject: Subject) -> FileFacts:
    """Return what is in a file, and whether it is of the precision that its name and card claim.

    Raises:
        ArtifactError: it is damaged.
        MissingExtraError: what reads its format is not installed.
    """
    data = subject.path.read_bytes()
    claim = subject.variant.partition(".")[0]
    if file_target(subject.path) is Target.ONNX:
        from .export import onnx_file

        onnx = onnx_file.inspect(data)
        shares = {name: share for name, share in onnx.mac_share.items() if share}
        operators, parameters, macs = sum(onnx.ops.values()), onnx.parameters, onnx.macs
        complaint = _complaint(lambda: onnx_file.check_precision(onnx, Precision(claim)), claim)
    else:
        from .export import tflite_inspect

        tflite = tflite_inspect.inspect(data)
        shares = {name: tflite.share(name) for name in tflite.macs}
        operators, parameters, macs = sum(tflite.ops.values()), tflite.parameters, sum(tflite.macs.values())
        complaint = _complaint(lambda: tflite_inspect.check_precision(tflite, claim), claim)
    words = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items())) or "nothing multiplies"
    named = CLAIM.search(subject.path.name)
    if complaint is None and named is not None and named[1] != claim:
        complaint = f"its name says {named[1]}, its card {claim}"
    return FileFacts(operators=operators, parameters=parameters, macs=macs, precision=words, complaint=complaint)


def _complaint(check: Any, claim: str) -> str | None:
    if claim not in list(Precision):
        return "neither its card nor its name says of what precision it is"
    try:
        check()
    except PrecisionError as exc:
        return str(exc)
    return None


def _variant(path: Path, precision: str) -> str:
    """Return precision and format: the card's word, or that of the name where the card has none."""
    named = CLAIM.search(path.name)
    if precision not in list(Precision) and named is not None:
        precision = named[1]
    return f"{precision}.{file_target(path)}"


def _manifest(folder: Path, is_needed: bool) -> Mapping[str, Any] | None:
    file = folder / MANIFEST
    if not file.exists() and not is_needed:
        return None
    try:
        values: Mapping[str, Any] = read_json(file, MAX_BYTES)
        names = list(values["files"].keys())
    except FileNotFoundError as exc:
        hint = "`edge export` writes one; a single file may be named instead of its folder"
        raise InputError(f"`{folder}` is no bundle: it has no `{MANIFEST}`", hint=hint) from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InputError(f"`{file}` is no manifest of edge", got=str(exc)[:80]) from exc
    missing = next((name for name in names if is_needed and not (folder / Path(name).name).is_file()), None)
    if missing is not None:
        raise InputError(f"`{folder}` lacks `{missing}`, which its manifest lists", hint="export it again")
    return values
