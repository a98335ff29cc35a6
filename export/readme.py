"""Write the tables of README from manifests, so that nobody types a figure.

    python -m edge.export.readme README.md edge-out
    python -m edge.export.readme README.md time.json --section time

replaces what stands between `<!-- table: variants -->`, or the section named, and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from .table import columns, legend, rows

__all__ = ["markdown", "replace_section", "timing"]


def markdown(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of variants as Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows(manifests)]
    return "\n".join([*lines, "", legend(manifests)])


def replace_section(text: str, name: str, body: str) -> str:
    """Return the text with the body of one marked section replaced.

    Raises:
        click.ClickException: the text has no such section.
    """
    pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise click.ClickException(f"no section `{name}`")
    return pattern.sub(lambda found: f"{found[1]}{body}\n{found[2]}", text, count=1)


def timing(figures: Mapping[str, Any]) -> str:
    """Return the figures of `python -m edge.bench.export_time` as Markdown."""
    by_hand = ", ".join(f"{name} {seconds:g}" for name, seconds in figures["onnx2tf_by_hand_s"].items())
    ours = "`edge export --target tflite`: five students, three precisions, both routes, search, parity; empty cache"
    theirs = f"onnx2tf by hand on the same ONNX files, one by one: float files only, nothing checked ({by_hand})"
    stages = figures["edge_stages"].partition("(")[2].rstrip(")")
    return "\n".join(
        [
            "| what | s |",
            "| --- | --- |",
            f"| {ours} | {figures['edge_s']:g} |",
            f"| of that: {stages} | |",
            f"| the same command again | {figures['edge_again_s']:g} |",
            f"| {theirs} | {figures['onnx2tf_by_hand_total_s']:g} |",
            "",
            f"Ratio {figures['ratio']:g}, measured in one run on {figures['machine']}.",
        ]
    )


@click.command()
@click.argument("readme", type=click.Path(path_type=Path, exists=True))
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--section", default="variants", show_default=True, help="Which marked section is replaced.")
def main(readme: Path, source: Path, section: str) -> None:
    """Write a section of README: from a folder of bundles, or from the JSON of `edge.bench.export_time`."""
    if source.is_dir():
        manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(source.glob("*/manifest.json"))]
        body = markdown(manifests)
    else:
        body = timing(json.loads(source.read_text(encoding="utf-8")))
    text = replace_section(readme.read_text(encoding="utf-8"), section, body)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
