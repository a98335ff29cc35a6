"""The report in a real Chromium: silent, alone, within the screen at every width, and usable by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jinja2")

from edge.bench.report import render
from edge.bench.report_overlays import Overlay, Seen
from edge.bench.report_read import read_facts

from .browser_help import need_browser
from .chromium_page import Browser
from .report_help import make_page, write_bundle

WIDTHS = (320, 768, 1280)
TOLD = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")
# Elements that stick out of the screen, but for those that are clipped on purpose.
OUTSIDE = """(width => [...document.querySelectorAll('body *')].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width && (box.right > width + 1 || box.left < -1) && !one.closest('.sr, thead, .skip');
}).map(one => one.outerHTML.slice(0, 120)))"""

# Columns and captions so narrow that words stand letter under letter.
SQUEEZED = """[...document.querySelectorAll('caption, th[scope=row]')].filter(one => {
  const width = one.getBoundingClientRect().width;
  return width && width < (one.tagName === 'CAPTION' ? 200 : 60);
}).map(one => one.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(need_browser()) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that can be on one, and texts as long as they come."""
    folder = tmp_path_factory.mktemp("page")
    made = make_page(folder, lambda text: text if len(text) < 6 else f"{text}-{'long' * 20}")
    variant = read_facts([write_bundle(folder, "other")], [], []).bundles[0].variants[0]
    seen = Seen(variant=variant, words="2 people, 30 joints", picture=np.full((90, 120, 3), 90, np.uint8))
    overlays = [[Overlay(sample="Synthetic picture 1", seen=(seen,) * 6)]]
    path = folder / "report.html"
    path.write_text(render(type(made)(values=made.values, overlays=overlays, summary=made.summary)), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_is_silent_alone_and_within_the_screen(
    browser: Browser, page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    before = len(browser.events)

    browser.open(page, width=width, dark=dark)
    browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert browser.value(f"{OUTSIDE}({width})") == []
    assert browser.value(SQUEEZED) == []
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("[...document.images].every(one => one.complete && one.naturalWidth > 0)") is True
    new = browser.events[before:]
    assert [event for event in new if event["method"] in TOLD] == []
    assert {_asked(event) for event in new if event["method"] == "Network.requestWillBeSent"} == {"data", page.as_uri()}
    browser.shoot(tmp_path / "shot.png", height=1200)
    pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
    assert pixels.shape[1] == width
    assert bool(np.median(pixels) < 60) is dark


def _asked(event: dict[str, Any]) -> str:
    address: str = event["params"]["request"]["url"]
    return "data" if address.startswith("data:image/webp") or address.startswith("data:image/jpeg") else address


def test_a_script_that_got_in_would_not_run(browser: Browser, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = page.read_text(encoding="utf-8")
    broken.write_text(text.replace("</main>", "<script>document.title = 'ran'</script></main>"), encoding="utf-8")
    before = len(browser.events)

    browser.open(broken, width=768)

    assert browser.value("document.title").startswith("edge report: ")
    assert any(event["method"] == "Log.entryAdded" for event in browser.events[before:])


def test_the_keyboard_reaches_the_results_first_and_shows_where_it_is(browser: Browser, page: Path) -> None:
    browser.open(page, width=768)

    browser.press("Tab")
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().top") >= 0
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "main"
    browser.press("Tab")
    assert browser.value("document.activeElement.tagName") == "SUMMARY"
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.value("document.activeElement.parentElement.open") is False
    browser.press("Enter")
    assert browser.value("document.activeElement.parentElement.open") is True


def test_a_screen_reader_hears_tables_pictures_and_headings(browser: Browser, page: Path) -> None:
    browser.open(page, width=320)  # where rows are drawn as blocks

    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]

    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    for role in ("banner", "main", "contentinfo", "heading", "table", "row", "rowheader", "cell", "image"):
        assert role in roles, role
    images = [node for node in nodes if node["role"]["value"] == "image" and not node["ignored"]]
    assert all(node["name"]["value"] for node in images)


def test_printing_is_on_white_and_opens_what_is_folded(browser: Browser, page: Path) -> None:
    browser.open(page, width=768, dark=True)
    browser.ask("Emulation.setEmulatedMedia", media="print")

    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("document.querySelector('details .facts, details table').getBoundingClientRect().height") > 0
    browser.ask("Emulation.setEmulatedMedia", media="")
