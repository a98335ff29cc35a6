"""The checks of a gate that have no noise: hash, precision, bytes, counts, parity, and the output on a fixed input."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.card import ParityLimit
from ..runtime.embedded import read_card
from ..runtime.engines import noise_input, open_engine
from ..runtime.errors import InputError
from ..runtime.isolate import guard
from ..runtime.parity import OutputParity, judge
from .baseline import Baseline
from .budgets import CARD_LIMITS, COUNTS, Limit
from .gate import Check, Subject, Verdict, checked
from .json_values import Node

__all__ = ["FileFacts", "file_checks", "missing_baseline", "output_digest"]

UNITS = {"size_bytes": "bytes", "parity": "dB"}
STAGE = "file"


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What an inspection found in a file.

    Attributes:
        operators: in the graph.
        parameters: elements of weights and biases.
        macs: multiply-adds of one inference.
        precision: what kind of arithmetic was found, in words.
        complaint: why the file is not of the precision that it claims; None where it is.
    """

    operators: int
    parameters: int
    macs: int
    precision: str
    complaint: str | None = None


def file_checks(subject: Subject, facts: FileFacts, baseline: Baseline | None) -> list[Check]:
    """Return the checks of what a file is.

    Args:
        subject: the file, with its limits.
        facts: of its inspection.
        baseline: that outputs are held against; None where there is none.

    Raises:
        InputError: the manifest or the baseline is malformed, or there is no manifest and one is needed.
        EdgeError: the file cannot be run, where its output is wanted.
    """
    line = subject.limits[0].budget.line if subject.limits else 0
    known = _manifest(subject, line)
    claim = subject.variant.partition(".")[0]
    precision = checked(
        subject,
        STAGE,
        "precision",
        Verdict.PASS if facts.complaint is None else Verdict.NO,
        value=facts.precision,
        limit=claim,
        why=facts.complaint or "",
        line=line,
    )
    found = [*known, precision]
    for limit in subject.limits:
        if limit.name in COUNTS:
            found.append(_count(subject, limit, facts))
        elif limit.name == "parity":
            found.append(_parity(subject, limit, all(check.verdict is Verdict.PASS for check in known)))
        elif limit.name == "same_output" and limit.value is True:
            found.append(_output(subject, limit, baseline))
    return found


def output_digest(path: Path) -> str:
    """Return the SHA-256 of what a file answers on seeded noise, one thread: every output's bytes, in order.

    Equal on one machine with one engine only, as kernels differ between processors.

    Raises:
        EdgeError: the file is refused.
    """
    card = read_card(path)
    guard(path, card)
    engine = open_engine(path, card, threads=1)
    try:
        outputs = engine.run(noise_input(card))
    finally:
        engine.close()
    digest = hashlib.sha256()
    for name, values in outputs.items():
        digest.update(f"{name} {values.shape} {values.dtype}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _manifest(subject: Subject, line: int) -> list[Check]:
    """Return the check of a file's hash against its bundle's manifest; none where there is no manifest."""
    if subject.manifest is None:
        return []
    said = subject.manifest["files"].get(subject.path.name)
    digest = said.get("sha256") if isinstance(said, Mapping) else None
    same = digest == subject.artifact.sha256
    why = "" if same else "the manifest does not list it" if digest is None else "not the file that the manifest lists"
    return [
        checked(
            subject,
            STAGE,
            "manifest",
            Verdict.PASS if same else Verdict.NO,
            value=subject.artifact.sha256[:12],
            limit=str(digest)[:12],
            why=why,
            line=line,
        )
    ]


def _count(subject: Subject, limit: Limit, facts: FileFacts) -> Check:
    value = subject.artifact.bytes if limit.name == "size_bytes" else getattr(facts, limit.name)
    most = limit.value
    assert isinstance(most, int)
    over = value - most
    what = limit.name.replace("size_bytes", "bytes")
    return checked(
        subject,
        STAGE,
        limit.name,
        Verdict.NO if over > 0 else Verdict.PASS,
        value=value,
        limit=most,
        unit=UNITS.get(limit.name, ""),
        why=f"{value:,} {what}, {over:,} over {most:,}" if over > 0 else "",
        line=limit.line,
    )


def _parity(subject: Subject, limit: Limit, is_listed: bool) -> Check:
    """Return the check of the manifest's parity figures, which are of the file that it lists and of no other."""
    line, value = limit.line, limit.value
    facts: dict[str, Any] = {"limit": value, "unit": UNITS["parity"], "line": line}
    if subject.manifest is None:
        raise InputError(
            f"`{subject.path.name}` has no manifest beside it, and its parity stands there",
            expected="the file in the bundle that `edge export` wrote",
        )
    if not is_listed:
        why = "no parity is known of a file that its manifest does not list"
        return checked(subject, STAGE, "parity", Verdict.NO, why=why, **facts)
    figures = _figures(subject)
    if not figures:
        return checked(subject, STAGE, "parity", Verdict.NO, why="the manifest holds no parity of it", **facts)
    bound = ParityLimit(min_sqnr_db=float(value)) if value != CARD_LIMITS else _of_card(subject)
    complaints = judge(figures, bound)
    worst = min(item.sqnr_db for item in figures.values())
    verdict = Verdict.NO if complaints else Verdict.PASS
    return checked(subject, STAGE, "parity", verdict, value=round(worst, 2), why="; ".join(complaints), **facts)


def _figures(subject: Subject) -> dict[str, OutputParity]:
    """Return what the manifest says of a file's outputs; nothing where it says nothing.

    Raises:
        InputError: a figure is missing, or no finite number.
    """
    node = Node(subject.manifest, "manifest.json")
    for key in ("variants", subject.path.name, "parity"):
        node = node.get(key)
        if node.absent:
            return {}
    return {str(name): OutputParity(**_of_output(values)) for name, values in node.members()}


def _of_output(values: Node) -> dict[str, Any]:
    whole = ("nonfinite", "samples")
    names = [field.name for field in dataclasses.fields(OutputParity)]
    return {name: values.get(name).count() if name in whole else values.get(name).number() for name in names}


def _of_card(subject: Subject) -> ParityLimit:
    precision = subject.variant.partition(".")[0]
    if precision not in subject.card.parity:
        raise InputError(
            f"the card of `{subject.path.name}` sets no parity for `{precision}`", hint="write decibels instead"
        )
    return subject.card.parity[precision]


def _output(subject: Subject, limit: Limit, baseline: Baseline | None) -> Check:
    """Return whether a file answers what the baseline's does; both are run here, for kernels differ by processor."""
    line, name = limit.line, "same_output"
    before = baseline.find(subject.path.name) if baseline else None
    if before is None:
        return checked(subject, STAGE, name, Verdict.NO, why=missing_baseline(baseline), line=line)
    if before.sha256 == subject.artifact.sha256:
        return checked(subject, STAGE, name, Verdict.PASS, why="the same bytes as the baseline's", line=line)
    ours, theirs = output_digest(subject.path), output_digest(before.path)
    same = ours == theirs
    why = "" if same else "it answers a fixed input otherwise than the baseline's file"
    verdict = Verdict.PASS if same else Verdict.NO
    return checked(subject, STAGE, name, verdict, value=ours[:12], limit=theirs[:12], why=why, line=line)


def missing_baseline(baseline: Baseline | None) -> str:
    """Return why there is nothing to compare with."""
    if baseline is None:
        return "missing evidence: no baseline was given (--baseline DIR, or `baseline` in [defaults])"
    return "missing evidence: the baseline has no such file (--update --reason TEXT takes it up)"
