"""The gate's judgements: a pass is on the right side of a bound, doubt is an answer, and names cannot inject."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bench.baseline import read_baseline
from edge.bench.budgets import Budget, limits_of
from edge.bench.gate import Check, Gate, Subject, Verdict, judge_bounds, raise_for
from edge.bench.gate_accuracy import Loss, accuracy_check, read_report
from edge.bench.gate_latency import latency_checks, weigh
from edge.bench.gate_report import gate_table, github_annotations, summary
from edge.bench.junit import gate_junit
from edge.bench.paired import judge
from edge.bench.percentiles import lower_bound, upper_bound
from edge.bench.record import Artifact
from edge.bench.report_read import read_rows, read_timings
from edge.runtime.card import Card, InputSpec, OutputSpec
from edge.runtime.errors import GateError, InconclusiveError, InputError, printable

DIGEST = "a" * 64
CARD = Card(
    model="net",
    input=InputSpec(kind="tensor", shape=(1, 4), layout="any"),
    outputs=(OutputSpec(name="y", shape=(1, 4)),),
)


def subject(**limits: Any) -> Subject:
    budget = Budget(line=7, **limits)
    artifact = Artifact(
        path=Path("net-int8.onnx"), bytes=10, sha256=DIGEST, model="net", target="onnx", precision="int8"
    )
    return Subject(artifact=artifact, card=CARD, variant="int8.onnx", limits=limits_of([budget], "net", "int8.onnx"))


def row(samples: list[float], **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "artifact": {"file": "net-int8.onnx", "sha256": DIGEST},
        "engine": {"name": "onnxruntime", "version": "1"},
        "device": "host",
        "threads": 1,
        "evidence": "measured",
        "status": "complete",
        "why": [],
        "busy": False,
        "launches": [{"wall_ms": samples, "batch": 1}],
    }
    return {**values, **changes}


def judged(limits: dict[str, Any], *rows: dict[str, Any]) -> Check:
    one = subject(**limits)
    (check,) = latency_checks(one, one.limits[0], read_rows(rows))
    return check


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1, 2, "pass"), (1, 3, "pass"), (1, 3.1, "inconclusive"), (3, 4, "inconclusive"), (3.1, 4, "no"),
     (None, None, "inconclusive"), (math.nan, math.nan, "inconclusive")],
)  # fmt: skip
def test_a_pass_needs_the_upper_bound_and_a_no_the_lower(low: float | None, high: float | None, verdict: str) -> None:
    assert judge_bounds(low, high, 3) == verdict


def test_bounds_hold_the_true_percentile_at_least_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    true = math.log(10)  # 90th percentile of an exponential distribution
    above = below = 0
    for _ in range(2000):
        samples = rng.exponential(size=100).tolist()
        low, high = lower_bound(samples, 0.9), upper_bound(samples, 0.9)
        assert low is not None
        assert high is not None
        above, below = above + (low > true), below + (high < true)

    assert above <= 35  # 1 % of 2000, and three standard deviations
    assert below <= 35


@given(st.lists(st.floats(0, 1e6), min_size=64, max_size=200), st.floats(0, 1e6))
@settings(max_examples=50, deadline=None)
def test_a_no_and_a_pass_never_hold_at_once(samples: list[float], limit: float) -> None:
    low, high = lower_bound(samples, 0.9), upper_bound(samples, 0.9)

    assert low is None or high is None or low <= high
    assert not (low is not None and high is not None and low > limit >= high)


def test_a_latency_is_judged_by_bounds_of_its_percentile() -> None:
    samples = np.linspace(1, 2, 200).tolist()  # p90 is 1.9

    assert judged({"p90_ms": 2.0}, row(samples)).verdict == "pass"
    assert judged({"p90_ms": 1.0}, row(samples)).verdict == "no"
    near = judged({"p90_ms": 1.9}, row(samples))
    assert near.verdict == "inconclusive"
    assert "its bounds hold the limit of 1.9 ms" in near.why
    assert near.low is not None
    assert near.low < 1.9 < (near.high or 0)


@pytest.mark.parametrize(
    ("changes", "verdict", "says"),
    [
        ({"status": "void", "why": ["throttled"]}, "inconclusive", "voids the run on `host` with 1 thread: throttled"),
        (
            {"status": "incomplete", "why": ["unplugged"]},
            "no",
            "missing evidence: .* is incomplete: unplugged",
        ),
        ({"status": "failed"}, "no", "is failed: no reason told"),
        ({"evidence": "simulated"}, "no", "missing evidence: measured is demanded on .*, this is simulated"),
        ({"busy": True}, "inconclusive", "other work disturbed the machine"),
        ({"device": "desk"}, "no", "missing evidence: the results hold no row"),
        ({"threads": 2}, "no", "missing evidence"),
        ({"artifact": {"file": "net-int8.onnx", "sha256": "b" * 64}}, "no", "missing evidence"),
        ({"launches": [{"wall_ms": [1.0] * 200, "batch": 10}]}, "inconclusive", "only a median is known"),
        ({"launches": [{"wall_ms": [1.0] * 63, "batch": 1}]}, "inconclusive", "p90 needs 64 runs, there are 63"),
    ],
)
def test_a_row_that_may_not_be_believed_is_never_a_pass(changes: dict[str, Any], verdict: str, says: str) -> None:
    check = judged({"p90_ms": 0.5}, row([1.0] * 200, **changes))

    assert check.verdict == verdict
    assert re.search(says, check.why)


def test_a_busy_machine_can_still_pass_for_it_only_slows() -> None:
    assert judged({"p90_ms": 5}, row([1.0] * 200, busy=True)).verdict == "pass"


def test_pairs_are_tested_both_ways_against_the_limit_itself() -> None:
    rng = np.random.default_rng(0)

    def found(change: float) -> tuple[float, float]:
        seconds = [math.exp(noise) * (1 + change) for noise in rng.normal(scale=0.02, size=60)]
        pairs = [(1.0, 1.0, second, second) for second in seconds]
        told = judge(pairs, least_change=0.05)
        return told.p_over, told.p_within

    over, within = found(0.10)
    assert over < 0.001 < 0.9 < within
    over, within = found(0.0)
    assert within < 0.001 < 0.9 < over
    over, within = found(0.05)
    assert min(over, within) > 0.001  # neither way decides: inconclusive


def test_a_limit_that_is_tighter_than_the_machine_can_tell_is_refused_and_neither_held_nor_broken() -> None:
    rng = np.random.default_rng(0)

    def weighed(noise: float, change: float) -> tuple[str, str]:
        seconds = (np.exp(rng.normal(scale=noise, size=60)) * (1 + change)).tolist()
        return weigh(judge([(1.0, 1.0, second, second) for second in seconds], least_change=0.05), 5.0, 0.003)

    verdict, why = weighed(0.3, 0.04)
    assert verdict == "inconclusive"
    assert re.search(r"refused: 5 % is tighter than this machine can tell now, \d+\.\d %$", why)
    verdict, why = weighed(0.02, 0.05)
    assert (verdict, "too near the limit of 5 %" in why) == ("inconclusive", True)
    assert weighed(0.02, 0.0)[0] == "pass"
    assert weighed(0.3, 1.0)[0] == "no"  # so much slower that noise hides nothing


def test_a_drop_is_judged_by_its_interval() -> None:
    one = subject(metric_drop=1)

    def verdict(low: float, value: float, high: float) -> str:
        return accuracy_check(one, one.limits[0], Loss(value=value, low=low, high=high, words="AP")).verdict

    assert verdict(-0.01, 0.0, 0.01) == "pass"
    assert verdict(0.0, 0.005, 0.012) == "inconclusive"
    assert verdict(0.012, 0.02, 0.03) == "no"
    assert accuracy_check(one, one.limits[0], "no FP32 file").verdict == "no"
    with pytest.raises(InputError, match="finite interval"):
        Loss(value=0.0, low=math.nan, high=0.0, words="")


def check(verdict: Verdict, **facts: Any) -> Check:
    named = {"stage": "file", "name": "size_bytes", "file": "a.onnx", "model": "a", "variant": "int8.onnx"}
    return Check(**{**named, "verdict": verdict, "why": "too large", "line": 3, **facts})


def test_a_no_wins_over_what_cannot_be_told_and_neither_is_a_pass() -> None:
    yes, no, unsure = check(Verdict.PASS), check(Verdict.NO), check(Verdict.INCONCLUSIVE, why="too noisy")

    raise_for(Gate(checks=(yes,)), "edge.toml")
    with pytest.raises(GateError, match=r"1 of 3 checks say no, got a.onnx: too large \(edge.toml line 3\)") as caught:
        raise_for(Gate(checks=(unsure, yes, no)), "edge.toml")
    assert caught.value.exit_code == 3
    with pytest.raises(InconclusiveError, match=r"1 of 2 checks cannot tell, got a.onnx: too noisy") as doubt:
        raise_for(Gate(checks=(unsure, yes)), "edge.toml")
    assert doubt.value.exit_code == 6
    assert Gate(checks=(unsure, yes, no)).verdict == "no"
    assert Gate(checks=(unsure, yes)).verdict == "inconclusive"


HOSTILE = [
    "<script>alert(1)</script>", "a|b", "`code`", "[x](https://evil.example)", "![x](https://evil.example/i.png)",
    "line\nbreak", "\x1b[2Jgone", "\u202eeman", "\udce4", "@everyone", "&lt;b&gt;", "a,line=1::error::b",
    "%0A::error::", "https://evil.example", "]]>", "\0", "x" * 5000, "::add-mask::x", " ::stop-commands::x",
    "a%,b:c\r\nd%25%0a", "##[add-mask]x", "a##[set-output name=exit-code;]0",
]  # fmt: skip


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def runner_reads(line: str) -> tuple[str, dict[str, str], str] | None:
    """Return the command that a runner of GitHub sees in a line: its name, its properties, its message.

    Source: the runner's own reader, `src/Runner.Common/ActionCommand.cs` of github.com/actions/runner, in words: a line
    that begins with `::` after blanks, or one that holds `##[` anywhere, of which only the name is of interest here.
    """
    named = re.search(r"##\[([^\] ]*)[^\]]*\]", line)
    found = re.match(r"\s*::([^ ]*?)(?: (.*?))?::(.*)", line, re.DOTALL)
    if found is None:
        return None if named is None else (named[1], {}, "")
    pairs = (part.split("=", 1) for part in (found[2] or "").split(",") if "=" in part)
    return found[1], {key: plain(value, ":,") for key, value in pairs}, plain(found[3])


def plain(text: str, more: str = "") -> str:
    for sign in ("\r", "\n", *more, "%"):
        text = text.replace(f"%{ord(sign):02X}", sign)
    return text


def test_a_property_and_a_message_come_out_of_an_annotation_as_they_went_in() -> None:
    config = Path("odd, name: 100%25 %2C.toml")
    gate = Gate(checks=(check(Verdict.NO, file="a%0Ab.onnx", why="50 % more: 3,000 :: 2,000"),))

    (line,) = github_annotations(gate, config)

    assert runner_reads(line) == (
        "error",
        {"file": str(config), "line": "3", "title": "edge gate: size_bytes"},
        "a%0Ab.onnx: 50 % more: 3,000 :: 2,000",
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_means_anything_in_a_report(text: str) -> None:
    gate = Gate(checks=(check(Verdict.NO, file=text, model=text, why=text, value=text),), ungated=(text,))

    page, lines, table = summary(gate), github_annotations(gate, Path("edge.toml")), gate_table(gate)

    seen = _Tags()
    seen.feed(page)
    assert seen.tags == []
    assert not any(sign in page.replace("| --- |", "") for sign in ("`", "](", "@", "://", "\x1b", "\u202e", "\0"))
    row = next(line for line in page.splitlines() if line.endswith("❌ no |"))
    assert row.count("|") == 7
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert lines[0].startswith("::error file=edge.toml,line=3,title=edge gate%3A size_bytes::")
    assert runner_reads(lines[0]) == (
        "error",
        {"file": "edge.toml", "line": "3", "title": "edge gate: size_bytes"},
        f"{printable(text)}: {printable(text)}",
    )
    assert [found for line in table.splitlines() if (found := runner_reads(line))] == []
    assert not any(sign in table for sign in ("\x1b", "\u202e", "\0", "\udce4"))
    page.encode(), table.encode(), lines[0].encode()
    case = ElementTree.fromstring(gate_junit(gate).encode())[0]
    assert case.find("failure") is not None


def test_junit_never_shows_doubt_as_a_pass() -> None:
    gate = Gate(checks=(check(Verdict.PASS), check(Verdict.INCONCLUSIVE), check(Verdict.SKIPPED)))
    suite = ElementTree.fromstring(gate_junit(gate).encode())

    assert [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")] == ["3", "0", "1", "1"]
    assert [[child.tag for child in case] for case in suite] == [[], ["error"], ["skipped"]]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 1}', '{"schema": 1, "rows": [{}]}', '{"schema": 1, "rows": 3}', "[" * 100_000,
     '{"schema": 1, "rows": [{"launches": [{"wall_ms": [NaN]}]}]}'],
)  # fmt: skip
def test_results_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)

    with pytest.raises(InputError, match=r"results\.json"):
        read_timings(path)
    with pytest.raises(InputError, match=r"results\.json"):
        read_report(path)


def test_a_baseline_that_was_touched_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"new")
    told = {"schema": 1, "files": {"a.onnx": {"sha256": DIGEST}}, "history": []}
    (tmp_path / "baseline.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="is not the file that was accepted"):
        read_baseline(tmp_path).find("a.onnx")

    for bad in ("{}", "[]", '{"schema": 2, "files": {}, "history": []}', json.dumps({**told, "files": {"../a": {}}})):
        (tmp_path / "baseline.json").write_text(bad)
        with pytest.raises(InputError):
            read_baseline(tmp_path)


def test_many_launches_share_a_minute_and_few_have_all_they_want() -> None:
    from edge.gate_times import ALL_S, SECONDS, WARMUP_S, _share

    assert _share(0) == _share(3) == 1.0
    assert _share(108) * 108 * (SECONDS + WARMUP_S) == pytest.approx(ALL_S)
