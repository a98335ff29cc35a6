"""What a report reads: facts in their place, refusals that name file and place, and texts that cannot play tricks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bench.json_values import MOST_TEXT, shown
from edge.bench.report_read import find_bundles, read_facts, read_qualities
from edge.runtime.errors import InputError, one_line

from .report_help import evaluation, manifest, predicted, profile, results, row, write_bundle, write_json

Change = Callable[[dict[str, Any]], object]


def test_a_bundle_becomes_its_facts_in_a_fixed_order(tmp_path: Path) -> None:
    bundle = read_facts([write_bundle(tmp_path)], [], []).bundles[0]

    assert (bundle.model, bundle.edge, bundle.parameters) == ("net", "0.1.0", 1234)
    assert [variant.file for variant in bundle.variants] == ["net-fp32.onnx", "net-int8.onnx", "net-int8.tflite"]
    assert bundle.variants[0].parity[0].sqnr_db == 30.5
    assert bundle.parity_limits == {"int8": "cosine at least 0.99, at least 20 dB"}
    assert (bundle.budget_bytes, bundle.budget_ms) == (2_000_000, 50)


def test_percentiles_are_those_that_the_samples_carry_whatever_the_file_claims(tmp_path: Path) -> None:
    few = row("net-int8.onnx", count=20, infer={"p90_ms": 0.001})
    path = write_json(tmp_path / "bench.json", results([few]))

    timing = read_facts([], [path], []).timings[0]

    assert timing.infer is not None
    assert timing.infer.count == 20
    assert timing.infer.p50_ms is not None
    assert timing.infer.p90_ms is None


def test_stages_are_medians_and_frames_their_sums(tmp_path: Path) -> None:
    timing = read_facts([], [write_json(tmp_path / "b.json", results([row("a.onnx", 3.0)]))], []).timings[0]

    assert timing.stages == {"pre": 0.5, "infer": 3.0, "decode": 0.25}
    assert timing.frame is not None
    assert timing.frame.p50_ms == 3.75


def test_the_wall_clock_of_a_simulation_is_not_taken(tmp_path: Path) -> None:
    path = write_json(tmp_path / "b.json", results([row("a.onnx", evidence="simulated", device="pi")]))

    timing = read_facts([], [path], []).timings[0]

    assert (timing.infer, timing.stages, timing.load_ms) == (None, {}, None)
    assert not timing.usable


def test_a_prediction_keeps_its_interval(tmp_path: Path) -> None:
    timing = read_facts([], [write_json(tmp_path / "b.json", results([predicted("a.onnx", 4, 6, 9)]))], []).timings[0]

    assert (timing.low_ms, timing.p50_ms, timing.high_ms) == (4, 6, 9)
    assert (timing.evidence, timing.infer) == ("predicted", None)


def test_profiles_metrics_and_folders_of_results_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "results.json", results([row("a.onnx")]))
    layers = write_json(tmp_path / "p.json", profile("a.onnx", layers=4))
    metrics = write_json(tmp_path / "e.json", evaluation({"a.onnx": 0.5, "b.onnx": 0.4}))

    facts = read_facts([], [folder, layers], [metrics])

    assert [timing.file for timing in facts.timings] == ["a.onnx"]
    assert len(facts.profiles[0].layers) == 4
    first, second = facts.qualities
    assert (first.file, first.drop, second.file, second.against) == ("a.onnx", None, "b.onnx", "a.onnx")
    assert second.drop == pytest.approx(0.1)


def test_a_folder_of_bundles_stands_for_all_of_them(tmp_path: Path) -> None:
    one, two = write_bundle(tmp_path, "one"), write_bundle(tmp_path, "two")

    assert find_bundles([tmp_path]) == [one, two]
    assert find_bundles([two]) == [two]


def test_bundles_that_are_none_or_named_twice_are_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, "one")
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError, match=r"`.*empty` is no bundle, expected a folder with manifest.json"):
        find_bundles([tmp_path / "empty"])
    with pytest.raises(InputError, match="named twice"):
        find_bundles([bundle, tmp_path])


BROKEN: dict[str, tuple[Change, str]] = {
    "schema": (lambda top: top.update(schema=2), r"`manifest.json`: `schema` is malformed, expected 1.*got 2"),
    "schema of a kind": (lambda top: top.update(schema=True), "`schema` is malformed"),
    "no variants": (lambda top: top.pop("variants"), "`variants` is malformed, expected an object"),
    "variants in a list": (
        lambda top: top.update(variants=[]),
        "`variants` is malformed, expected an object, got list",
    ),
    "bytes": (lambda top: top["variants"]["net-int8.onnx"].update(bytes=-1), r"`variants.net-int8.onnx.bytes` is mal"),
    "bytes in words": (lambda top: top["variants"]["net-int8.onnx"].update(bytes="1"), "expected a number, got '1'"),
    "evidence": (
        lambda top: top["variants"]["net-int8.onnx"]["latency"].update(evidence="sworn"),
        r"latency.evidence` is malformed, expected measured \| simulated \| predicted, got 'sworn'",
    ),
    "share": (lambda top: top["variants"]["net-int8.onnx"].update(int8_mac_share=7), "expected 0 to 1, got 7"),
    "huge": (lambda top: top["variants"]["net-int8.onnx"].update(bytes=10**400), "expected a number"),
    "notes": (lambda top: top.update(notes=[1]), r"`notes\[0\]` is malformed, expected a text, got 1"),
    "model": (lambda top: top.update(model=None), "`model` is malformed, expected a text"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_manifest_that_makes_no_sense_is_refused_with_the_place(tmp_path: Path, change: Change, message: str) -> None:
    values = manifest()
    change(values)
    write_json(tmp_path / "manifest.json", values)

    with pytest.raises(InputError, match=message) as refused:
        read_facts([tmp_path], [], [])

    assert "\n" not in one_line(refused.value)


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, '{"schema": NaN}', '{"schema": 1e999}', "\ufeff{}", "null", "[1]"]
)
def test_what_is_no_json_object_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"manifest\.json"):
        read_facts([tmp_path], [], [])


@pytest.mark.parametrize("sample", [-1.0, "3", None, True, 1e12])
def test_a_sample_that_is_no_latency_is_refused_and_not_dropped(tmp_path: Path, sample: object) -> None:
    values = row("a.onnx")
    values["launches"][0]["wall_ms"][5] = sample

    with pytest.raises(InputError, match=r"`b.json`: `rows\[0\].launches\[0\].wall_ms\[5\]` is malformed"):
        read_facts([], [write_json(tmp_path / "b.json", results([values]))], [])


def test_results_of_another_command_and_missing_files_are_refused(tmp_path: Path) -> None:
    other = write_json(tmp_path / "o.json", {"schema": 1, "command": "doctor"})

    with pytest.raises(InputError, match=r"expected bench or bench --profile, got 'doctor'"):
        read_facts([], [other], [])
    with pytest.raises(InputError, match=r"cannot read `none\.json`, got No such file"):
        read_facts([], [tmp_path / "none.json"], [])
    with pytest.raises(InputError, match=rf"folder `{tmp_path}` holds no results\.json"):
        read_facts([], [tmp_path], [])
    bench = write_json(tmp_path / "b.json", results([row("a.onnx")]))
    with pytest.raises(InputError, match=r"`b\.json`: `command` is malformed, expected eval: .*got 'bench'"):
        read_qualities(bench)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net-int8.onnx", "net-int8.onnx"),
        ("größer 網路 🙂", "größer 網路 🙂"),
        ("a\nb\x00\x1b[31m", "a\\nb\\x00\\x1b[31m"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_texts_are_shown_as_they_are_but_for_what_no_page_can_show(text: str, expected: str) -> None:
    assert shown(text) == expected


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(), max_size=700))
def test_a_shown_text_is_one_printable_line_of_bounded_length(text: str) -> None:
    found = shown(text)

    assert len(found) <= MOST_TEXT * len("\\U0001f600")
    assert not any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF for char in found)
    json.dumps(found).encode()
