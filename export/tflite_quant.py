"""Quantise a float TFLite file with ai-edge-quantizer, by recipes that name operators, never models.

    fp16      weights in half precision, each behind a DEQUANTIZE that XNNPACK folds when it loads the file
    int8      static: INT8 weights per channel and INT8 activations, ranges from true minima and maxima
    dynamic   INT8 weights per channel; activations are quantised while it runs
    w8a16     INT8 weights per channel and INT16 activations

Input and outputs stay float32 in all of them. `candidates` lists what is worth trying on a graph; which one is best is
for a search on samples of its own to say.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import io
import math
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConversionError
from .onnx_sensitivity import Part
from .tflite_equalise import can_equalise, equalise
from .tflite_file import SIGNATURE, name_tensors
from .tflite_inspect import MAC_FLOOR, WEIGHTED, inspect, op_table
from .tflite_islands import merge_float_islands
from .tflite_ranges import check_factors, widen_points
from .tflite_rounding import round_kernels_to_half, round_kernels_to_int8, smallest_layers
from .tflite_sensitivity import least_noise, measure_noise, parts, within_budget

__all__ = ["TfliteRecipe", "candidates", "quantise"]

Float32 = NDArray[np.float32]
Ranges = dict[str, dict[str, Any]]

SPATIAL = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
# Operators that only move numbers or pick among them: quantising them adds no error of its own.
CARRIERS = (
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D", "MIRROR_PAD", "PAD", "RELU", "RESHAPE",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip
# Where a sampling place is computed or looked up; a rounded coordinate is another place.
PLACES = ("FLOOR", "GATHER", "GATHER_ND", "CAST")
SQUASHING = ("LOGISTIC", "SOFTMAX", "TANH")
FILTERS = (*SPATIAL, "LEAKY_RELU", "CONCATENATION", "MAX_POOL_2D", "AVERAGE_POOL_2D", "FULLY_CONNECTED")
MAX_STEMS = 4
BUDGETS_DB = (21.5, 22.5, 24.0)  # the INT8 limit of 20 dB with the margin of the search, 1.9, and above
NOISE_SAMPLES = 2
THREADS = 2


@dataclass(frozen=True, kw_only=True)
class TfliteRecipe:
    """One way of quantising one file.

    Attributes:
        name: word for tables and manifests.
        kind: "fp16", "int8", "dynamic" or "w8a16".
        ops: operators that are quantised; empty means all that the quantiser supports.
        keep_float: names of tensors whose operators stay float, whatever `ops` says.
        equalised: channels are brought to like ranges first; see `tflite_equalise`.
        budget_db: SQNR that all quantised parts together may leave by `tflite_sensitivity`, dB; all else stays float.
            0: as much as `MAC_FLOOR` leaves. None: no measurement; `ops` and `keep_float` decide.
    """

    name: str
    kind: str
    ops: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()
    equalised: bool = False
    budget_db: float | None = None


def candidates(source: Path, precision: str) -> list[TfliteRecipe]:
    """Return the recipes worth trying on a file, the most thorough first.

    Args:
        source: float32 TFLite file from `convert_to_tflite`.
        precision: "fp16", "int8", "dynamic" or "w8a16".

    Returns:
        At least one. For `int8`, only recipes that leave `MAC_FLOOR` of the multiply-adds in INT8.

    Raises:
        ConversionError: nothing in the graph can be quantised so.
    """
    if precision == "fp16":
        kept = smallest_layers(source.read_bytes())
        return [TfliteRecipe(name="fp16-weights", kind="fp16", keep_float=kept)]
    data = source.read_bytes()
    graph = _Graph(data)
    if not graph.macs:
        raise ConversionError(f"`{source.name}` holds nothing that can be quantised", got=sorted(set(graph.kinds)))
    if precision == "dynamic":
        recipes = [TfliteRecipe(name="dynamic-all", kind="dynamic", ops=WEIGHTED)]
        if graph.equalisable:
            recipes.append(dataclasses.replace(recipes[0], name="dynamic-all-equalised", equalised=True))
        if "FULLY_CONNECTED" in graph.kinds:
            recipes.append(TfliteRecipe(name="dynamic-fc", kind="dynamic", ops=("FULLY_CONNECTED",)))
    elif precision in ("int8", "w8a16"):
        recipes = _static(graph, precision)
    else:
        raise ConversionError("precision is not known", got=precision)
    fit = [recipe for recipe in _distinct(recipes, graph) if graph.share(recipe) >= MAC_FLOOR]
    if precision == "int8" and {"GATHER", "GATHER_ND"} & set(graph.kinds):
        # Learned sampling leaves so little to quantise that coarse rules fail, and a search for parts pays.
        fit += _within_budgets(graph)
    if not fit:
        raise ConversionError(f"`{source.name}` cannot have half of its multiply-adds in {precision}")
    return fit


def quantise(source: Path, recipe: TfliteRecipe, samples: Sequence[Float32], out: Path) -> None:
    """Write the quantised file of a float one.

    Args:
        source: float32 TFLite file with one input and one signature.
        recipe: from `candidates`.
        samples: calibration inputs, each float32 of the input's shape; used by static recipes only.
        out: file to write.

    Raises:
        ConversionError: the quantiser refused, or a static recipe has no samples.
    """
    data = source.read_bytes()
    try:
        with _quiet():
            made = _quantised(data, recipe, samples)
    except ConversionError:
        raise
    except Exception as exc:  # ai-edge-quantizer raises ValueError, KeyError, RuntimeError as they come
        line = str(exc).strip().splitlines()
        raise ConversionError(
            f"recipe `{recipe.name}` cannot be applied to `{source.name}`",
            got=line[0][:150] if line else type(exc).__name__,
        ) from exc
    if recipe.kind == "int8":
        made = merge_float_islands(made)
        check_factors(made)
    rim = inspect(data)
    # The quantiser calls the float copy of an output `…_dequant`.
    names = [(at, item.name) for at, item in enumerate(rim.outputs)]
    out.write_bytes(name_tensors(made, input_name=rim.inputs[0].name, outputs=names))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and advice of the quantiser off the terminal."""
    sink = io.StringIO()
    with contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Graph:
    """What the recipes of one file depend on."""

    def __init__(self, data: bytes) -> None:
        facts = inspect(data)
        table = op_table(data)
        self.kinds = [row.op for row in table]
        self.names = [row.output for row in table]
        self.shapes = [row.shape for row in table]
        place = {name: at for at, name in enumerate(self.names)}
        self.inputs = [row.inputs for row in table]
        self.before = [[place[name] for name in row.inputs if name in place] for row in table]
        self.equalisable = can_equalise(data)
        self.macs = {item.output: (item.op, item.macs) for item in facts.computes}

    def share(self, recipe: TfliteRecipe) -> float:
        """Return the share of multiply-adds that a recipe quantises, 0..1."""
        total = sum(macs for _, macs in self.macs.values())
        held = set(recipe.keep_float)
        done = sum(
            macs for name, (op, macs) in self.macs.items() if name not in held and (not recipe.ops or op in recipe.ops)
        )
        return done / total if total else 0.0

    def joins_with_constants(self) -> tuple[str, ...]:
        """Return concatenations of a map and a constant: zero padding, as onnx2tf leaves it.

        ai-edge-quantizer 0.10.0 cannot give such a constant a scale ("ranks of scales").
        """
        rows = zip(self.names, self.kinds, self.inputs, self.before, strict=True)
        return tuple(name for name, kind, inputs, made in rows if kind == "CONCATENATION" and len(inputs) > len(made))

    def stems(self) -> list[tuple[str, ...]]:
        """Return tensors up to the 1st, 2nd, … halving of the map: the high-resolution beginnings of the graph."""
        sizes = [shape[1] * shape[2] if len(shape) == 4 else 0 for shape in self.shapes]
        starts: list[int] = []
        smallest = 0
        for at, (kind, size) in enumerate(zip(self.kinds, sizes, strict=True)):
            if kind not in (*SPATIAL, "MAX_POOL_2D", "AVERAGE_POOL_2D") or size <= 1:
                continue
            if smallest and size < smallest:
                starts.append(at)
            smallest = min(size, smallest) if smallest else size
        return [tuple(self.names[:at]) for at in starts[:MAX_STEMS]]

    def tail(self) -> tuple[str, ...]:
        """Return the tensors that no multiplication follows: what is left between the last weights and the outputs."""
        last = max((at for at, kind in enumerate(self.kinds) if kind in WEIGHTED), default=-1)
        loose = {"CONCATENATION", "RESHAPE", *SQUASHING}
        ends = [at for at, kind in enumerate(self.kinds) if kind in loose and (at > last or self._rank(at) == 3)]
        return tuple(self.names[at] for at in ends)

    def ends_in_probabilities(self) -> bool:
        """Tell whether the tail squashes its input, as a softmax does.

        In 8 bits such an output has 256 values: boxes of different scores tie, weak ones become 0, and ranking them
        suffers (1.9 points of a pruned face student's AP, against 0.1 with a float tail), though its SQNR is the best
        of all outputs. The operators cost next to nothing in float.
        """
        held = set(self.tail())
        return any(kind in SQUASHING and name in held for name, kind in zip(self.names, self.kinds, strict=True))

    def sampling(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what samples a map at learned places: (the operators of that, the convolutions that say where).

        From every operator that rounds or looks up a place, upstream to the convolution that gives the offsets and
        downstream to the next operator that filters.
        """
        marked = [at for at, kind in enumerate(self.kinds) if kind in PLACES]
        after: list[list[int]] = [[] for _ in self.kinds]
        for at, sources in enumerate(self.before):
            for source in sources:
                after[source].append(at)
        floors = [at for at in marked if self.kinds[at] == "FLOOR"]
        up = self._reach(floors, self.before)
        offsets = {at for at in up if self.kinds[at] in SPATIAL}
        down = self._reach(marked, after)
        body = {at for at in up | down if self.kinds[at] not in FILTERS}
        return tuple(self.names[at] for at in sorted(body)), tuple(self.names[at] for at in sorted(offsets))

    def _reach(self, starts: Sequence[int], edges: Sequence[Sequence[int]]) -> set[int]:
        """Return what is reached along the edges, up to and including operators that filter."""
        seen, left = set(starts), list(starts)
        while left:
            for other in edges[left.pop()]:
                if other not in seen:
                    seen.add(other)
                    if self.kinds[other] not in FILTERS:
                        left.append(other)
        return seen

    def _rank(self, at: int) -> int:
        return len(self.shapes[at])


def _static(graph: _Graph, kind: str) -> list[TfliteRecipe]:
    """Return recipes that differ in what stays float: a stem of high resolution, the tail, the offsets of sampling."""
    if "BATCH_MATMUL" in graph.kinds:
        # A transformer: attention, softmax and GELU lose too much in INT8, its projections do not.
        return [
            TfliteRecipe(name="static-fc-conv", kind=kind, ops=WEIGHTED),
            TfliteRecipe(name="static-fc", kind=kind, ops=("FULLY_CONNECTED",)),
        ]
    sampling, offsets = graph.sampling()
    sampling = _union(sampling, graph.joins_with_constants())
    tail, stems = graph.tail(), graph.stems()
    ends: tuple[tuple[str, ...], ...] = ((), tail)
    if graph.ends_in_probabilities():
        ends = (tail,)
    recipes = []
    for stem_word, stem in [("-all", ()), *((f"-float-stem{at}", stem) for at, stem in enumerate(stems, 1))]:
        for end in ends:
            name = f"static{stem_word}{'-float-tail' if end else ''}"
            recipes.append(TfliteRecipe(name=name, kind=kind, keep_float=_union(sampling, stem, end)))
    if offsets:
        kept = _union(sampling, offsets, stems[-1] if stems else (), tail)
        recipes.append(TfliteRecipe(name="static-float-offsets", kind=kind, keep_float=kept))
    ops = (*WEIGHTED, *CARRIERS)
    recipes.append(TfliteRecipe(name="static-weighted", kind=kind, ops=ops, keep_float=sampling))
    if graph.equalisable:
        better = [dataclasses.replace(item, name=f"{item.name}-equalised", equalised=True) for item in recipes]
        return [recipes[0], *better]
    return recipes


def _within_budgets(graph: _Graph) -> list[TfliteRecipe]:
    """Return recipes that measure which parts bear 8 bits."""
    words = [("static-least-noise", 0.0), *((f"static-within-{db:g}db", db) for db in BUDGETS_DB)]
    return [
        TfliteRecipe(name=name, kind="int8", ops=WEIGHTED, equalised=graph.equalisable, budget_db=db)
        for name, db in words
    ]


def _distinct(recipes: Sequence[TfliteRecipe], graph: _Graph) -> list[TfliteRecipe]:
    """Drop recipes that quantise the same operators as an earlier one."""
    from ai_edge_quantizer import qtyping

    known = {str(item.value) for item in qtyping.TFLOperationName}
    kept: dict[tuple[bool, frozenset[str]], TfliteRecipe] = {}
    for recipe in recipes:
        ops, held = set(recipe.ops) or known, set(recipe.keep_float)
        done = (name for name, kind in zip(graph.names, graph.kinds, strict=True) if kind in ops and name not in held)
        kept.setdefault((recipe.equalised, frozenset(done)), recipe)
    return list(kept.values())


def _union(*parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(OrderedDict.fromkeys(name for part in parts for name in part))


def _quantised(data: bytes, recipe: TfliteRecipe, samples: Sequence[Float32]) -> bytes:
    if (recipe.equalised or recipe.kind in ("int8", "w8a16")) and not len(samples):
        raise ConversionError(f"recipe `{recipe.name}` needs calibration samples", got=0)
    if recipe.equalised:
        data = _remembered(data, samples, "equalised", lambda: equalise(data, samples))
    needed = recipe.kind in ("int8", "w8a16")
    ranges = _remembered(data, samples, "ranges", lambda: _measure(data, samples)) if needed else None
    if recipe.budget_db is not None and ranges is not None:
        recipe = _chosen_by_noise(data, recipe, samples, ranges)
    return _applied(data, recipe, ranges)


def _chosen_by_noise(data: bytes, recipe: TfliteRecipe, samples: Sequence[Float32], ranges: Ranges) -> TfliteRecipe:
    """Return a recipe with a budget as one that says what stays float."""
    graph = _Graph(data)
    macs = {name: count for name, (op, count) in graph.macs.items() if op in recipe.ops}

    def only(names: Iterable[str]) -> TfliteRecipe:
        chosen = set(names)
        return dataclasses.replace(recipe, keep_float=tuple(name for name in graph.names if name not in chosen))

    def measure() -> dict[Part, float]:
        step = max(len(samples) // NOISE_SAMPLES, 1)
        wanted, some = parts(op_table(data), macs), samples[::step][:NOISE_SAMPLES]
        return measure_noise(data, wanted, some, lambda part: _applied(data, only(part), ranges))

    noise = _remembered(data, samples, "noise", measure)
    floor = math.ceil(MAC_FLOOR * sum(count for _, count in graph.macs.values()))
    if recipe.budget_db == 0:
        return only(least_noise(noise, macs, floor))
    names = within_budget(noise, macs, recipe.budget_db or 0.0)
    if sum(macs[name] for name in names) < floor:
        raise ConversionError(f"recipe `{recipe.name}` leaves less than half of the multiply-adds in INT8")
    return only(names)


def _applied(data: bytes, recipe: TfliteRecipe, ranges: Ranges | None) -> bytes:
    """Return the quantised file of one whose channels and ranges are settled."""
    from ai_edge_quantizer import quantizer

    if recipe.kind == "fp16":
        data = round_kernels_to_half(data, recipe.keep_float)
    else:
        data = round_kernels_to_int8(data, recipe.ops, recipe.keep_float)
    tool = quantizer.Quantizer(data)
    _load(tool, recipe)
    made = tool.quantize(copy.deepcopy(ranges), enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)


def _load(tool: Any, recipe: TfliteRecipe) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    names = qtyping.TFLOperationName
    float_casting = algorithm_manager.AlgorithmName.FLOAT_CASTING
    for op in [_ai_edge_name(op) for op in recipe.ops] or [names.ALL_SUPPORTED]:
        if recipe.kind == "int8":
            tool.add_static_config(".*", op, activation_num_bits=8, weight_num_bits=8)
        elif recipe.kind == "w8a16":
            tool.add_static_config(".*", op, activation_num_bits=16, weight_num_bits=8)
        elif recipe.kind == "dynamic":
            tool.add_dynamic_config(".*", op, num_bits=8)
        else:
            half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
            config = qtyping.OpQuantizationConfig(
                weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
            )
            for weighted in WEIGHTED:
                tool.update_quantization_recipe(".*", _ai_edge_name(weighted), config, float_casting)
    never = algorithm_manager.AlgorithmName.NO_QUANTIZE
    for rim in (names.INPUT, names.OUTPUT):
        tool.update_quantization_recipe(".*", rim, algorithm_key=never)
    if recipe.keep_float:
        # An operator's scope is its output names, each with a semicolon behind it.
        either = "|".join(re.escape(name) for name in recipe.keep_float)
        tool.update_quantization_recipe(f"(^|;)({either});", names.ALL_SUPPORTED, algorithm_key=never)


def _ai_edge_name(op: str) -> Any:
    from ai_edge_quantizer import qtyping

    return qtyping.TFLOperationName("CONV_2D_TRANSPOSE" if op == "TRANSPOSE_CONV" else op)


# Neither ranges nor equalised weights depend on the recipe: a search over recipes makes them once. The cache holds
# the last few files only, and is keyed by content.
_CACHE: OrderedDict[str, Any] = OrderedDict()
_CACHED = 4


def _remembered(data: bytes, samples: Sequence[Float32], what: str, make: Callable[[], Any]) -> Any:
    digest = hashlib.sha256(data)
    for sample in samples:
        digest.update(np.ascontiguousarray(sample).tobytes())
    key = f"{what}:{digest.hexdigest()}"
    if key not in _CACHE:
        _CACHE[key] = make()
        while len(_CACHE) > _CACHED:
            _CACHE.popitem(last=False)
    return copy.deepcopy(_CACHE[key])  # the quantiser writes into the ranges it is given


def _measure(data: bytes, samples: Sequence[Float32]) -> Ranges:
    """Return the smallest and largest value of every tensor over all samples.

    ai-edge-quantizer's own update is a moving average, which clips what is rare: heatmap peaks, for example.
    """
    from ai_edge_quantizer import calibrator, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    everything = recipe_manager.RecipeManager()
    everything.load_quantization_recipe(recipe.static_wi8_ai8())
    tool = calibrator.Calibrator(
        data,
        num_threads=THREADS,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    input_name = inspect(data).inputs[0].name
    rows = [{input_name: np.ascontiguousarray(sample, np.float32)} for sample in samples]
    tool.calibrate({SIGNATURE: rows}, everything)
    ranges: Ranges = tool.get_model_qsvs()
    widen_points(ranges)
    return ranges
