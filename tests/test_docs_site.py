"""The documentation as a site: it builds without a warning, holds every page, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("material", reason="no theme: pip install 'edge-vision[docs]'")

ROOT = Path(__file__).parents[1]
# Attributes by which a page makes a browser load something; a link that somebody follows is none.
LOADING = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"), "video": ("src",),
    "audio": ("src",), "embed": ("src",), "object": ("data",), "link": ("href",), "form": ("action",),
}  # fmt: skip
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class Loads(HTMLParser):
    """Collects what a page loads and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.loads += [given[name] for name in LOADING.get(tag, ()) if name in given]
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        self.anchors |= {given[name] for name in ("id", "name") if name in given}


def build(source: Path, into: Path) -> subprocess.CompletedProcess[str]:
    # Never --quiet: it drops warnings before --strict can count them.
    words = ["build", "--strict", "--config-file", str(source / "mkdocs.yml"), "--site-dir", str(into)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement
    call = [sys.executable, "-m", "mkdocs", *words]
    return subprocess.run(call, capture_output=True, text=True, cwd=source, env=environment, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_of_the_repository_is_on_the_site_and_in_its_menu(site: Path) -> None:
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).with_suffix(".html").as_posix() for path in docs.rglob("*.md")}
    brought = {"overview.html", "security.html", "contributing.html", "changelog.html", "android-app.html"}

    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    assert built == pages | brought
    assert not (site / "hooks.py").exists()
    menu = {link.partition("#")[0] for link in Loads(site / "index.html").links}
    assert built - menu - {"index.html"} == set()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = [f"{page.name}: {one}" for page in site.rglob("*.html") for one in Loads(page).loads]

    assert [one for one in loaded if "//" in one] == []
    styles = [*site.rglob("*.css"), *site.rglob("*.html")]
    assert [found for path in styles for found in IN_STYLES.findall(path.read_text(encoding="utf-8"))] == []
    for page in site.rglob("*.html"):
        for target in Loads(page).loads:
            place = site / target.lstrip("/") if target.startswith("/") else page.parent / target
            assert place.exists(), f"{page.name} loads {target}"


def test_every_link_between_pages_leads_to_a_page_and_a_heading(site: Path) -> None:
    pages = {page.resolve(): Loads(page) for page in site.rglob("*.html") if page.name != "404.html"}

    lost = []
    for page, told in pages.items():
        for link in told.links:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                lost.append(f"{page.name}: {link}")
    assert lost == []


def test_links_across_the_border_of_docs_lead_to_the_pages_of_the_site(site: Path) -> None:
    """Of README into docs/, of docs/ to README, and out of a folder within docs/."""
    assert "gates.html" in Loads(site / "overview.html").links
    assert "security.html" in Loads(site / "overview.html").links
    assert "overview.html" in Loads(site / "index.html").links
    assert "../android-app.html#what-was-not-tested" in Loads(site / "tutorials" / "android.html").links
    assert "../ci/edge-gate.gitlab-ci.yml" in Loads(site / "tutorials" / "ci-gates.html").links


def test_a_link_to_what_is_not_on_the_site_fails_the_build(tmp_path: Path) -> None:
    for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "android_demo/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "hooks.py").write_text((ROOT / "docs" / "hooks.py").read_text(encoding="utf-8"))
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[0]
    (tmp_path / "mkdocs.yml").write_text(settings)
    (tmp_path / "docs" / "index.md").write_text("# Start\n\n[out](../README.md) and `[code](../nowhere)`\n")
    assert build(tmp_path, tmp_path / "site").returncode == 0

    for link in ("../edge/cli.py", "none.md", "../README.md#no-such-heading"):
        (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n[out]({link})\n")

        assert build(tmp_path, tmp_path / "site").returncode != 0, link
