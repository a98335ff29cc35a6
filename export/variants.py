"""From the traced model to every artifact that was asked for: recipe searched, precision inspected, parity judged."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card, Precision, Target
from ..runtime.errors import ConversionError
from ..runtime.parity import compare, judge
from ..runtime.quiet import disturbed
from ..runtime.trust import cache_folder
from . import evaluate, formats, trace
from .calibration import Samples, load_samples
from .child import stop_children
from .exporter import Clock, Say
from .recipe_search import SearchResult, interleaved_latency, interleaved_runs, search
from .request import ExportRequest
from .store import Store, content_key, sha256_file
from .tflite_convert import ROUTES, convert_to_tflite

__all__ = ["build_variants"]


def build_variants(
    request: ExportRequest, key: str, folder: Path, store: Store, *, say: Say, verbose: bool, clock: Clock
) -> dict[str, Any]:
    """Write every artifact of a request into a folder and return the manifest's facts.

    Args:
        request: what to export.
        key: of `request.base_key`.
        folder: empty.
        store: finished stages.
        say: is told what is being done.
        verbose: let converters print.
        clock: adds up what each stage took.

    Raises:
        EdgeError: see `runtime.errors`; a limit that is not held is no error here but a complaint in the facts.
    """
    job = _Job(request=request, key=key, store=store, say=say, verbose=verbose, clock=clock)
    made = {}
    for target, precision in request.variants:
        name = request.file_name(target, precision)
        made[name] = job.variant(target, precision, folder / name)
    say("measuring latency")
    with clock("latency"):
        job.measure([folder / name for name in made], list(made.values()))
    card = job.card
    return {
        "model": card.model,
        "family": card.family,
        "card": card.to_dict(),
        "parameters": job.traced[1]["parameters"],
        "notes": [*job.traced[1]["notes"], *_sample_notes(job.samples)],
        "weights": request.weights_kind,
        "checkpoint_sha256": request.weights and sha256_file(request.weights),
        "samples": {
            "source": job.samples.source,
            "synthetic": job.samples.synthetic,
            "sha256": job.samples.sha256,
            "calibrate": len(job.samples.calibrate),
            "search": len(job.samples.search),
            "parity": len(job.samples.parity),
        },
        "deterministic": "bytes repeat for the same route and recipe; latency on this machine has a say in both",
        "machine": _machine(),
        "variants": {name: entry.facts for name, entry in made.items()},
    }


@dataclass
class _Variant:
    card: Card
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Route:
    name: str


@dataclass
class _Job:
    """The stages of one export; each is computed when first asked for, or taken from the store."""

    request: ExportRequest
    key: str
    store: Store
    say: Say
    verbose: bool
    clock: Clock

    @cached_property
    def samples(self) -> Samples:
        self.say("reading samples" if self.request.calibration else "making synthetic samples")
        with self.clock("samples"):
            request, card = self.request, self._bare_card()
            return load_samples(request.calibration, card, seed=request.seed, min_samples=request.min_samples)

    @cached_property
    def _splits(self) -> dict[str, Sequence[NDArray[np.float32]]]:
        return trace.splits(self.samples)

    def _bare_card(self) -> Card:
        """Return the card before the trace, which needs samples itself."""
        from ..models import registry

        if self.request.factory is None:
            return registry.get(self.request.name).card(self.request.input_hw)
        return self._source.card

    @cached_property
    def _source(self) -> trace.Source:
        return trace.load_source(self.request)

    @cached_property
    def traced(self) -> tuple[Path, dict[str, Any]]:
        def build(folder: Path) -> dict[str, Any]:
            source = self._source  # a wrong checkpoint is told before samples are made
            samples = self.samples
            self.say("exporting to ONNX, asking PyTorch")
            with self.clock("trace"):
                return trace.trace(source, samples, folder)

        return self.store.make(content_key("trace", {"base": self.key}), build)

    @cached_property
    def card(self) -> Card:
        return trace.read_card(self.traced[0])

    def variant(self, target: Target, precision: Precision, out: Path) -> _Variant:
        """Write one artifact and return its card and facts."""

        def build(folder: Path) -> dict[str, Any]:
            return self._build_variant(target, precision, folder)

        key = content_key("variant", {"base": self.key, "target": target, "precision": precision})
        folder, facts = self.store.make(key, build)
        data = (folder / "artifact").read_bytes()
        out.write_bytes(data)
        card = Card.from_json((folder / "card.json").read_text(encoding="utf-8"))
        return _Variant(card, {**facts, "bytes": len(data), "sha256": sha256_file(out)})

    def _build_variant(self, target: Target, precision: Precision, folder: Path) -> dict[str, Any]:
        source, file_card, route = self._float(target)
        tool = formats.FORMATS[target]
        limit = self.card.parity[precision]
        recipe, table = "float", []
        chosen = source
        if precision is not Precision.FP32:
            self.say(f"{target} {precision}: searching a recipe")
            with self.clock(f"{target} {precision}"):
                result = self._search(tool, source, file_card, precision, folder)
            chosen, recipe, table = result.path, result.chosen.name, [row.to_dict() for row in result.table]
        file_card = replace(
            file_card,
            provenance=self.card.provenance,
            artifact={"target": target, "precision": precision, "recipe": recipe, "route": route["chosen"]},
        )
        data = tool.embed_card(chosen.read_bytes(), file_card.to_json())
        for leftover in folder.iterdir():
            leftover.unlink()
        (folder / "artifact").write_bytes(data)
        (folder / "card.json").write_text(file_card.to_json(), encoding="utf-8")
        facts = tool.inspect(data)
        tool.check_precision(facts, precision)
        self.say(f"{target} {precision}: parity")
        with self.clock("parity"):
            parity = self._parity(folder / "artifact", file_card, "parity")
            stress = {}
            if precision in (Precision.FP32, Precision.FP16):  # INT8 ranges know nothing of what no camera gives
                stress = self._parity(folder / "artifact", file_card, "stress")
        name = self.request.file_name(target, precision)
        complaints = [f"{name}: {line}" for line in judge(parity, limit)]
        complaints += [f"{name}: stress inputs: {line}" for line in judge(stress, limit)] if stress else []
        return {
            "target": target,
            "precision": precision,
            "recipe": recipe,
            "route": route,
            "search": table,
            "parity": {output: item.to_dict() for output, item in parity.items()},
            "stress_parity": {output: item.to_dict() for output, item in stress.items()},
            "contents": facts.to_dict(),
            "int8_mac_share": tool.int8_mac_share(facts),
            "complaints": complaints,
        }

    def _search(
        self, tool: formats.Format, source: Path, card: Card, precision: Precision, folder: Path
    ) -> SearchResult[Any]:
        samples = [evaluate.to_file_layout(sample, self.card, card) for sample in self.samples.calibrate]
        quantise = tool.quantiser(source, samples)

        def build(recipe: Any) -> Path:
            out = folder / f"{recipe.name}.{tool.target}"
            quantise(recipe, out)
            tool.check_precision(tool.inspect(out.read_bytes()), precision)
            return out

        return search(
            tool.candidates(source, precision),
            build,
            lambda path: self._parity(path, card, "search"),
            self.card.parity[precision],
            lambda paths: self._latencies([(path, card) for path in paths]),
        )

    def _float(self, target: Target) -> tuple[Path, Card, dict[str, Any]]:
        """Return the float32 file of a target without a card inside, its card, and how it came about."""
        if target is Target.ONNX:
            return self.traced[0] / "model.onnx", self.card, {"chosen": "torch.onnx dynamo"}
        choice = self._route
        folder = self._converted(choice["chosen"])[0]
        return folder / "model.tflite", trace.read_card(folder), choice

    @cached_property
    def _route(self) -> dict[str, Any]:
        """Convert by one route or both; of both, take the one that holds parity at the better latency."""
        routes = list(ROUTES) if self.request.via == "auto" else [self.request.via]

        def build(folder: Path) -> dict[str, Any]:
            failed = self._convert_all(routes)
            cards: dict[Path, Card] = {}

            def made(route: _Route) -> Path:
                if route.name in failed:
                    raise failed[route.name]
                entry = self._converted(route.name)[0]
                cards[entry / "model.tflite"] = trace.read_card(entry)
                return entry / "model.tflite"

            self.say("choosing the route to TFLite")
            with self.clock("route"):
                result = search(
                    [_Route(name) for name in routes],
                    made,
                    lambda path: self._parity(path, cards[path], "search"),
                    self.card.parity[Precision.FP32],
                    lambda paths: self._latencies([(path, cards[path]) for path in paths]),
                )
            return {"chosen": result.chosen.name, "table": [row.to_dict() for row in result.table]}

        return self.store.make(content_key("route", {"base": self.key}), build)[1]

    def _convert_all(self, routes: Sequence[str]) -> dict[str, ConversionError]:
        """Run the converters side by side, each a process of its own; return the errors of those that gave up."""
        missing = [route for route in routes if self.store.find(self._route_key(route)) is None]
        if not missing:
            return {}
        _ = self.traced, self.card  # computed here, not by two threads at once
        self.say(f"converting to TFLite by {' and '.join(missing)}")
        with self.clock("convert"), ThreadPoolExecutor(len(missing)) as pool:
            waiting = {route: pool.submit(self._converted, route) for route in missing}
            try:
                errors = {route: future.exception() for route, future in waiting.items()}
            except BaseException:  # Ctrl-C: the pool would wait for the converters
                stop_children()
                raise
        failed: dict[str, ConversionError] = {}
        for route, error in errors.items():
            if isinstance(error, ConversionError):
                failed[route] = error
                self.say(f"{route} gave up: {error}")
            elif error is not None:
                raise error
        if len(failed) == len(routes):
            raise failed[routes[0]]
        return failed

    def _converted(self, route: str) -> tuple[Path, dict[str, Any]]:
        # Beside the store, so that the log an error names is still there when somebody wants to read it.
        work = cache_folder() / "logs" / f"{self.request.name}-{route}-{os.getpid()}"

        def build(folder: Path) -> dict[str, Any]:
            card = convert_to_tflite(
                program=self.traced[0] / "program.pt2",
                onnx=self.traced[0] / "model.onnx",
                card=self.card,
                via=route,
                out=folder / "model.tflite",
                work=work,
                timeout_s=self.request.timeout_s,
                verbose=self.verbose,
            )
            (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
            shutil.copy2(work / f"{route}.log", folder / "converter.log")
            shutil.rmtree(work)
            return {}

        return self.store.make(self._route_key(route), build)

    def _route_key(self, route: str) -> str:
        return content_key("route-file", {"base": self.key, "route": route})

    def _parity(self, path: Path, card: Card, split: str) -> dict[str, Any]:
        inputs = self._splits[split]
        return compare(trace.read_answers(self.traced[0], split), evaluate.run_artifact(path, card, self.card, inputs))

    def _runners(self, files: Sequence[tuple[Path, Card]]) -> list[Callable[[], object]]:
        sample = self.samples.search[0]
        return [evaluate.open_runner(path, card, self.card, sample) for path, card in files]

    def _latencies(self, files: Sequence[tuple[Path, Card]]) -> list[float]:
        return interleaved_latency(self._runners(files))

    def measure(self, paths: Sequence[Path], variants: Sequence[_Variant]) -> None:
        """Time all artifacts of this run against each other, round by round, and note the best."""
        files = [(path, variant.card) for path, variant in zip(paths, variants, strict=True)]
        for variant, runs in zip(variants, interleaved_runs(self._runners(files)), strict=True):
            variant.facts["latency"] = {
                "best_ms": min(runs.wall_ms),
                "threads": 1,
                "evidence": "measured",
                "device": "host",
                "busy": disturbed(runs.wall_ms, runs.cpu_ms),
            }


def _sample_notes(samples: Samples) -> list[str]:
    if not samples.synthetic:
        return []
    return [f"calibrated and judged on {samples.source}; give real data with --calibration"]


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            cpu = next(line.partition(":")[2].strip() for line in stream if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform()}
