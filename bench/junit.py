"""Rows of a benchmark, and checks of a gate, as JUnit XML, for CI systems that draw such files.

A row that was measured, or predicted where that was asked for, passes; one that is void is skipped, for it says neither
good nor bad; what broke off or failed is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from .gate import Gate, Verdict

__all__ = ["gate_junit", "junit"]


def junit(report: Mapping[str, Any]) -> str:
    """Return a report of `edge bench` as a JUnit XML document.

    Args:
        report: as `edge bench --json` prints it.
    """
    rows = report["rows"]
    bad = [row for row in rows if row["status"] in ("failed", "incomplete")]
    void = [row for row in rows if row["status"] == "void"]
    root = ElementTree.Element(
        "testsuite",
        name="edge bench",
        tests=str(len(rows)),
        errors=str(len(bad)),
        failures="0",
        skipped=str(len(void)),
    )
    for row in rows:
        infer = row["infer"] or {}
        case = ElementTree.SubElement(
            root,
            "testcase",
            classname=f"bench.{row['device']}",
            name=_clean(f"{row['artifact']['file']} {row['engine']['name']} threads={row['threads']}"),
            time=f"{(infer.get('mean_ms') or 0) * (infer.get('count') or 0) / 1e3:.3f}",
        )
        properties = ElementTree.SubElement(case, "properties")
        for name in ("p50_ms", "p90_ms", "p99_ms", "count"):
            if infer.get(name) is not None:
                ElementTree.SubElement(properties, "property", name=name, value=str(infer[name]))
        ElementTree.SubElement(properties, "property", name="evidence", value=row["evidence"])
        why = _clean("; ".join(row["why"])) or row["status"]
        if row["status"] in ("failed", "incomplete"):
            ElementTree.SubElement(case, "error", message=why, type=row["status"])
        elif row["status"] == "void":
            ElementTree.SubElement(case, "skipped", message=why)
    return _document(root)


def gate_junit(gate: Gate) -> str:
    """Return the checks of a gate as a JUnit XML document: `no` is a failure, inconclusive an error, never a pass.

    Args:
        gate: of all checks.
    """
    counts = {verdict: str(sum(check.verdict is verdict for check in gate.checks)) for verdict in Verdict}
    root = ElementTree.Element(
        "testsuite",
        name="edge gate",
        tests=str(len(gate.checks)),
        errors=counts[Verdict.INCONCLUSIVE],
        failures=counts[Verdict.NO],
        skipped=counts[Verdict.SKIPPED],
    )
    tags = {Verdict.NO: "failure", Verdict.INCONCLUSIVE: "error", Verdict.SKIPPED: "skipped"}
    for check in gate.checks:
        where = "" if check.device is None else f" {check.device} threads={check.threads}"
        name = _clean(f"{check.file or 'budget'} {check.name}{where}")
        case = ElementTree.SubElement(root, "testcase", classname=_clean(f"gate.{check.stage}"), name=name)
        if check.verdict in tags:
            child = ElementTree.SubElement(case, tags[check.verdict], message=_clean(check.why))
            if check.verdict is not Verdict.SKIPPED:
                child.set("type", str(check.verdict))
    return _document(root)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Return text without the characters that XML 1.0 has no place for."""
    return "".join(char if _is_xml(ord(char)) else "?" for char in text)


def _is_xml(code: int) -> bool:
    return code in (9, 10) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
