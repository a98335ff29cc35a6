"""What a gate found, for people and for CI systems: a table, Markdown, annotations of GitHub, JUnit XML.

Names come out of files and may be anything: each form escapes what would mean something in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from ..runtime.errors import printable
from .gate import Check, Gate, Verdict
from .show import draw_table

__all__ = ["gate_table", "github_annotations", "summary"]

HEAD = ("file", "check", "where", "value", "limit", "verdict")
MARKS = {Verdict.PASS: "✅", Verdict.NO: "❌", Verdict.INCONCLUSIVE: "❔", Verdict.SKIPPED: "⏭️"}
# What stays as it is in Markdown; every other sign is written as a character reference.
PLAIN = frozenset(" .,-+/()=%_°…±")
SHOWN = 3  # files without a budget
MOST_ROWS = 2000  # a step summary of GitHub may have a mebibyte


def gate_table(gate: Gate) -> str:
    """Return the checks as a table, and one line on each that did not pass."""
    rows = [_row(check) for check in gate.checks]
    lines = [draw_table(HEAD, rows).rstrip(), *_reasons(gate.checks)]
    if gate.ungated:
        lines.append(printable(_ungated(gate)))
    return "\n".join([*lines, _counts(gate)])


def summary(gate: Gate) -> str:
    """Return the same as Markdown, for the page of a CI job; what did not pass comes first."""
    order = [*list(MARKS)[1:], Verdict.PASS]
    checks = sorted(gate.checks, key=lambda check: order.index(check.verdict))
    lines = [f"### {MARKS[gate.verdict]} edge gate: {gate.verdict}", "", _counts(gate), ""]
    lines += [f"- {_markdown(line)}" for line in _reasons(checks)[:MOST_ROWS]]
    lines += ["", f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    for check in checks[:MOST_ROWS]:
        *cells, verdict = _row(check)
        lines.append(f"| {' | '.join(map(_markdown, cells))} | {MARKS[check.verdict]} {verdict} |")
    if gate.ungated:
        lines += ["", _markdown(_ungated(gate))]
    return "\n".join(lines) + "\n"


def github_annotations(gate: Gate, config: Path) -> list[str]:
    """Return GitHub's workflow commands that put each failed check on its line of the configuration.

    Args:
        gate: of all checks.
        config: the file, as this process sees it; named from `$GITHUB_WORKSPACE` where it lies in there.
    """
    file = _from_workspace(config)
    kinds = {Verdict.NO: "error", Verdict.INCONCLUSIVE: "warning"}
    lines = []
    for check in gate.checks:
        if check.verdict in kinds:
            place = f"file={_property(file)},line={max(check.line, 1)},title={_property(f'edge gate: {check.name}')}"
            lines.append(f"::{kinds[check.verdict]} {place}::{_data(f'{check.file or config.name}: {check.why}')}")
    return lines


def _row(check: Check) -> tuple[str, ...]:
    where = "" if check.device is None else f"{check.device}, {check.threads}t, {check.evidence or '-'}"
    # A runner of GitHub takes a line that begins so for a command.
    file = f"./{check.file}" if check.file.lstrip().startswith("::") else check.file or "-"
    cells = (file, check.name, where, _value(check), _figure(check.limit, check.unit), str(check.verdict))
    return tuple(map(printable, cells))


def _value(check: Check) -> str:
    if check.low is None or check.high is None:
        return _figure(check.value, check.unit)
    return f"{_figure(check.value, '')} [{_figure(check.low, '')}, {_figure(check.high, '')}] {check.unit}"


def _figure(value: float | str | None, unit: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f"{text} {unit}".rstrip()


def _reasons(checks: Sequence[Check]) -> list[str]:
    bad = [check for check in checks if check.verdict in (Verdict.NO, Verdict.INCONCLUSIVE)]
    return [
        printable(f"{check.verdict}: {check.file or 'a budget'}: {check.name}: {check.why}")
        + (f" (line {check.line})" if check.line else "")
        for check in bad
    ]


def _ungated(gate: Gate) -> str:
    shown = ", ".join(gate.ungated[:SHOWN])
    more = f" and {len(gate.ungated) - SHOWN} more" if len(gate.ungated) > SHOWN else ""
    return f"not gated, as no budget matches: {shown}{more}"


def _counts(gate: Gate) -> str:
    counts = {verdict: sum(check.verdict is verdict for check in gate.checks) for verdict in Verdict}
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    return f"{len(gate.checks)} checks: {', '.join(parts)}"


def _markdown(text: str) -> str:
    return "".join(char if char.isalnum() or char in PLAIN else f"&#{ord(char)};" for char in printable(text))


def _from_workspace(path: Path) -> str:
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace and (full := path.resolve()).is_relative_to(Path(workspace).resolve()):
        return full.relative_to(Path(workspace).resolve()).as_posix()
    return PurePath(path).as_posix()


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
