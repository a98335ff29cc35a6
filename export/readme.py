"""Write the tables of README from manifests, so that nobody types a figure.

    python -m edge.export.readme README.md edge-out
    python -m edge.export.readme README.md micro.json --section micro   # or what else `readme_bench` knows
    python -m edge.export.readme README.md models/weights/results.json --section students   # or pruning, emotion

replaces what stands between `<!-- table: variants -->`, or the section named, and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..models.training import results
from . import readme_bench
from .table import columns, legend, rows

__all__ = ["markdown", "replace_section"]


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


@click.command()
@click.argument("readme", type=click.Path(path_type=Path, exists=True))
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--section", default="variants", show_default=True, help="Which marked section is replaced.")
def main(readme: Path, source: Path, section: str) -> None:
    """Write a section of README: from a folder of bundles, or from the JSON of `edge.bench` or of trainings."""
    if source.is_dir():
        manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(source.glob("*/manifest.json"))]
        body = markdown(manifests)
    elif (figures := json.loads(source.read_text(encoding="utf-8"))).get("command") == "results":
        if section not in results.TABLES:
            raise click.UsageError(f"results of training fill the sections {', '.join(results.TABLES)}")
        body = results.TABLES[section](results.rows_of(figures))
    else:
        body = readme_bench.WRITERS[figures.get("command")](figures)
    text = replace_section(readme.read_text(encoding="utf-8"), section, body)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
