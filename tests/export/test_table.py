"""The closing table says what a file costs, how far it is off, and the verdict."""

from typing import Any

import click
import pytest

from edge.export.readme import markdown, replace_section
from edge.export.readme_bench import timing
from edge.export.table import legend, render, rows


def manifest(**changes: Any) -> dict[str, Any]:
    parity = {
        "near": {"max_error": 1e-6, "sqnr_db": 60.0, "cosine": 1.0},
        "far": {"max_error": 3e-5, "sqnr_db": 21.5, "cosine": 0.9966},
    }
    variant = {
        "target": "onnx",
        "precision": "fp32",
        "bytes": 1_500_000,
        "recipe": "float",
        "int8_mac_share": 0.0,
        "parity": parity,
        "latency": {"best_ms": 1.234},
        "complaints": [],
        **changes,
    }
    return {
        "model": "net-x",
        "weights": "seeded",
        "card": {"budget": {"size_bytes": 2_000_000}},
        "machine": {"cpu": "a CPU"},
        "samples": {"source": "synthetic noise (seed 0)"},
        "variants": {"net-x.onnx": variant},
    }


def test_a_float_file_shows_its_worst_error_and_its_share_of_the_budget() -> None:
    row = rows([manifest()])[0]

    assert row == ("net-x.onnx", "1,500,000", "75%", "far: error 3.0e-05 of range", "1.23", "-", "float", "fits 2 MB")


def test_a_quantised_file_shows_its_worst_sqnr_and_how_much_is_int8() -> None:
    row = rows([manifest(precision="int8", int8_mac_share=0.64, recipe="static-all")])[0]

    assert row[3:6] == ("far: SQNR 21.5 dB, cosine 0.9966", "1.23", "64%")


def test_a_file_over_budget_that_breaks_its_limit_gets_both_verdicts() -> None:
    row = rows([manifest(bytes=2_000_001, complaints=["output `far`: …"])])[0]

    assert row[-1] == "over 2 MB; parity fails"


def test_a_latency_of_a_busy_machine_is_marked_and_the_mark_explained() -> None:
    calm, busy = manifest(), manifest(latency={"best_ms": 1.234, "busy": True})

    assert rows([busy])[0][4] == "1.23 (busy)"
    assert "(busy): other work disturbed the clock" in legend([busy])
    assert "busy" not in legend([calm])


def test_exactly_the_budget_fits() -> None:
    assert rows([manifest(bytes=2_000_000)])[0][-1] == "fits 2 MB"


def test_text_and_markdown_name_machine_and_samples() -> None:
    for text in (render([manifest()]), markdown([manifest()])):
        assert "a CPU" in text
        assert "synthetic noise (seed 0)" in text
        assert "net-x.onnx" in text


def test_the_legend_says_of_which_models_the_weights_are_trained() -> None:
    trained = {**manifest(), "model": "net-y", "weights": "shipped"}

    assert legend([manifest(), trained, {**trained, "model": "net-z"}]).endswith(
        "Weights: trained, shipped (net-y, net-z); seeded random, what they answer means nothing (net-x)."
    )


def test_only_the_marked_section_of_a_readme_is_replaced() -> None:
    text = "before\n<!-- table: a -->\nold\n<!-- end -->\n<!-- table: b -->\nkept\n<!-- end -->\n"

    assert replace_section(text, "a", "new") == text.replace("old", "new")
    with pytest.raises(click.ClickException, match="no section `c`"):
        replace_section(text, "c", "new")


def test_timing_names_both_sides_and_the_machine() -> None:
    figures = {
        "machine": "a machine",
        "edge_s": 10.0,
        "edge_again_s": 0.3,
        "edge_stages": "2 bundles after 10 s (convert 6 s, trace 4 s)",
        "onnx2tf_by_hand_s": {"net": 5.0},
        "onnx2tf_by_hand_total_s": 5.0,
        "ratio": 2.0,
    }

    text = timing(figures)

    assert "convert 6 s, trace 4 s" in text
    assert "net 5" in text
    assert "Ratio 2, measured in one run on a machine." in text
