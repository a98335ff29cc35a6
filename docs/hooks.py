"""What MkDocs does not know of this repository: pages that lie outside of docs/, and the links to and from them.

A link is written as the forge wants it, from file to file in the repository. On the site the same pages have other
places, so each link is turned into the one that leads there. What is no page and not in docs/ stays as it is, and
`mkdocs build --strict` refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

DOCS = "docs/"
# file in the repository -> page of the site
BROUGHT_IN = {
    "README.md": "overview.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "android_demo/README.md": "android-app.md",
}
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?!#|[a-z]+:)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    root = Path(config.config_file_path).parent
    for source, page in BROUGHT_IN.items():
        files.append(File.generated(config, page, content=(root / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page, which lead from file to file of the repository, into those of the site."""
    place = page.file.src_uri
    source = next((source for source, brought in BROUGHT_IN.items() if brought == place), DOCS + place)
    parts = FENCE.split(markdown)  # code stays as it is
    return "".join(part if index % 2 else _turned(part, source, place) for index, part in enumerate(parts))


def _turned(text: str, source: str, place: str) -> str:
    def turn(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        if target in BROUGHT_IN:
            target = BROUGHT_IN[target]
        elif target.startswith(DOCS):
            target = target.removeprefix(DOCS)
        else:
            return found[0]
        return posixpath.relpath(target, posixpath.dirname(place) or ".") + (found[2] or "")

    return LINK.sub(turn, text)
