"""The plots of a report: labels that do not lie on each other, words for those who hear them, and bounded extremes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bench.report_judge import judge, points
from edge.bench.report_limits import Limits
from edge.bench.report_plots import (
    budgets_of,
    in_bytes,
    in_ms,
    latency_plot,
    metric_plot,
    pareto_plot,
    place_labels,
    stages_plot,
)
from edge.bench.report_read import read_facts

from .report_help import evaluation, predicted, results, row, write_bundle, write_json

FILES = ("net-fp32.onnx", "net-int8.onnx", "net-int8.tflite")
PLACE = st.tuples(st.floats(55, 345), st.floats(20, 250))


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999 bytes"), (1000, "1 kB"), (359_999, "360 kB"), (2e6, "2 MB"), (1.3249e6, "1.32 MB"), (1.2e10, "12 GB")],
)
def test_bytes_have_three_figures(count: float, words: str) -> None:
    assert in_bytes(count) == words


@pytest.mark.parametrize(("value", "words"), [(0.0123, "0.012"), (0.72, "0.72"), (12.345, "12.3"), (1234.5, "1,234")])
def test_milliseconds_have_three_figures(value: float, words: str) -> None:
    assert in_ms(value) == words


@settings(deadline=None, derandomize=True)
@given(st.lists(PLACE, min_size=1, max_size=12))
def test_no_label_lies_on_another_or_on_a_point(places: list[tuple[float, float]]) -> None:
    labels = [f"int8 label{number}" for number in range(len(places))]

    spots = place_labels(labels, places, range(len(places)))

    boxes: list[tuple[float, float, float, float]] = []
    for label, spot, owner in zip(labels, spots, places, strict=True):
        if spot is None:
            continue
        width = 6.0 * len(label)
        left = spot[0] - {"start": 0, "middle": width / 2, "end": width}[spot[2]]
        box = (left, spot[1] - 9, left + width, spot[1] + 2)
        assert box[0] > 45
        assert box[2] < 361
        for x, y in places:
            assert (x, y) == owner or not (box[0] < x < box[2] and box[1] < y < box[3])
        for other in boxes:
            assert box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
        boxes.append(box)


def test_two_points_on_one_spot_both_get_a_label() -> None:
    assert None not in place_labels(["fp32 onnx", "fp32 tflite"], [(150, 100), (150, 103)], [0, 1])


def plane(folder: Path, rows: list[dict[str, object]], max_ms: float = 50) -> tuple[str, str]:
    metrics = write_json(folder / "e.json", evaluation({FILES[0]: 0.24, FILES[1]: 0.23}))
    facts = read_facts([write_bundle(folder)], [write_json(folder / "b.json", results(rows))], [metrics])
    limits = Limits(max_bytes=2e6, max_ms=max_ms, max_drop=0.01)
    group = points(judge(facts.bundles[0], facts, lambda *_: limits))["host"]
    budgets = budgets_of(group, "host")
    return pareto_plot(group, budgets, "host", "p1"), metric_plot(group, budgets, "host", "q1")


def texts(svg: str, kind: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(svg).iter("text") if one.get("class") == kind]


def test_a_plane_draws_the_budget_and_names_its_points(tmp_path: Path) -> None:
    size, metric = plane(tmp_path, [row(FILES[0], 9.0), row(FILES[1], 2.0), row(FILES[2], 1.5)])

    assert texts(size, "budget") == ["budget 2 MB", "budget 50 ms"]
    assert texts(metric, "budget") == ["budget 50 ms", "first file, 1 point less"]
    marks = [one for one in ElementTree.fromstring(size).iter("g") if "mark" in (one.get("class") or "")]
    assert [one.get("class") for one in marks] == ["mark onnx", "mark onnx", "mark tflite best"]
    assert [one.findtext("text") for one in marks] == ["fp32 onnx", "int8 onnx", "int8 tflite"]
    assert "ms measured" in (marks[0].findtext("title") or "")


def test_a_budget_that_is_far_away_is_not_drawn(tmp_path: Path) -> None:
    size, _ = plane(tmp_path, [row(FILES[0], 0.002)], max_ms=50)

    assert texts(size, "budget") == ["budget 2 MB"]


def test_a_plot_is_an_image_with_a_title_and_all_figures_in_words(tmp_path: Path) -> None:
    size, _ = plane(tmp_path, [row(FILES[0], 9.0), row(FILES[2], 1.5)])

    root = ElementTree.fromstring(size)
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "p1-t p1-d")
    title, told = root.find("title"), root.find("desc")
    assert title is not None
    assert told is not None
    assert (title.get("id"), title.text) == ("p1-t", "Size against latency on host")
    assert (told.text or "").startswith("fp32 onnx: 1.3 MB, 9.")
    assert "measured" in (told.text or "")


def test_rows_of_latencies_say_median_grade_and_only_the_percentiles_they_carry(tmp_path: Path) -> None:
    values = [row(FILES[0], 3.0, count=70), predicted(FILES[1], 4, 6, 9)]
    timings = read_facts([], [write_json(tmp_path / "b.json", results(values))], []).timings

    svg = latency_plot([("fp32", "onnx", timings[0]), ("int8", "onnx", timings[1])], "host", "l1")

    told = ElementTree.fromstring(svg).findtext("desc") or ""
    assert "p50 3.0" in told
    assert "p90" in told
    assert "p99" not in told
    assert "median 6.00 (4.00 to 9.00) ms predicted" in told
    assert texts(svg, "value")[1] == "6.00 ms predicted"


@pytest.mark.parametrize("samples", [[1e-9], [0.0, 0.0], [5.0] * 40, [0.001, 1e7]])
def test_extreme_samples_are_drawn_in_the_picture(tmp_path: Path, samples: list[float]) -> None:
    values = row(FILES[0])
    values["launches"][0]["wall_ms"] = samples
    timing = read_facts([], [write_json(tmp_path / "b.json", results([values]))], []).timings[0]

    svg = latency_plot([("fp32", "onnx", timing)], "host", "l1")

    for line in ElementTree.fromstring(svg).iter("line"):
        assert all(-1 <= float(line.get(key, "nan")) <= 361 for key in ("x1", "x2"))


def test_stages_are_parts_of_a_bar_in_proportion(tmp_path: Path) -> None:
    timing = read_facts([], [write_json(tmp_path / "b.json", results([row(FILES[0], 2.25)]))], []).timings[0]

    svg = stages_plot([("fp32", timing)], "host", "s1")  # 0.5, 2.25 and 0.25 ms of a bar of 344 units

    widths = [float(bar.get("width", "nan")) for bar in ElementTree.fromstring(svg).iter("rect")]
    assert widths == pytest.approx([344 / 6 - 1, 344 * 0.75 - 1, 344 / 12 - 1], abs=0.06)
    assert texts(svg, "value") == ["3.00 ms measured"]
