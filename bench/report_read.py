"""Read what a report is made of: manifests of bundles, and the JSON of `edge bench`, its profiles, and `edge eval`.

These files may be anybody's. What is read of them is checked value by value, a wrong one is an error that names file
and place, and every text is made fit to be shown. What is not shown is not looked at, so that a file of a later version
with more in it is read all the same.
"""

from __future__ import annotations

import json
import math
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..runtime.errors import InputError
from .device import Evidence
from .percentiles import Summary, summarise
from .record import Status
from .report_facts import Bundle, Facts, LayerShare, Parity, ProfileShare, Quality, Timing, Trial, Variant

__all__ = ["find_bundles", "read_facts", "shown"]

SCHEMA = 1
MAX_BYTES = 256 << 20  # a strict run of many files keeps some hundred thousand samples
MOST_TEXT = 300  # characters of one text
MOST_MS = 1e8
ORDER = ("fp32", "fp16", "int8", "dynamic", "w8a16")


def shown(text: str) -> str:
    r"""Return a text as a page can show it: one line, at most `MOST_TEXT` characters, the middle of longer ones cut.

    Control, format and surrogate characters become escapes such as `\u202e`: HTML has no place for some of them, and
    others change how their neighbours read. All other texts come back as they are.
    """
    if len(text) > MOST_TEXT:
        front = (MOST_TEXT - 3) // 2
        text = f"{text[:front]} … {text[front + 3 - MOST_TEXT :]}"
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
        else char
        for char in text
    )


def find_bundles(paths: Sequence[Path]) -> list[Path]:
    """Return the folders with a manifest: those named, and those inside a named folder that has none itself.

    Raises:
        InputError: a path is no folder, holds no bundle, or a bundle is named twice.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path] if (path / "manifest.json").is_file() else []
        if not inside and path.is_dir():
            inside = sorted(manifest.parent for manifest in path.glob("*/manifest.json") if manifest.is_file())
        if not inside:
            raise InputError(f"`{path}` is no bundle", expected="a folder with manifest.json", hint="`edge export`")
        found += inside
    real = [folder.resolve() for folder in found]
    again = [folder for number, folder in enumerate(found) if real[number] in real[:number]]
    if again:
        raise InputError(f"bundle `{again[0]}` is named twice")
    return found


def read_facts(bundles: Sequence[Path], results: Sequence[Path], evals: Sequence[Path]) -> Facts:
    """Return all that a report shows.

    Args:
        bundles: folders, see `find_bundles`.
        results: files of `edge bench --json` or `edge bench --profile --json`, or folders of `edge bench --output`.
        evals: files of `edge eval --json`.

    Raises:
        InputError: a file is missing, none of these, or says what makes no sense.
    """
    timings: list[Timing] = []
    profiles: list[ProfileShare] = []
    for path in results:
        top = _load(path / "results.json" if path.is_dir() else path)
        command = top.get("command").text()
        if command == "bench":
            timings += _timings(top)
        elif command == "bench --profile":
            profiles += [_profile(item) for item in top.get("profiles").items()]
        else:
            top.get("command").refuse("bench or bench --profile")
    return Facts(
        bundles=tuple(_bundle(folder) for folder in bundles),
        timings=tuple(timings),
        profiles=tuple(profiles),
        qualities=tuple(quality for path in evals for quality in _qualities(_load(path))),
    )


# --- values ---------------------------------------------------------------------


class _Node:
    """A value of a JSON file that knows where it stands."""

    def __init__(self, value: Any, file: str, place: str = "") -> None:
        self.value, self.file, self.place = value, file, place

    def refuse(self, expected: str) -> NoReturn:
        got = type(self.value).__name__ if isinstance(self.value, dict | list) else repr(self.value)[:60]
        raise InputError(f"`{self.file}`: `{self.place or 'the file'}` is malformed", expected=expected, got=got)

    def get(self, key: str) -> _Node:
        """Return a member; one that is not there is null."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return _Node(self.value.get(key), self.file, f"{self.place}.{shown(key)}" if self.place else shown(key))

    def items(self) -> Iterator[_Node]:
        if not isinstance(self.value, list):
            self.refuse("a list")
        for number, value in enumerate(self.value):
            yield _Node(value, self.file, f"{self.place}[{number}]")

    def members(self) -> Iterator[tuple[str, _Node]]:
        if not isinstance(self.value, dict):
            self.refuse("an object")
        for key in self.value:
            yield key, self.get(key)

    @property
    def absent(self) -> bool:
        return self.value is None

    def text(self, default: str | None = None) -> str:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            self.refuse("a text")
        return shown(self.value)

    def texts(self) -> tuple[str, ...]:
        return () if self.absent else tuple(item.text() for item in self.items())

    def number(self, least: float = -math.inf, most: float = math.inf) -> float:
        found = self.value
        if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > 1e300:
            self.refuse("a number")
        if not least <= found <= most:
            self.refuse(f"{least:g} to {most:g}")
        return float(found)

    def maybe(self, least: float = -math.inf, most: float = math.inf) -> float | None:
        return None if self.absent else self.number(least, most)

    def count(self) -> int:
        return int(self.number(0, 1e18))

    def ms(self) -> float:
        return self.number(0, MOST_MS)

    def maybe_ms(self) -> float | None:
        return None if self.absent else self.ms()


