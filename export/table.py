"""The table that an export ends in: what each file costs, how far it is from PyTorch, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["columns", "legend", "render", "rows"]

columns = ("file", "bytes", "budget", "parity: worst output", "ms", "INT8 MACs", "recipe", "verdict")


def rows(manifests: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the cells, one row a file, in the order of `columns`."""
    return [_row(name, entry, manifest) for manifest in manifests for name, entry in _ordered(manifest["variants"])]


def render(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as aligned text, with a line on what its figures mean.

    Args:
        manifests: of bundles, as `export_model` wrote them.
    """
    table = [columns, *rows(manifests)]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    right = {1, 2, 4, 5}
    lines = [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(legend(manifests))
    return "\n".join(lines)


def _ordered(variants: Mapping[str, Any]) -> list[tuple[str, Any]]:
    order = ["fp32", "fp16", "int8", "dynamic", "w8a16"]
    return sorted(variants.items(), key=lambda item: (item[1]["target"], order.index(item[1]["precision"])))


def _row(name: str, entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[str, ...]:
    budget = manifest["card"]["budget"]["size_bytes"]
    share = entry["bytes"] / budget
    int8 = entry["int8_mac_share"]
    over = f"over {budget / 1e6:g} MB" if share > 1 else f"fits {budget / 1e6:g} MB"
    verdict = f"{over}; parity fails" if entry["complaints"] else over
    return (
        name,
        f"{entry['bytes']:,}",
        f"{share:.0%}",
        _worst(entry),
        f"{entry['latency']['best_ms']:.2f}{' (busy)' if entry['latency'].get('busy') else ''}",
        f"{int8:.0%}" if int8 else "-",
        entry["recipe"],
        verdict,
    )


def _worst(entry: Mapping[str, Any]) -> str:
    """Return the output that is furthest from PyTorch, by error for floats and by SQNR for quantised files."""
    if entry["precision"] in ("fp32", "fp16"):
        name, parity = max(entry["parity"].items(), key=lambda item: float(item[1]["max_error"]))
        return f"{name}: error {parity['max_error']:.1e} of range"
    name, parity = min(entry["parity"].items(), key=lambda item: float(item[1]["sqnr_db"]))
    return f"{name}: SQNR {parity['sqnr_db']:.1f} dB, cosine {parity['cosine']:.4f}"


def legend(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Return the line that says on what machine, on what samples and of what weights the figures were taken."""
    machines = sorted({manifest["machine"]["cpu"] for manifest in manifests})
    sources = sorted({manifest["samples"]["source"] for manifest in manifests})
    entries = [entry for manifest in manifests for entry in manifest["variants"].values()]
    busy = " (busy): other work disturbed the clock." if any(one["latency"].get("busy") for one in entries) else ""
    return (
        f"ms: one thread, best of interleaved rounds, host ({'; '.join(machines)}), measured when the bundle was made."
        f"{busy} Parity on: {'; '.join(sources)}. Weights: {_weights(manifests)}."
    )


# What a reader may make of the figures, by where the weights come from.
WEIGHTS = {
    "shipped": "trained, shipped",
    "checkpoint": "of the checkpoint given",
    "factory": "the factory's own",
    "seeded": "seeded random, what they answer means nothing",
}


def _weights(manifests: Sequence[Mapping[str, Any]]) -> str:
    models: dict[str, list[str]] = {kind: [] for kind in WEIGHTS}
    for manifest in manifests:
        models[manifest["weights"]].append(manifest["model"])
    return "; ".join(f"{WEIGHTS[kind]} ({', '.join(names)})" for kind, names in models.items() if names)
