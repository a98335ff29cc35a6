"""The audit: verdicts come from comparisons, and say what the specification's own audit found."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from edge.models.audit import AuditRow, Claim, _judge, audit

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def rows() -> dict[str, AuditRow]:
    return {row.claim: row for row in audit()}


@pytest.mark.parametrize(
    ("stated", "found", "tolerance", "verdict"),
    [
        (100, 100, 0.0, "holds"),
        (100, 101, 0.0, "wrong"),
        (100, 101, 0.02, "holds"),
        ((1, 2), 1.5, 0.0, "holds"),
        ((1, 2), 2.5, 0.0, "wrong"),
        ((0.4, 0.6), [0.5, 0.7], 0.0, "wrong"),
        ([1, 2], [1, 2], 0.0, "holds"),
        ("higher", "lower", 0.0, "wrong"),
    ],
)
def test_a_verdict_is_the_result_of_a_comparison(stated: object, found: object, tolerance: float, verdict: str) -> None:
    claim = Claim(document="d", what="w", stated=stated, find=lambda: found, tolerance=tolerance)

    assert _judge(claim).verdict == verdict


def test_a_claim_that_nothing_here_can_compute_stays_open_and_says_where_evidence_is(
    rows: dict[str, AuditRow],
) -> None:
    open_rows = [row for row in rows.values() if row.found is None]

    assert _judge(Claim(document="d", what="w", stated=1, find=None, how="a log")).verdict == "not settled here"
    assert open_rows
    assert all(row.verdict == "not settled here" and row.how for row in open_rows)


@pytest.mark.parametrize(
    ("claim", "found", "verdict"),
    [
        ("parameters, about 0.36 M", 330_753, "wrong"),
        ("the previous student is 8 MB of weights", 2.636, "wrong"),
        ("8 MB to 2 MB, a factor of 4", 1.9924, "wrong"),
        ("parameters that the origin's log prints for the previous student", 659_136, "holds"),
        ("the teacher has about 28 M parameters", 4_091_698, "wrong"),
        ("teacher, total", 86_850_434, "wrong"),
        ("teacher, sum of the document's own table", 88_002_562, "wrong"),
        ("teacher, one block", 7_087_872, "wrong"),
        ("teacher, MLP and its norm", 4_723_968, "holds"),
        ("teacher, head (third statement)", 461_186, "holds"),
        ("student, total", 11_987_144, "holds"),
        ("student, attention and its norm", 592_128, "holds"),
        ("compression 7.2x", 7.2453, "holds"),
        ("patch embedding 876x smaller", 219.2249, "wrong"),
        ("head 6.4x smaller", 6.2066, "wrong"),
        ("INT4 of the student, combined 14.4x", 57.6, "wrong"),
        ("student keeps 93.2% of the teacher's CCC", 0.1297, "wrong"),
        ("previous student 5-8 M parameters", 1_246_952, "wrong"),
        ("V1 teacher, total", 487_103, "holds"),
        ("Nano-B, total, as drawn", 369_367, "wrong"),
        ("Nano-B, total, after pruning", 142_323, "holds"),
        ("48-65% smaller than V1", [0.63, 0.754], "wrong"),
        ("backbone 60 k, every bound at its maximum", 59_344, "holds"),
        ("grouped context convolutions", [11_664, 5_832, 1_458, 1_458], "wrong"),
        ("heads, total", 7_008, "wrong"),
        ("predictions at 640", 16_800, "holds"),
    ],
)
def test_findings_are_those_of_the_specification(
    rows: dict[str, AuditRow], claim: str, found: object, verdict: str
) -> None:
    assert (rows[claim].found, rows[claim].verdict) == (found, verdict)


def test_rows_are_plain_json_and_claims_are_named_once(rows: dict[str, AuditRow]) -> None:
    every = audit()

    assert len(rows) == len(every) > 70
    json.dumps([row.to_dict() for row in every], allow_nan=False)
