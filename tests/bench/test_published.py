"""Networks rebuilt from papers, held against the figures that others published."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from edge.bench.operators import total_macs
from edge.bench.published import FEATURE_FILE, TABLE, feature_file, read_table, rebuild
from edge.bench.sketch import Sketch, divisible
from edge.runtime.errors import InputError

TABLES = [TABLE, Path(__file__).resolve().parents[4] / "shared" / "data" / "rpi4-published.csv"]
table = next((path for path in TABLES if path.is_file()), None)
needs_table = pytest.mark.skipif(table is None, reason="the published table is not beside the checkout")


@pytest.mark.parametrize(
    ("model", "macs_m", "weights_m"),
    [
        ("mobilenet-v1-1.0-224", 568.7, 4.222),
        ("mobilenet-v2-0.35-96", 11.9, 1.671),
        ("mobilenet-v3-large_224_1.0_float", 216.6, 5.472),
        ("mobilenet-v3-small-minimalistic_224_1.0_float", 52.3, 2.04),
        ("efficientnet-lite4-quantized", 2553.0, 12.95),
        ("resnet50", 4089.2, 25.533),
    ],
)
def test_a_rebuilt_classifier_has_the_published_multiply_adds_and_weights(
    model: str, macs_m: float, weights_m: float
) -> None:
    built = rebuild(model, "224", "fp32")

    assert built is not None
    assert total_macs(built[1]) / 1e6 == pytest.approx(macs_m, abs=0.05)
    assert sum(operator.weight_elements for operator in built[1]) / 1e6 == pytest.approx(weights_m, abs=0.0005)


@pytest.mark.parametrize(
    ("model", "side", "macs_m", "source"),
    [
        ("YOLOX-Tiny", "416x416", 6450 / 2, "arXiv:2107.08430, table 4"),
        ("SSDLite MobileDet-EdgeTPU", "320x320", 1530, "arXiv:2004.14525, table 2"),
        ("SSDLite MobileDet-CPU", "320x320", 450, "arXiv:2004.14525, table 2"),
        ("SSDLite Mobilenet v2", "300x300", 1525 / 2, "Open Model Zoo, ssdlite_mobilenet_v2"),
        ("SSDLite Mobilenet v3 large", "320x320", 510, "arXiv:1905.02244, table 6"),
        ("SSD Mobilenet v1 FPN", "640x640", 123309 / 2, "Open Model Zoo, ssd_mobilenet_v1_fpn_coco"),
    ],
)
def test_a_rebuilt_detector_is_within_two_percent_of_its_published_multiply_adds(
    model: str, side: str, macs_m: float, source: str
) -> None:
    built = rebuild(model, side, "fp32")

    assert built is not None
    assert total_macs(built[1]) / 1e6 == pytest.approx(macs_m, rel=0.02), source


def test_a_network_that_nobody_rebuilt_is_none() -> None:
    assert rebuild("SSD MnasFPN", "320x320", "fp32") is None


def test_an_int8_network_moves_a_quarter_of_the_bytes() -> None:
    wide, narrow = (rebuild("mobilenet-v1-0.5-160", "160", precision) for precision in ("fp32", "int8"))

    assert wide is not None
    assert narrow is not None
    assert sum(op.in_bytes for op in wide[1]) == 4 * sum(op.in_bytes for op in narrow[1])


def test_a_sketch_of_one_layer_has_the_numbers_of_a_pencil() -> None:
    net = Sketch()

    out = net.separable((8, 8, 4), 6, 3, 2)

    assert out == (4, 4, 6)
    assert [operator.macs for operator in net.operators] == [16 * 4 * 9, 16 * 6 * 4]
    assert [operator.kind for operator in net.operators] == ["depthwise", "pointwise"]


@pytest.mark.parametrize(("channels", "rounded"), [(32 * 0.35, 16), (24 * 0.75, 24), (3, 8), (96, 96)])
def test_widths_are_rounded_to_eight_and_never_lose_a_tenth(channels: float, rounded: int) -> None:
    assert divisible(channels) == rounded


@needs_table
def test_the_committed_features_are_those_that_the_command_writes() -> None:
    assert table is not None

    assert FEATURE_FILE.read_text(encoding="utf-8") == feature_file(table)


@needs_table
def test_every_classifier_of_the_table_agrees_with_the_tables_own_columns() -> None:
    assert table is not None
    with table.open(newline="", encoding="utf-8") as file:
        published = {
            (line["model"], line["input"]): line for line in csv.DictReader(file) if "tflite" in line["runtime"].lower()
        }
    checked = 0
    for row in json.loads(FEATURE_FILE.read_text(encoding="utf-8"))["networks"]:
        line = published.get((row["model"], row["input"]))
        if line is not None and line["macs_M"]:
            assert row["macs"] / 1e6 == pytest.approx(float(line["macs_M"]), abs=0.06), row["model"]
            assert row["weights"] / 1e6 == pytest.approx(float(line["params_M"]), abs=0.0006), row["model"]
            checked += 1
    assert checked > 100


@needs_table
def test_rows_that_are_left_out_are_counted_by_reason() -> None:
    assert table is not None

    found = read_table(table)

    assert len(found.tflite) == 340
    assert found.left_out == {"version": 56, "32-bit": 104, "network": 4}


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")

    with pytest.raises(InputError, match="no table of latencies"):
        read_table(tmp_path / "t.csv")
