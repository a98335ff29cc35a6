"""One self-contained HTML page on what was exported: what to ship, and every figure behind that.

    facts = read_facts(find_bundles([Path("edge-out")]), [Path("results.json")], [])
    page = build_page(facts, limits_of)
    Path("report.html").write_text(render(page), encoding="utf-8")

The page has no script and asks for nothing from elsewhere: its Content-Security-Policy allows its own style and
embedded pictures alone. All texts are escaped by Jinja2; the only markup put in as it is are the plots, which an XML
library wrote. The same inputs give the same bytes: dates are those of the inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .gate import Verdict
from .json_values import shown
from .judge_latency import where
from .report_facts import Bundle, Facts, LayerShare, ProfileShare, Quality, Timing, Variant
from .report_judge import Judgement, LimitsOf, choose, judge, of_file, points
from .report_limits import Limits
from .report_overlays import Overlay, embed
from .report_plots import in_bytes, in_ms
from .report_times import latencies, planes, remarks, timing_row
from .report_words import NO_FIGURE, counted, maybe_ms, minus, short_name, unique

__all__ = ["MAX_BYTES", "Page", "build_page", "render"]

FOLDER = Path(__file__).parent / "report_page"
MAX_BYTES = 1_500_000  # of the whole page
SLACK = 20_000  # markup around the pictures
MOST_LAYERS = 12  # shown before the rest is folded away
WEIGHTS = {
    "shipped": "trained weights, shipped with edge",
    "checkpoint": "weights of the checkpoint given",
    "factory": "weights of the model's own factory",
    "seeded": "random weights",
}
MEANINGS = {
    "OKS-AP": "keypoint AP of COCO, similarity 0.50 to 0.95",
    "AP": "faces over 10 px, IoU 0.5, by WIDER's rules",
    "CCC": "concordance, mean of valence and arousal; 0 for constant answers",
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the template draws, in plain values, and the overlays that go in where there is room.

    Attributes:
        values: of the template.
        overlays: by model's number, in the page's order.
        summary: the verdicts, as plain JSON values.
    """

    values: Mapping[str, Any]
    overlays: Sequence[Sequence[Overlay]]
    summary: Mapping[str, Any]


def build_page(facts: Facts, limits_of: LimitsOf, overlays: Sequence[Sequence[Overlay]] = ()) -> Page:
    """Return the page of some facts.

    Args:
        facts: all that was read.
        limits_of: the budget of a file.
        overlays: for each bundle, see `report_overlays.look`; empty for none.
    """
    judged = [judge(bundle, facts, limits_of) for bundle in facts.bundles]
    chosen = [choose(group) for group in judged]
    names = _names(facts.bundles)
    models = [
        {**_model(number, bundle, group, choice, facts), "name": name}
        for number, (name, bundle, group, choice) in enumerate(
            zip(names, facts.bundles, judged, chosen, strict=True), 1
        )
    ]
    left_out = _left_out(facts)
    values = {
        "models": models,
        "title": ", ".join(names),
        "heading": names[0] if len(models) == 1 else f"{len(models)} models",
        "lede": _lede(chosen),
        "about": _about(facts),
        "left_out": left_out,
    }
    summary = [
        {
            "model": bundle.model,
            "name": name,
            "ship": None if choice is None else choice.variant.file,
            "verdict": str(Verdict.NO if choice is None else choice.overall),
            "files": [
                {
                    "file": one.variant.file,
                    "verdict": str(one.overall),
                    "why": list(one.why),
                    "budget": _budget(one.limits),
                }
                for one in group
            ],
        }
        for name, bundle, group, choice in zip(names, facts.bundles, judged, chosen, strict=True)
    ]
    return Page(values=values, overlays=overlays, summary={"models": summary, "left_out": left_out})


