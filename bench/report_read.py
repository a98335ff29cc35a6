"""Read what reports and gates judge: manifests of bundles, and the JSON of `edge bench`, its profiles, and `edge eval`.

These files may be anybody's. What is read of them is checked value by value, a wrong one is an error that names file
and place, and every text is made fit to be shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from ..runtime.files import folders_with
from .device import Evidence
from .json_values import Node, load_document, shown
from .percentiles import Summary, summarise
from .record import Status
from .report_facts import Bundle, Facts, LayerShare, Parity, ProfileShare, Quality, Timing, Trial, Variant

__all__ = ["find_bundles", "read_facts", "read_qualities", "read_rows", "read_timings"]

RESULTS = "results.json"  # in a folder of `edge bench --output`
ORDER = ("fp32", "fp16", "int8", "dynamic", "w8a16")


def find_bundles(paths: Sequence[Path]) -> list[Path]:
    """Return the folders with a manifest: those named, and those inside a named folder that has none itself.

    Raises:
        InputError: a path is no folder, holds no bundle, or a bundle is named twice.
    """
    found: list[Path] = []
    for path in paths:
        inside = folders_with(path, "manifest.json")
        if not inside:
            raise InputError(f"`{path}` is no bundle", expected="a folder with manifest.json", hint="`edge export`")
        found += inside
    _refuse_twice("bundle", found)
    return found


def _refuse_twice(what: str, paths: Sequence[Path]) -> None:
    real = [path.resolve() for path in paths]
    again = [path for number, path in enumerate(paths) if real[number] in real[:number]]
    if again:
        raise InputError(f"{what} `{again[0]}` is named twice")


def read_facts(bundles: Sequence[Path], results: Sequence[Path], evals: Sequence[Path]) -> Facts:
    """Return all that a report shows.

    Args:
        bundles: folders, see `find_bundles`.
        results: files of `edge bench --json` or `edge bench --profile --json`, or folders of `edge bench --output`.
        evals: files of `edge eval --json`.

    Raises:
        InputError: a file is missing, named twice, none of these, or says what makes no sense.
    """
    _refuse_twice("file of results", results)
    _refuse_twice("evaluation", evals)
    timings: list[Timing] = []
    profiles: list[ProfileShare] = []
    for path in results:
        top = _load_results(path)
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
        qualities=tuple(quality for path in evals for quality in read_qualities(path)),
    )


def read_timings(path: Path) -> list[Timing]:
    """Return the rows of what `edge bench --json` printed, or of a folder of its `--output`.

    Raises:
        InputError: it cannot be read, or is no such report.
    """
    top = _load_results(path)
    if (command := top.get("command")).value != "bench":
        command.refuse("bench: the output of `edge bench --json`")
    return list(_timings(top))


def read_rows(rows: Sequence[Mapping[str, Any]]) -> list[Timing]:
    """Return rows that were measured here, as `edge bench --json` has them."""
    return list(_timings(Node({"rows": list(rows)}, "results")))


def read_qualities(path: Path) -> list[Quality]:
    """Return what `edge eval --json` printed.

    Raises:
        InputError: it cannot be read, or is no such report.
    """
    top = load_document(path)
    command = top.get("command")
    if not command.absent and command.value != "eval":
        command.refuse("eval: the output of `edge eval --json`")
    return list(_qualities(top))


# --- manifests ------------------------------------------------------------------


def _bundle(folder: Path) -> Bundle:
    top = load_document(folder / "manifest.json")
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
        parameters=top.get("parameters").maybe_count(),
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


def _word(node: Node) -> str:
    return str(node.value) if isinstance(node.value, int | float) else node.text("")


def _limit(node: Node) -> str:
    words = {"max_error": "error at most {:g}", "min_cosine": "cosine at least {:g}", "min_sqnr_db": "at least {:g} dB"}
    found = {name: node.get(name).maybe() for name in words}
    return ", ".join(words[name].format(value) for name, value in found.items() if value is not None)


def _variant(name: str, node: Node) -> Variant:
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
        best_evidence=latency.get("evidence").word(Evidence) if known else "",
        best_threads=latency.get("threads").count() if known and not latency.get("threads").absent else 1,
        best_busy=known and latency.get("busy").value is True,
        trials=() if trials.absent else tuple(_trial(item) for item in trials.items()),
    )


def _parity(output: str, node: Node) -> Parity:
    return Parity(
        output=shown(output),
        sqnr_db=node.get("sqnr_db").maybe(),
        cosine=node.get("cosine").maybe(),
        max_error=node.get("max_error").maybe(),
        nonfinite=node.get("nonfinite").maybe_count() or 0,
    )


def _trial(node: Node) -> Trial:
    return Trial(
        name=node.get("name").text(),
        size_bytes=node.get("size_bytes").maybe_count(),
        least_sqnr_db=node.get("min_sqnr_db").maybe(),
        latency_ms=node.get("latency_ms").maybe_ms(),
        verdict=node.get("verdict").text(""),
        reason=node.get("reason").text(""),
    )


# --- results --------------------------------------------------------------------


def _load_results(path: Path) -> Node:
    if not path.is_dir():
        return load_document(path)
    if not (path / RESULTS).exists():
        raise InputError(f"folder `{shown(str(path))}` holds no {RESULTS}", hint="`edge bench --output` writes one")
    return load_document(path / RESULTS)


def _timings(top: Node) -> Iterator[Timing]:
    began, edge = top.get("began").text(""), top.get("edge").text("")
    for row in top.get("rows").items():
        yield _timing(row, began, edge)


def _timing(row: Node, began: str, edge: str) -> Timing:
    artifact, told, engine = row.get("artifact"), row.get("prediction"), row.get("engine")
    evidence = row.get("evidence").word(Evidence)
    launches = list(row.get("launches").items())
    # The wall clock of other hardware says nothing of the device: it is not shown.
    clocked = launches if evidence == Evidence.MEASURED else []
    samples = {name: _samples(clocked, f"{name}_ms") for name in ("wall", "pre", "infer", "decode")}
    wall_ms = samples["wall"] or _samples(launches, "wall_ms")
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
        status=row.get("status").word(Status),
        why=row.get("why").texts(),
        notes=row.get("notes").texts(),
        busy=row.get("busy").value is True,
        machine=_machine(launches),
        began=began,
        edge=edge,
        infer=summarise(samples["wall"]) if samples["wall"] else None,
        samples_ms=tuple(wall_ms),
        coarse=any(launch.get("batch").value not in (None, 1) for launch in launches),
        stages={name: _middle(part) for name, part in stages.items()},
        frame=_frames(samples),
        load_ms=row.get("load_ms").maybe_ms() if clocked else None,
        first_ms=row.get("first_ms").maybe_ms() if clocked else None,
        peak_rss_bytes=row.get("peak_rss_bytes").maybe_count(),
        p50_ms=told.get("p50_ms").maybe_ms() if predicted else None,
        low_ms=told.get("low_ms").maybe_ms() if predicted else None,
        high_ms=told.get("high_ms").maybe_ms() if predicted else None,
        basis=told.get("basis").text("") if predicted else "",
        abstained=told.get("abstained").text("") if predicted else "",
    )


def _samples(launches: Sequence[Node], name: str) -> list[float]:
    return [item.ms() for launch in launches if not launch.get(name).absent for item in launch.get(name).items()]


def _middle(summary: Summary) -> float:
    return summary.mean_ms if summary.p50_ms is None else summary.p50_ms


def _frames(samples: dict[str, list[float]]) -> Summary | None:
    parts = [samples[name] for name in ("pre", "infer", "decode") if samples[name]]
    if not parts or len({len(part) for part in parts}) != 1:
        return None
    return summarise([sum(times) for times in zip(*parts, strict=True)])


def _machine(launches: Sequence[Node]) -> str:
    if not launches or launches[0].get("started").absent:
        return ""
    state = launches[0].get("started")
    name = state.get("board").text("") or state.get("cpu").text("")
    cores, architecture = state.get("cores"), state.get("architecture").text("")
    facts = [name, "" if cores.absent else f"{cores.count()} cores", architecture]
    return ", ".join(fact for fact in facts if fact)


def _profile(node: Node) -> ProfileShare:
    return ProfileShare(
        file=node.get("file").text(),
        sha256=node.get("sha256").digest(),
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


def _qualities(top: Node) -> Iterator[Quality]:
    data = top.get("data")
    first = ""
    for target in top.get("targets").items():
        metric, drop = target.get("metric"), target.get("drop")
        file = target.get("file").value
        name = shown(Path(file).name) if isinstance(file, str) and "\0" not in file else target.get("file").text()
        first = first or name
        yield Quality(
            file=name,
            sha256=target.get("sha256").digest(),
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
