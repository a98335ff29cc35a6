"""How many points files lose: the evaluation that `edge gate` runs itself, by the metric of each built-in family."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .bench.baseline import Baseline
from .bench.gate import Subject
from .bench.gate_accuracy import Loss
from .judging import family_of, open_candidate
from .runtime.embedded import read_card
from .runtime.errors import EdgeError, one_line
from .runtime.progress import Progress

if TYPE_CHECKING:
    from .models.judgement import Metrics

__all__ = ["losses"]

ROUNDS = 1000  # of resampling, as `edge eval`
SUFFIXES = (".onnx", ".tflite")


def losses(
    subjects: Sequence[Subject],
    baseline: Baseline | None,
    *,
    where: str,
    count: int | None,
    progress: Progress,
) -> dict[str, list[Loss | str]]:
    """Return, by SHA-256 of a file, what it loses against its FP32 file, and against the baseline's file.

    A text stands for a loss that cannot be told. A file that is its own reference has an empty list.

    Args:
        subjects: files of built-in families.
        baseline: None compares with the FP32 files alone.
        where: "synthetic", or a folder of data.
        count: samples at most; None takes as many as `edge eval`.
        progress: told what is done, and how far it is.

    Raises:
        EdgeError: the data cannot be read, or an engine is missing.
    """
    found: dict[str, list[Loss | str]] = {}
    groups: dict[str, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(subject.artifact.model, []).append(subject)
    families: dict[str, list[Subject]] = {}
    for group in groups.values():
        try:
            family = family_of([subject.path for subject in group], [subject.card for subject in group], None)
        except EdgeError as exc:
            found.update({subject.artifact.sha256: [one_line(exc).removeprefix("error: ")] for subject in group})
            continue
        families.setdefault(family, []).extend(group)
    for family, group in families.items():
        found.update(_of_family(group, baseline, family, where, count, progress))
    return found


def _of_family(
    group: Sequence[Subject],
    baseline: Baseline | None,
    family: str,
    where: str,
    count: int | None,
    progress: Progress,
) -> dict[str, list[Loss | str]]:
    """Judge all files of a family, and what they are compared with, on samples that are drawn once for all of them."""
    from .models.data.open import open_source
    from .models.evaluate import evaluate_all, paired_drop

    pairs: dict[str, list[Path | str]] = {subject.artifact.sha256: _references(subject, baseline) for subject in group}
    paths = dict.fromkeys(
        path
        for subject in group
        for path in (*pairs[subject.artifact.sha256], subject.path)
        if isinstance(path, Path) and pairs[subject.artifact.sha256]
    )
    if not any(isinstance(path, Path) for others in pairs.values() for path in others):
        return {digest: [other for other in others if isinstance(other, str)] for digest, others in pairs.items()}
    models = dict.fromkeys(subject.artifact.model for subject in group)
    progress.step(f"judging {len(paths)} files of {', '.join(models)}")
    source = open_source(family, where, split="test", seed=0, count=count)
    with contextlib.ExitStack() as opened:
        candidates = [open_candidate(path, read_card(path), None, "auto", 1, opened) for path in paths]
        judged = evaluate_all(candidates, source, tick=progress.at, bootstrap=ROUNDS, seed=0)
        metrics = dict(zip(paths, judged, strict=True))

    def loss(subject: Subject, other: Path | str) -> Loss | str:
        if isinstance(other, str):
            return other
        drop = paired_drop(metrics[other], metrics[subject.path])
        return Loss(value=drop.value, low=drop.low, high=drop.high, words=_words(metrics[other], other))

    return {
        subject.artifact.sha256: [loss(subject, other) for other in pairs[subject.artifact.sha256]] for subject in group
    }


def _references(subject: Subject, baseline: Baseline | None) -> list[Path | str]:
    """Return what a file is compared with; a text says why there is nothing."""
    found: list[Path | str] = []
    if not subject.variant.startswith("fp32."):
        reference = _fp32(subject)
        found.append(reference or "no FP32 file of the model lies beside it; --report gives a comparison of your own")
    before = baseline.find(subject.path.name) if baseline else None
    if before is not None and before.sha256 != subject.artifact.sha256:
        found.append(before.path)
    return found


def _fp32(subject: Subject) -> Path | None:
    """Return the FP32 file of the same model in the same folder, of the same format if there is one."""
    beside = sorted(
        (path for path in subject.path.parent.iterdir() if path.suffix in SUFFIXES and "-fp32." in path.name),
        key=lambda path: (path.suffix != subject.path.suffix, path.name),
    )
    return next((path for path in beside if read_card(path).model == subject.artifact.model), None)


def _words(metrics: Metrics, other: Path) -> str:
    return f"{metrics.name} against `{other.parent.name}/{other.name}`, {metrics.samples} samples of {metrics.data}"