def render(page: Page) -> str:
    """Return the HTML, with as large overlays as keep it within `MAX_BYTES`.

    Raises:
        ModuleNotFoundError: Jinja2 is not installed.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html")
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    nothing: list[Any] = [[] for _ in page.values["models"]]
    bare = template.render(**page.values, style=style, shots=nothing, dropped=False)
    seen = [one for group in page.overlays for overlay in group for one in overlay.seen]
    if not seen:
        return bare
    pictures = [one.picture for one in seen if one.picture is not None]
    words = sum(400 + 3 * len(one.words.encode()) for one in seen)
    uris = embed(pictures, MAX_BYTES - SLACK - words - len(bare.encode()))
    shots = _shots(page.overlays, uris)
    return template.render(**page.values, style=style, shots=shots, dropped=uris is None)


def _shots(overlays: Sequence[Sequence[Overlay]], uris: list[str] | None) -> list[list[dict[str, Any]]]:
    """Return the overlays for the template; without URIs the words alone."""
    left = iter(uris or ())
    return [
        [
            {
                "sample": overlay.sample,
                "sound": any(one.emotion for one in overlay.seen),
                "seen": [
                    {
                        "short": short_name(one.variant),
                        "words": one.words,
                        "plane": one.emotion and [minus(one.emotion.valence, 3), minus(one.emotion.arousal, 3)],
                        "uri": None if one.picture is None or uris is None else next(left),
                        "wh": None if one.picture is None else (one.picture.shape[1], one.picture.shape[0]),
                    }
                    for one in overlay.seen
                ],
            }
            for overlay in group
        ]
        for group in overlays
    ]


# --- the head -------------------------------------------------------------------


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """Return what bundles are called: by their models, and by their folders, too, where several are of one model."""
    models = [bundle.model for bundle in bundles]
    return [
        bundle.model if models.count(bundle.model) == 1 else f"{bundle.model} ({shown(str(bundle.folder))})"
        for bundle in bundles
    ]


def _lede(chosen: Sequence[Judgement | None]) -> str:
    fit = sum(one is not None and one.overall is Verdict.PASS for one in chosen)
    if len(chosen) == 1:
        return "Which of its files to ship, and every figure behind that."
    return f"{fit} of {len(chosen)} models have a file that is proven to be within its budget."


def _about(facts: Facts) -> list[tuple[str, str]]:
    """Return facts on the whole page: name and words."""
    began = sorted({timing.began for timing in facts.timings if timing.began})
    files = sum(len(bundle.variants) for bundle in facts.bundles)
    rows = [
        ("Exported", f"{counted(files, 'file')} of {counted(len(facts.bundles), 'model')}"),
        ("By", f"edge {', '.join(unique(bundle.edge for bundle in facts.bundles))}"),
        ("On", "; ".join(unique(_machine(bundle.machine) for bundle in facts.bundles))),
        ("Measured", " to ".join(unique(map(_when, (began[0], began[-1])))) if began else "by the export alone"),
    ]
    return [(name, words) for name, words in rows if words]


def _machine(machine: Mapping[str, str]) -> str:
    cores = machine.get("cores", "")
    return ", ".join(part for part in (machine.get("cpu", ""), f"{cores} cores" if cores else "") if part)


def _when(text: str) -> str:
    """Return a time of ISO 8601 to the minute; anything else as it is."""
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}):\d{2}(?:\.\d+)?(?:Z|\+00:00)", text)
    return f"{found[1]} {found[2]} UTC" if found else text


def _left_out(facts: Facts) -> list[str]:
    """Say what was given and is not shown, because it is of none of the files."""
    variants = [variant for bundle in facts.bundles for variant in bundle.variants]
    hashes, names = {variant.sha256 for variant in variants}, {variant.file for variant in variants}
    foreign = {
        "timings": [timing.file for timing in facts.timings if timing.sha256 not in hashes],
        "profiles": [one.file for one in facts.profiles if not any(of_file(variant, one) for variant in variants)],
        "metrics": [one.file for one in facts.qualities if not any(of_file(variant, one) for variant in variants)],
    }
    lines = []
    for what, files in foreign.items():
        told = [f"{file} (another file of that name)" if file in names else file for file in unique(files)]
        if told:
            lines.append(f"{len(files)} {what} of other files: {', '.join(told[:8])}{'…' * (len(told) > 8)}")
    return lines


# --- one model ------------------------------------------------------------------


def _model(
    number: int, bundle: Bundle, group: Sequence[Judgement], choice: Judgement | None, facts: Facts
) -> dict[str, Any]:
    devices = list(dict.fromkeys(device for judged in group for device in judged.timings))
    hashes = {variant.sha256: variant for variant in bundle.variants}
    rows = [timing for timing in facts.timings if timing.sha256 in hashes]
    profiles = [(one, variant) for one in facts.profiles for variant in bundle.variants if of_file(variant, one)]
    qualities = [judged.quality for judged in group if judged.quality is not None]
    return {
        "id": f"m{number}",
        "tags": _tags(bundle),
        "random": bundle.weights == "seeded",
        "answer": str(Verdict.NO if choice is None else choice.overall),
        "card": _card(choice, group),
        "budgets": _budgets(group),
        "devices": devices or _export_devices(group),
        "files": [_file(judged, devices, choice) for judged in group],
        "metric": qualities[0].metric if qualities else None,
        "judged_on": unique(_judged_on(found) for found in qualities),
        "planes": planes(number, points(group)),
        "latencies": latencies(number, rows, hashes),
        "timings": [timing_row(timing, hashes[timing.sha256]) for timing in rows],
        "remarks": remarks(rows, hashes),
        "machines": unique(f"{timing.device}: {timing.machine}" for timing in rows if timing.machine),
        "profiles": [_profile(one, variant) for one, variant in profiles],
        "parity": [_parity(variant, bundle) for variant in bundle.variants],
        "searches": [_search(variant) for variant in bundle.variants if variant.trials],
        "provenance": _provenance(bundle),
        "hashes": [(variant.file, variant.sha256) for variant in bundle.variants],
        "notes": list(bundle.notes),
    }


def _tags(bundle: Bundle) -> list[str]:
    words = [bundle.family, WEIGHTS.get(bundle.weights, bundle.weights)]
    if bundle.parameters is not None:
        words.append(f"{bundle.parameters:,} parameters")
    if bundle.checkpoint_sha256:
        words.append(f"checkpoint {bundle.checkpoint_sha256[:12]}")
    return words


def _budgets(group: Sequence[Judgement]) -> list[str]:
    """Return the budgets of a model's files in words, each with the files that it is for where there are several."""
    files: dict[str, list[str]] = {}
    for judged in group:
        files.setdefault(_budget(judged.limits), []).append(short_name(judged.variant))
    return [words if len(files) == 1 else f"{', '.join(names)}: {words}" for words, names in files.items()]


