"""Write the tables of README from manifests, so that nobody types a figure.

    python -m edge.export.readme README.md edge-out

replaces what stands between `<!-- table: variants -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

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
@click.argument("bundles", type=click.Path(path_type=Path, exists=True))
def main(readme: Path, bundles: Path) -> None:
    """Write the table of all bundles in a folder into README."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(bundles.glob("*/manifest.json"))]
    text = replace_section(readme.read_text(encoding="utf-8"), "variants", markdown(manifests))
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
