"""The page of a report: nothing in it runs or reaches out, hostile texts stay texts, and everybody can read it."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jinja2")

from edge.bench.json_values import shown
from edge.bench.report import FOLDER, MAX_BYTES, build_page, render
from edge.bench.report_overlays import Overlay, Seen, embed
from edge.bench.report_read import find_bundles, read_facts
from edge.runtime.results import Emotion

from .report_help import as_it_is, limits, make_page, predicted, results, row, write_bundle, write_json

VOID = {"meta", "link", "img", "br", "hr", "input", "circle", "rect", "line", "path", "polygon"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe src=//evil.example></iframe>",
    "<a href=javascript:alert(1)>x</a>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<form action=//evil.example><button>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<math><mtext></mtext><script>alert(1)</script>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "` onclick=`alert(1)",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&amp;amp;",
    "&",
    "<",
    ">",
    '"',
    "'",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{# x #}",
    "${7*7}",
    "#{7*7}",
    "url(//evil.example)",
    "expression(alert(1))",
    "}</style>",
    "/* */ } body { display: none",
    "../../etc/passwd",
    "-oProxyCommand=touch canary",
    "; touch canary",
    "$(touch canary)",
    "`touch canary`",
    "| touch canary",
    "=cmd|' /C calc'!A0",
    "+1",
    "@SUM(1)",
    "%s%n%x",
    "line\nbreak\r\n\ttab",
    "nul\0byte",
    "\x1b[31mred\x1b[0m",
    "evil\u202egpj.exe",
    "lone\ud800surrogate",
    "x" * 65536,
    "<" * 65536,
    "\u2028\u2029\ufeff",
]


class Reader(HTMLParser):
    """What a page is made of, by the standard library's parser.

    Attributes:
        tags: name and attributes, in order.
        words: texts between tags, and the texts of attributes that people see.
        open: elements that are not closed.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.words += [value for key, value in attrs if value and key in ("alt", "title", "data-name", "aria-label")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = make_page(tmp_path_factory.mktemp("page"))
    picture = np.full((30, 40, 3), 90, np.uint8)
    net = made.values["models"][0]
    assert net["name"] == "net"
    variant = _variant(tmp_path_factory.mktemp("variant"))
    overlay = Overlay(sample="Picture 1", seen=(Seen(variant=variant, words="2 faces", picture=picture),))
    return render(type(made)(values=made.values, overlays=[[overlay]], summary=made.summary))


def _variant(folder: Path) -> Any:
    return read_facts(find_bundles([write_bundle(folder)]), [], []).bundles[0].variants[0]


def harmless(page: str) -> Reader:
    """Check that nothing in a page runs or reaches out, and return what it is made of."""
    reader = Reader(page)
    assert reader.open == []
    names = {tag for tag, _ in reader.tags}
    assert names & {"script", "iframe", "object", "embed", "form", "base", "math", "foreignobject"} == set()
    for tag, attributes in reader.tags:
        assert [key for key in attributes if key.startswith("on")] == []
        for key in ("src", "href", "action", "xlink:href", "srcset", "poster", "background"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/", "data:,")), (tag, key, value)
        assert "url(" not in (attributes.get("style") or "")
    metas = [meta for meta in reader.all("meta") if meta.get("http-equiv")]
    assert [meta["http-equiv"] for meta in metas] == ["Content-Security-Policy"]
    assert (metas[0]["content"] or "").startswith(POLICY)
    return reader


def test_a_page_has_no_script_and_asks_for_nothing(page: str) -> None:
    reader = harmless(page)

    assert len(reader.all("svg")) >= 4
    assert "http" not in (FOLDER / "report.css").read_text(encoding="utf-8")
    assert "@import" not in page


def test_there_are_sixty_hostile_strings() -> None:
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_string_in_every_text_stays_a_text(tmp_path: Path, text: str) -> None:
    made = make_page(tmp_path, lambda own: text if own not in ("net-int8.tflite",) else own)

    page = render(made)
    reader = harmless(page)

    expected = shown(text)
    assert expected == text or not text.isprintable() or len(text) > 300
    assert sum(expected in words for words in reader.words) >= 8  # model, notes, machine, tools, devices, ...
    labels = {value for _, attributes in reader.tags for key, value in attributes.items() if key == "data-name"}
    assert f"{expected}, ms" in labels  # the device, in an attribute
    assert len(page) < MAX_BYTES


def test_hostile_pictures_and_sounds_stay_names(tmp_path: Path) -> None:
    made = make_page(tmp_path)
    text = '"><img src=x onerror=alert(1)>'
    emotion = Emotion(valence=0.5, arousal=-0.25, valence_1to9=7, arousal_1to9=4, quadrant=text)
    variant = _variant(tmp_path)
    seen = Seen(variant=variant, words=text, picture=np.zeros((8, 8, 3), np.uint8))
    heard = Seen(variant=variant, words=text, emotion=emotion)
    overlays = [[Overlay(sample=text, seen=(seen,)), Overlay(sample=text, seen=(heard,))]]

    reader = harmless(render(type(made)(values=made.values, overlays=overlays, summary=made.summary)))

    (image,) = reader.all("img")
    assert image["alt"] == f"{text} through fp32 onnx: {text}"
    assert "\N{MINUS SIGN}0.250" in reader.words


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()

    assert render(make_page(one)) == render(make_page(two))


def test_the_page_says_what_when_where_and_of_which_checkpoint(page: str) -> None:
    words = " ".join(Reader(page).words)

    for fact in ("edge 0.1.0", "a processor, 2 cores", "2025-11-28 06:28 UTC", "checkpoint cccccccccccc", "c" * 64):
        assert fact in words
    assert "Ship net-int8.tflite" in " ".join(words.split())


def test_every_cell_with_a_latency_has_its_grade_in_its_row(page: str) -> None:
    rows = re.findall(r"<tr role=\"row\".*?</tr>", page, re.DOTALL)
    timed = [text for text in rows if re.search(r'data-name="[^"]*\bms"[^>]*><span class="cell">[^<]*\d', text)]

    assert len(timed) >= 10
    layers = [text for text in timed if "bars" in text]  # whose caption says it for all
    for text in timed:
        assert text in layers or re.search(r'class="grade (measured|predicted)"', text), text
    for caption in re.findall(r"<caption>(The 12 slowest|In the order)(.*?)</caption>", page):
        assert "measured." in caption[1]
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        for told in re.findall(r"<title>([^<]*\d ms[^<]*)</title>", svg):
            assert re.search(r"ms (measured|predicted)$", told), told


def test_a_prediction_is_shown_with_its_interval_and_never_as_measured(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    bench = write_json(tmp_path / "b.json", results([predicted("net-int8.tflite", 4, 6, 9)]))

    words = " ".join(" ".join(Reader(render(build_page(read_facts([bundle], [bench], []), limits))).words).split())

    assert "4.00 to 9.00 ms of 50 ms predicted" in words
    assert "6.00 ms measured" not in words


def test_results_of_other_files_are_named_and_left_out(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    bench = write_json(tmp_path / "b.json", results([row("other.onnx"), row("net-int8.onnx")]))

    made = build_page(read_facts([bundle], [bench], []), limits)

    assert made.summary["left_out"] == ["1 timings of other files: other.onnx"]
    assert "1 timings of other files: other.onnx" in render(made)


def test_two_exports_of_one_model_go_by_their_folders(tmp_path: Path) -> None:
    bundles = [write_bundle(tmp_path / when) for when in ("monday", "tuesday")]

    made = build_page(read_facts([*bundles, write_bundle(tmp_path, "other")], [], []), limits)

    names = [f"net ({bundles[0]})", f"net ({bundles[1]})", "other"]
    assert [model["name"] for model in made.summary["models"]] == names
    assert [model["name"] for model in made.values["models"]] == names


def test_headings_go_down_one_step_at_a_time_from_a_single_first(page: str) -> None:
    levels = [int(tag[1]) for tag, _ in Reader(page).tags if re.fullmatch("h[1-6]", tag)]

    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_have_captions_and_scopes_and_images_words(page: str) -> None:
    reader = Reader(page)

    assert len(reader.all("caption")) == len(reader.all("table"))
    assert {header.get("scope") for header in reader.all("th")} == {"col", "row", "rowgroup"}
    assert all(image.get("alt") for image in reader.all("img"))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for picture in reader.all("svg"):
        named = [name in ids for name in (picture.get("aria-labelledby") or "").split()]
        assert picture.get("aria-hidden") == "true" or (picture.get("role") == "img" and named == [True, True])
    assert reader.all("html") == [{"lang": "en"}]
    assert reader.all("a")[0] == {"class": "skip", "href": "#main"}
    targets = [link["href"] for link in reader.all("a")]
    assert all((target or "")[1:] in ids for target in targets)


def palettes() -> dict[str, dict[str, str]]:
    """Return the colours of the style sheet: of light, of dark, and of print."""
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    light, dark, printed = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    )
    return {"light": light, "dark": dark, "print": printed}


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, 0..1.

    Source: WCAG 2.2, "relative luminance".
    """
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_the_standard_has_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark", "print"])
def test_all_text_has_the_contrast_that_is_asked(mode: str) -> None:
    colours = palettes()[mode]
    pairs = [(text, paper) for text in ("ink", "muted", "link") for paper in ("paper", "panel", "within")]
    pairs += [
        ("good", "good-paper"),
        ("bad", "bad-paper"),
        ("open", "open-paper"),
        ("good", "paper"),
        ("good", "within"),
    ]

    assert {pair: round(contrast(*(colours[name] for name in pair)), 2) for pair in pairs} == {
        pair: pytest.approx(12.75, abs=8.25) for pair in pairs
    }  # from 4.5 to 21
    for mark in ("onnx", "tflite", "pre", "infer", "decode", "muted"):
        assert contrast(colours[mark], colours["paper"]) >= 3


def test_every_colour_of_the_style_sheet_is_named_in_all_three_palettes() -> None:
    light, dark, printed = palettes().values()

    assert set(light) == set(dark) == set(printed)
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9a-f]{3,6}\b", re.sub(r":root \{.*?\}", "", style, flags=re.DOTALL)) == []
    assert set(re.findall(r"var\(--([a-z-]+)\)", style)) - {"hue"} <= set(light)


def test_pictures_shrink_until_they_fit_and_are_left_out_where_nothing_does() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8)

    large, small = embed([noise], 1_000_000), embed([noise], 30_000)

    assert large is not None
    assert small is not None
    assert len(large[0]) > 60_000
    assert len(small[0]) <= 30_000
    assert small[0].startswith("data:image/")
    assert embed([noise] * 3, 2_000) is None


def test_a_page_with_more_pictures_than_fit_stays_within_its_size(tmp_path: Path) -> None:
    made = make_page(tmp_path)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (360, 480, 3), dtype=np.uint8) for _ in range(20)]
    seen = tuple(Seen(variant=_variant(tmp_path), words="much", picture=picture) for picture in noise)
    overlays = [[Overlay(sample=f"Picture {number}", seen=seen) for number in range(2)]]

    text = render(type(made)(values=made.values, overlays=overlays, summary=made.summary))

    assert 500_000 < len(text.encode()) <= MAX_BYTES
    assert len(Reader(text).all("img")) == 40


def test_a_page_without_results_says_that_nothing_is_proven(tmp_path: Path) -> None:
    text = render(build_page(read_facts([write_bundle(tmp_path, text=as_it_is)], [], []), limits))

    words = " ".join(" ".join(Reader(text).words).split())
    assert "Closest, not proven" in words
    assert "by the export alone" in words
    assert "quickest run 3.00 ms measured" in words