def _budget(limits: Limits) -> str:
    points = 100 * limits.max_drop
    parts = [in_bytes(limits.max_bytes)]
    if limits.max_ms is not None:
        parts.append(f"a p90 of {limits.max_ms:g} ms")
    for limit in limits.latencies:
        grade = "" if limit.budget.evidence == "measured" else f" ({limit.budget.evidence} will do)"
        parts.append(f"a {limit.name.removesuffix('_ms')} of {limit.value:g} ms on {where(limit.budget)}{grade}")
    if limits.min_sqnr_db is not None:
        parts.append(f"{limits.min_sqnr_db:g} dB")
    words = f"{', '.join(parts)}, and a loss of {points:g} point{'s' * (points != 1)} of the metric"
    source = f" ({limits.source})" if limits.source else ""
    unseen = f"; {', '.join(limits.unseen)}: held by edge gate" if limits.unseen else ""
    return f"{words}{source}{unseen}"


def _export_devices(group: Sequence[Judgement]) -> list[str]:
    return unique(judged.variant.best_device for judged in group if judged.variant.best_ms is not None)


def _card(choice: Judgement | None, group: Sequence[Judgement]) -> dict[str, Any]:
    """Return what stands at a glance: the file to ship, or why there is none."""
    if choice is None:
        nearest = unique(f"{judged.variant.file}: {'; '.join(judged.why)}" for judged in group)
        return {"file": None, "words": "No file passes", "why": nearest[:3], "facts": []}
    variant, limits = choice.variant, choice.limits
    share = min(100.0, 100 * variant.size_bytes / max(limits.max_bytes, 1))
    lines: list[dict[str, Any]] = [
        {
            "name": "Size",
            "value": in_bytes(variant.size_bytes),
            "of": f"of {in_bytes(limits.max_bytes)}",
            "share": f"{share:.1f}",
        }
    ]
    for device, row in choice.timings.items():
        value, budget = _p90_or_interval(row), limits.ms_on(device)
        line: dict[str, Any] = {"name": f"Latency, {device}", "value": value[0], "grade": row.evidence}
        if budget is not None:
            share = min(100.0, 100 * (value[1] or 0) / budget[1]) if budget[1] else 100.0
            line |= {"of": f"of {budget[1]:g} ms", "share": f"{share:.1f}"}
        lines.append(line)
    if not choice.timings and variant.best_ms is not None:
        value_ms = f"quickest run {in_ms(variant.best_ms)} ms"
        lines.append({"name": f"Latency, {variant.best_device}", "value": value_ms, "grade": variant.best_evidence})
    if choice.quality is not None:
        lines.append({"name": choice.quality.metric, "value": _value(choice.quality), "of": _loss(choice.quality)})
    if (worst := _worst(variant)) is not None:
        lines.append({"name": "Parity", "value": worst})
    words = "Ship" if choice.overall is Verdict.PASS else "Closest, not proven"
    return {"file": variant.file, "words": words, "why": list(choice.why), "facts": lines}