def _load(path: Path) -> _Node:
    name = shown(path.name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise InputError(f"`{name}` is no file, or a huge one", expected=f"a file of up to {MAX_BYTES >> 20} MiB")
        value = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as exc:
        raise InputError(f"cannot read `{name}`", got=exc.strerror) from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"`{name}` is no JSON", got=str(exc)[:120]) from exc
    top = _Node(value, name)
    schema = top.get("schema")
    if schema.value != SCHEMA or isinstance(schema.value, bool):
        schema.refuse(f"{SCHEMA}: this version knows no other")
    return top


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"`{word}` is no number of JSON")


# --- manifests ------------------------------------------------------------------


def _bundle(folder: Path) -> Bundle:
    top = _load(folder / "manifest.json")
    card = top.get("card")
    samples = top.get("samples")
    variants = [_variant(name, node) for name, node in top.get("variants").members()]
    budget = card.get("budget")
    limits = card.get("parity")
    return Bundle(
        folder=folder,
        model=top.get("model").text(),
        family=top.get("family").text("custom"),
        weights=top.get("weights").text("unknown"),
        key=top.get("key").text(""),
        checkpoint_sha256=top.get("checkpoint_sha256").text(""),
        parameters=None if top.get("parameters").absent else top.get("parameters").count(),
        edge=top.get("edge").text(),
        tools={shown(name): node.text("") for name, node in top.get("tools").members()},
        machine={shown(name): _word(node) for name, node in top.get("machine").members()},
        samples="" if samples.absent else f"{samples.get('parity').count()} samples of {samples.get('source').text()}",
        notes=top.get("notes").texts(),
        budget_bytes=None if budget.absent else budget.get("size_bytes").maybe(1),
        budget_ms=None if budget.absent else budget.get("p90_ms").maybe(0),
        parity_limits={}
        if limits.absent
        else {shown(name): _limit(node) for name, node in limits.members() if not node.absent},
        variants=tuple(sorted(variants, key=_order)),
    )


def _order(variant: Variant) -> tuple[str, int, str]:
    place = ORDER.index(variant.precision) if variant.precision in ORDER else len(ORDER)
    return (variant.target, place, variant.file)


def _word(node: _Node) -> str:
    return str(node.value) if isinstance(node.value, int | float) else node.text("")


def _limit(node: _Node) -> str:
    words = {"max_error": "error at most {:g}", "min_cosine": "cosine at least {:g}", "min_sqnr_db": "at least {:g} dB"}
    found = {name: node.get(name).maybe() for name in words}
    return ", ".join(words[name].format(value) for name, value in found.items() if value is not None)


def _variant(name: str, node: _Node) -> Variant:
    latency = node.get("latency")
    known = not latency.absent
    trials = node.get("search")
    return Variant(
        file=shown(name),
        sha256=node.get("sha256").text(),
        size_bytes=node.get("bytes").count(),
        target=node.get("target").text(),
        precision=node.get("precision").text(),
        recipe=node.get("recipe").text(""),
        int8_mac_share=node.get("int8_mac_share").maybe(0, 1) or 0.0,
        complaints=node.get("complaints").texts(),
        parity=tuple(_parity(output, values) for output, values in node.get("parity").members()),
        best_ms=latency.get("best_ms").maybe_ms() if known else None,
        best_device=latency.get("device").text("host") if known else "",
        best_evidence=_evidence(latency.get("evidence")) if known else "",
        best_threads=latency.get("threads").count() if known and not latency.get("threads").absent else 1,
        trials=() if trials.absent else tuple(_trial(item) for item in trials.items()),
    )


def _parity(output: str, node: _Node) -> Parity:
    return Parity(
        output=shown(output),
        sqnr_db=node.get("sqnr_db").maybe(),
        cosine=node.get("cosine").maybe(),
        max_error=node.get("max_error").maybe(),
    )


def _trial(node: _Node) -> Trial:
    size = node.get("size_bytes")
    return Trial(
        name=node.get("name").text(),
        size_bytes=None if size.absent else size.count(),
        least_sqnr_db=node.get("min_sqnr_db").maybe(),
        latency_ms=node.get("latency_ms").maybe_ms(),
        verdict=node.get("verdict").text(""),
        reason=node.get("reason").text(""),
    )


def _evidence(node: _Node) -> str:
    word = node.text()
    if word not in list(Evidence):
        node.refuse(" | ".join(Evidence))
    return word


# --- results --------------------------------------------------------------------


