"""`edge models`: list the models, show one, or hold the design documents' numbers against the networks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..models import registry
from ..models.shipped import Trained, shipped
from ..runtime.errors import InputError
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..models.audit import AuditRow
    from ..models.inspect import Inspection
    from ..models.registry import ModelEntry
    from ..runtime.card import Card

SCHEMA = 1


@click.command(context_settings={"max_content_width": 110})
@click.argument("name", required=False)
@click.option("--audit", "with_audit", is_flag=True, help="Hold the design documents' numbers against the networks.")
@click.option("--keys", "with_keys", is_flag=True, help="List the checkpoint keys of NAME with their shapes, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, with_audit: bool, with_keys: bool, as_json: bool) -> None:
    r"""List the built-in models; with NAME, show layers, parameters, multiply-adds, memory and card of one.

    Where trained weights ship, the network shown is theirs, which matters for pruned ones, and their training card is
    shown too: data, metric, steps, machine.

    \b
    Example:
        edge models
        edge models face-nanob --json
        edge models --audit
    """
    if with_audit:
        if name is not None:
            raise InputError("`--audit` takes no name", got=name)
        from ..models.audit import audit  # heavy: torch

        with Progress("building every model", lines=False, alive=True):
            rows = audit()
        values: Any = {"audit": [row.to_dict() for row in rows]}
        lines = _audit_lines(rows)
    elif name is None:
        found = registry.entries()
        values = {"models": [_summary(entry) for entry in found]}
        lines = _list_lines(found)
    else:
        entry = registry.get(name)
        weights, card = shipped(name), entry.card(None)
        with Progress(f"building {name}", lines=False, alive=True):
            inspection = _inspect(entry, weights, card)
        card = weights.on(card) if weights else card
        counts = {"parameters": inspection.parameters, "macs": inspection.macs}
        values = {**_summary(entry), **counts, "inspection": inspection.to_dict(), "card": card.to_dict()}
        lines = _detail_lines(entry, weights, card, inspection, with_keys)
    text = json.dumps({"schema": SCHEMA, **values}, indent=2, allow_nan=False) if as_json else "\n".join(lines)
    click.echo(text)


def _inspect(entry: ModelEntry, weights: Trained | None, card: Card) -> Inspection:
    from ..models.checkpoint import load_model  # heavy: torch
    from ..models.inspect import inspect_entry, inspect_module

    if weights is None:
        return inspect_entry(entry)
    return inspect_module(load_model(entry, weights.path)[0].to("meta"), card.input.shape)


def _summary(entry: ModelEntry) -> dict[str, Any]:
    weights = shipped(entry.name)
    told = weights.training if weights else {}
    return {
        "name": entry.name,
        "family": entry.family,
        "role": entry.role,
        "summary": entry.summary,
        "parameters": told.get("parameters", entry.parameters),  # pruned ones have widths of their own
        "macs": told.get("macs", entry.macs),
        "input_shape": list(entry.card(None).input.shape),
        "shipped": dict(told) or None,
    }


def _list_lines(found: Sequence[ModelEntry]) -> Iterable[str]:
    rows = [["name", "family", "role", "parameters", "MMACs", "input", "ships", "what it is"]]
    for entry in found:
        told = _summary(entry)
        shape = "x".join(str(side) for side in told["input_shape"])
        count, macs = f"{told['parameters']:,}", f"{told['macs'] / 1e6:,.1f}"
        ships = "trained" if told["shipped"] else "-"
        rows.append([entry.name, entry.family, entry.role, count, macs, shape, ships, entry.summary])
    return _table(rows, right=(3, 4))


def _detail_lines(
    entry: ModelEntry, weights: Trained | None, card: Card, found: Inspection, with_keys: bool
) -> Iterable[str]:
    yield f"{entry.name}: {entry.summary}"
    yield ""
    head = ["layer", "type", "in", "out", "k", "s", "p", "d", "g", "bias", "output", "parameters", "MACs"]
    rows = [head]
    for row in found.layers:
        bias = "" if row.bias is None else "yes" if row.bias else "no"
        numbers = (row.channels_in, row.channels_out, row.kernel, row.stride, row.padding, row.dilation, row.groups)
        cells = ["" if number is None else str(number) for number in numbers]
        counts = [f"{row.parameters:,}" if row.parameters else "", f"{row.macs:,}" if row.macs else ""]
        rows.append([row.name, row.type, *cells, bias, row.output, *counts])
    yield from _table(rows, right=(2, 3, 4, 5, 6, 7, 8, 11, 12))
    yield ""
    yield from _table([["block", "parameters"], *([name, f"{n:,}"] for name, n in found.blocks.items())], right=(1,))
    yield ""
    yield f"parameters        {found.parameters:,} (and {found.buffers:,} numbers of BatchNorm statistics)"
    yield f"multiply-adds     {found.macs:,} at {'x'.join(str(side) for side in found.input_shape)}"
    yield f"weights           {found.weight_bytes:,} bytes in float32"
    yield f"activations       {found.activation_bytes:,} bytes at the peak, in float32, layer by layer"
    yield f"checkpoint keys   {len(found.keys)}" + ("" if with_keys else " (--keys lists them)")
    if with_keys:
        yield from (f"  {key}  {'x'.join(str(side) for side in shape) or 'scalar'}" for key, shape in found.keys)
    yield ""
    yield "trained weights   " + ("ship with the package; all counts above are of their network" if weights else "none")
    if weights:
        yield from (f"  {word:<15} {value}" for word, value in weights.lines())
    yield ""
    yield "card"
    yield from (f"  {line}" for line in json.dumps(card.to_dict(), indent=2).splitlines())


def _audit_lines(rows: Sequence[AuditRow]) -> Iterable[str]:
    for document in dict.fromkeys(row.document for row in rows):
        mine = [row for row in rows if row.document == document]
        yield document
        table = [["claim", "stated", "found", "verdict", "how"]]
        table += [[row.claim, _value(row.stated), _value(row.found), row.verdict, row.how] for row in mine]
        yield from (f"  {line}" for line in _table(table))
        yield ""
    counts = {
        verdict: sum(row.verdict == verdict for row in rows) for verdict in ("holds", "wrong", "not settled here")
    }
    yield ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(_value(item) if not isinstance(item, list) else "x".join(map(str, item)) for item in value)
    return str(value)


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterable[str]:
    """Yield the rows as lines of aligned columns; `right` names the columns aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