def _p90_or_interval(row: Timing) -> tuple[str, float | None]:
    if row.infer is None:
        if row.low_ms is None or row.high_ms is None:
            return f"median {in_ms(row.p50_ms or 0)} ms", row.p50_ms
        return f"{in_ms(row.low_ms)} to {in_ms(row.high_ms)} ms", row.high_ms
    if row.infer.p90_ms is None:
        return f"mean {in_ms(row.infer.mean_ms)} ms", row.infer.mean_ms
    return f"p90 {in_ms(row.infer.p90_ms)} ms", row.infer.p90_ms


def _file(judged: Judgement, devices: Sequence[str], choice: Judgement | None) -> dict[str, Any]:
    variant = judged.variant
    cells = [_cell(judged.timings.get(device)) for device in devices]
    if not devices and variant.best_ms is not None:
        busy = ", busy" if variant.best_busy else ""
        cells = [{"value": f"best {in_ms(variant.best_ms)}{busy}", "grade": variant.best_evidence}]
    quality = judged.quality
    return {
        "file": variant.file,
        "chosen": choice is judged,
        "size": f"{variant.size_bytes:,}",
        "share": f"{100 * variant.size_bytes / max(judged.limits.max_bytes, 1):.0f} %",
        "latencies": cells,
        "value": NO_FIGURE if quality is None else _value(quality),
        "interval": "" if quality is None else _interval(quality),
        "loss": NO_FIGURE if quality is None else _loss(quality) or NO_FIGURE,
        "parity": _worst(variant) or NO_FIGURE,
        "int8": f"{100 * variant.int8_mac_share:.0f} %" if variant.int8_mac_share else NO_FIGURE,
        "answer": str(judged.overall),
        "why": list(judged.why),
    }


def _cell(row: Timing | None) -> dict[str, Any]:
    if row is None:
        return {"value": NO_FIGURE, "grade": ""}
    threads = counted(row.threads, "thread").replace(" ", "\N{NO-BREAK SPACE}")
    return {"value": _p90_or_interval(row)[0].removesuffix(" ms"), "grade": row.evidence, "threads": threads}


def _value(quality: Quality) -> str:
    return f"{quality.value:.3f}"


def _interval(quality: Quality) -> str:
    return "" if quality.low is None or quality.high is None else f"{quality.low:.3f} to {quality.high:.3f}"


def _loss(quality: Quality) -> str:
    if quality.drop is None:
        return ""
    ends = ""
    if quality.drop_low is not None and quality.drop_high is not None:
        ends = f" ({minus(100 * quality.drop_low)} to {minus(100 * quality.drop_high)})"
    return f"loses {minus(100 * quality.drop)} points{ends}"