def _timings(top: _Node) -> Iterator[Timing]:
    began, edge = top.get("began").text(""), top.get("edge").text("")
    for row in top.get("rows").items():
        yield _timing(row, began, edge)


def _timing(row: _Node, began: str, edge: str) -> Timing:
    artifact, told, engine = row.get("artifact"), row.get("prediction"), row.get("engine")
    status = row.get("status")
    if status.text() not in list(Status):
        status.refuse(" | ".join(Status))
    evidence = _evidence(row.get("evidence"))
    launches = list(row.get("launches").items())
    # The wall clock of other hardware says nothing of the device: it is not shown.
    clocked = launches if evidence == Evidence.MEASURED else []
    samples = {name: _samples(clocked, f"{name}_ms") for name in ("wall", "pre", "infer", "decode")}
    stages = {name: summarise(samples[name]) for name in ("pre", "infer", "decode") if samples[name]}
    predicted = evidence == Evidence.PREDICTED and not told.absent
    version = engine.get("version").text("")
    return Timing(
        file=artifact.get("file").text(),
        sha256=artifact.get("sha256").text(),
        device=row.get("device").text(),
        evidence=evidence,
        engine=f"{engine.get('name').text()} {version}".strip(),
        threads=row.get("threads").count(),
        input=row.get("input").text(""),
        status=status.text(),
        why=row.get("why").texts() + row.get("notes").texts(),
        busy=row.get("busy").value is True,
        machine=_machine(launches),
        began=began,
        edge=edge,
        infer=summarise(samples["wall"]) if samples["wall"] else None,
        samples_ms=tuple(samples["wall"]),
        stages={name: _middle(part) for name, part in stages.items()},
        frame=_frames(samples),
        load_ms=row.get("load_ms").maybe_ms() if clocked else None,
        first_ms=row.get("first_ms").maybe_ms() if clocked else None,
        peak_rss_bytes=None if row.get("peak_rss_bytes").absent else row.get("peak_rss_bytes").count(),
        p50_ms=told.get("p50_ms").maybe_ms() if predicted else None,
        low_ms=told.get("low_ms").maybe_ms() if predicted else None,
        high_ms=told.get("high_ms").maybe_ms() if predicted else None,
        basis=told.get("basis").text("") if predicted else "",
    )


def _samples(launches: Sequence[_Node], name: str) -> list[float]:
    return [item.ms() for launch in launches if not launch.get(name).absent for item in launch.get(name).items()]


def _middle(summary: Summary) -> float:
    return summary.mean_ms if summary.p50_ms is None else summary.p50_ms


def _frames(samples: dict[str, list[float]]) -> Summary | None:
    parts = [samples[name] for name in ("pre", "infer", "decode") if samples[name]]
    if not parts or len({len(part) for part in parts}) != 1:
        return None
    return summarise([sum(times) for times in zip(*parts, strict=True)])


def _machine(launches: Sequence[_Node]) -> str:
    if not launches or launches[0].get("started").absent:
        return ""
    state = launches[0].get("started")
    name = state.get("board").text("") or state.get("cpu").text("")
    cores, architecture = state.get("cores"), state.get("architecture").text("")
    facts = [name, "" if cores.absent else f"{cores.count()} cores", architecture]
    return ", ".join(fact for fact in facts if fact)


def _profile(node: _Node) -> ProfileShare:
    return ProfileShare(
        file=node.get("file").text(),
        engine=node.get("engine").text(),
        how=node.get("how").text(""),
        total_ms=node.get("total_ms").ms(),
        layers=tuple(
            LayerShare(
                name=layer.get("name").text(),
                op=layer.get("op").text(),
                ms=layer.get("ms").ms(),
                time_share=layer.get("time_share").number(0, 1.000001),
                mac_share=layer.get("mac_share").number(0, 1.000001),
            )
            for layer in node.get("layers").items()
        ),
    )


# --- metrics --------------------------------------------------------------------


def _qualities(top: _Node) -> Iterator[Quality]:
    data = top.get("data")
    first = ""
    for target in top.get("targets").items():
        metric, drop = target.get("metric"), target.get("drop")
        file = target.get("file").value
        name = shown(Path(file).name) if isinstance(file, str) and "\0" not in file else target.get("file").text()
        first = first or name
        yield Quality(
            file=name,
            metric=metric.get("name").text(),
            value=metric.get("value").number(-1, 1),
            low=metric.get("low").maybe(-1, 1),
            high=metric.get("high").maybe(-1, 1),
            drop=None if drop.absent else drop.get("value").number(-2, 2),
            drop_low=None if drop.absent else drop.get("low").maybe(-2, 2),
            drop_high=None if drop.absent else drop.get("high").maybe(-2, 2),
            against=first,
            samples=metric.get("samples").count(),
            data=data.get("label").text(""),
            synthetic=data.get("synthetic").value is True,
        )