def _judged_on(quality: Quality) -> str:
    meaning = MEANINGS.get(quality.metric)
    kind = "" if not quality.synthetic or "synthetic" in quality.data else "synthetic, "
    told = f"{quality.metric}: {meaning}; " if meaning else f"{quality.metric}: "
    return (
        f"{told}{counted(quality.samples, 'sample')} of {kind}{quality.data}."
        f" Losses are against {quality.against}, on the same samples, with 95 % intervals."
    )


def _worst(variant: Variant) -> str | None:
    """Return the output that is furthest from PyTorch, by SQNR; of exact ones by error."""
    told = [one for one in variant.parity if one.sqnr_db is not None]
    if told:
        worst = min(told, key=lambda one: one.sqnr_db or 0.0)
        return f"{worst.output} {worst.sqnr_db:.1f} dB"
    return f"{variant.parity[0].output} exact" if variant.parity else None


# --- tables ---------------------------------------------------------------------


def _profile(profile: ProfileShare, variant: Variant) -> dict[str, Any]:
    longest = max((max(layer.time_share, layer.mac_share) for layer in profile.layers), default=0.0) or 1.0
    order = sorted(range(len(profile.layers)), key=lambda index: -profile.layers[index].time_share)
    layers = [_layer(index, layer, longest) for index, layer in enumerate(profile.layers, 1)]
    return {
        "file": short_name(variant),
        "engine": profile.engine,
        "how": profile.how,
        "total": in_ms(profile.total_ms),
        "top": [layers[index] for index in order[:MOST_LAYERS]],
        "rest": layers if len(layers) > MOST_LAYERS else [],
        "count": len(layers),
        "top_share": f"{100 * sum(profile.layers[index].time_share for index in order[:MOST_LAYERS]):.0f} %",
    }


def _layer(number: int, layer: LayerShare, longest: float) -> dict[str, Any]:
    return {
        "number": number,
        "name": layer.name if len(layer.name) <= 60 else f"…{layer.name[-59:]}",
        "op": layer.op,
        "ms": in_ms(layer.ms),
        "time": f"{100 * layer.time_share:.1f} %",
        "macs": f"{100 * layer.mac_share:.1f} %",
        "time_bar": f"{100 * layer.time_share / longest:.1f}",
        "macs_bar": f"{100 * layer.mac_share / longest:.1f}",
    }


def _parity(variant: Variant, bundle: Bundle) -> dict[str, Any]:
    return {
        "file": variant.file,
        "limit": bundle.parity_limits.get(variant.precision, ""),
        "complaints": list(variant.complaints),
        "outputs": [
            {
                "name": one.output,
                "sqnr": NO_FIGURE if one.sqnr_db is None else f"{one.sqnr_db:.1f}",
                "cosine": NO_FIGURE if one.cosine is None else f"{one.cosine:.6f}",
                "error": NO_FIGURE if one.max_error is None else f"{one.max_error:.1e}",
            }
            for one in variant.parity
        ],
    }


def _search(variant: Variant) -> dict[str, Any]:
    return {
        "file": variant.file,
        "recipe": variant.recipe,
        "grade": variant.best_evidence or "measured",
        "trials": [
            {
                "name": trial.name,
                "size": NO_FIGURE if trial.size_bytes is None else f"{trial.size_bytes:,}",
                "sqnr": NO_FIGURE if trial.least_sqnr_db is None else f"{trial.least_sqnr_db:.1f}",
                "ms": maybe_ms(trial.latency_ms),
                "verdict": trial.verdict,
                "reason": trial.reason,
            }
            for trial in variant.trials
        ],
    }


def _provenance(bundle: Bundle) -> list[tuple[str, str]]:
    rows = [
        ("Checkpoint, SHA-256", bundle.checkpoint_sha256),
        ("Inputs of the export, SHA-256", bundle.key),
        ("Parameters", "" if bundle.parameters is None else f"{bundle.parameters:,}"),
        ("edge", bundle.edge),
        ("Machine", ", ".join(f"{name} {value}" for name, value in sorted(bundle.machine.items()))),
        ("Parity judged on", bundle.samples),
        ("Tools", ", ".join(f"{name} {version}" for name, version in sorted(bundle.tools.items()))),
    ]
    return [(name, words) for name, words in rows if words]
