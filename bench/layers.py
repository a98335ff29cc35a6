"""Where the time of an inference goes: each layer's share of time beside its share of multiply-adds.

- onnxruntime times every kernel itself. Its graph is the optimised one: what it fused appears as one layer.
- LiteRT tells nothing of the kernels inside its delegate. So the file is cut after each operator, whatever is still
  needed behind the cut becoming an output, and the parts are timed in turns. A layer's time is what it adds. Times of
  longer parts can only be larger; where noise says otherwise they are pooled (isotonic regression), so that layers are
  never negative and add up to the whole.

Both are of one thread.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np

from ..runtime.card import Target
from ..runtime.embedded import file_target, read_card
from ..runtime.engines import noise_input, quiet_stderr
from ..runtime.errors import ArtifactError, EdgeError
from ..runtime.isolate import guard
from ..runtime.progress import Progress
from ..runtime.trust import file_digest
from .operators import read_operators

__all__ = ["Layer", "Profile", "pool", "profile"]

RUNS = 40
SETTLE = 3
MOST_LAYERS = 2000
HOW = {
    "onnxruntime": "by onnxruntime's own profiler",
    "litert": "by cutting the file after each operator, and pooling",
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as it ran.

    Attributes:
        name: of its output or node.
        op: its kind, in the engine's words.
        ms: median, processor time (LiteRT) or wall clock (onnxruntime).
        time_share: of all layers, 0..1.
        macs: multiply-adds of one inference.
        mac_share: of all layers, 0..1.
    """

    name: str
    op: str
    ms: float
    time_share: float
    macs: int
    mac_share: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All layers of an artifact, in the order they run.

    Attributes:
        file, sha256: name and hash of the artifact.
        engine: that ran it.
        how: what the times are, in words.
        total_ms: of all layers.
        layers: in order.
    """

    file: str
    sha256: str
    engine: str
    how: str
    total_ms: float
    layers: tuple[Layer, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        from dataclasses import asdict

        values = asdict(self)
        values["layers"] = list(values["layers"])
        return values


def profile(artifact: Path, *, runs: int = RUNS, progress: Progress | None = None) -> Profile:
    """Return where the time of an inference goes.

    Args:
        artifact: ONNX or TFLite file with a card.
        runs: timed inferences; of LiteRT, of each part.
        progress: told of cuts and rounds; None tells nobody.

    Raises:
        EdgeError: the file is refused, or has too many layers.
    """
    card = read_card(artifact)
    guard(artifact, card)
    tensor = noise_input(card)
    if file_target(artifact) is Target.ONNX:
        rows, engine = _by_onnxruntime(artifact, tensor, runs), "onnxruntime"
    else:
        rows, engine = _by_cutting(artifact, tensor, runs, progress or Progress(quiet=True)), "litert"
    total_ms = sum(ms for _, _, ms, _ in rows)
    total_macs = sum(macs for *_, macs in rows)
    layers = tuple(
        Layer(
            name=name,
            op=op,
            ms=round(ms, 6),
            time_share=ms / total_ms if total_ms else 0.0,
            macs=macs,
            mac_share=macs / total_macs if total_macs else 0.0,
        )
        for name, op, ms, macs in rows
    )
    return Profile(
        file=artifact.name,
        sha256=file_digest(artifact),
        engine=engine,
        how=HOW[engine],
        total_ms=round(total_ms, 6),
        layers=layers,
    )


Rows = list[tuple[str, str, float, int]]  # name, op, ms, multiply-adds


# --- onnxruntime ----------------------------------------------------------------


def _by_onnxruntime(artifact: Path, tensor: Any, runs: int) -> Rows:
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="edge-profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(
                artifact.read_bytes(), options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
            name = session.get_inputs()[0].name
            for _ in range(SETTLE + runs):
                session.run(None, {name: tensor})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as exc:
            raise ArtifactError("onnxruntime cannot profile the file", got=str(exc)[:160]) from exc
    return kernel_times(events, SETTLE, _macs_by_node(artifact))


def kernel_times(events: Sequence[Mapping[str, Any]], settle: int, known: Mapping[str, int]) -> Rows:
    """Return the layers in onnxruntime's profile: for each node the median of its runs after the first few.

    Args:
        events: of the profile's JSON.
        settle: runs of each node that are passed over.
        known: multiply-adds by name of a node, for kernels whose packed weights the profile no longer shows.
    """
    nodes: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            nodes.setdefault(str(event["args"].get("node_index")), []).append(event)
    rows = []
    for found in nodes.values():
        args = found[0]["args"]
        ms = statistics.median(float(event["dur"]) for event in (found[settle:] or found)) / 1e3
        name = str(found[0]["name"]).removesuffix("_kernel_time").removesuffix("_nchwc")
        name = re.sub(r"_token_[0-9]+$", "", name)  # what the optimiser adds to the names of fused nodes
        op = str(args.get("op_name"))
        rows.append((name, op, ms, known.get(name) or _macs(op, args)))
    return rows


def _macs_by_node(artifact: Path) -> dict[str, int]:
    import onnx

    by_output = {operator.name: operator.macs for operator in read_operators(artifact)}
    graph = onnx.load(str(artifact), load_external_data=False).graph
    return {node.name: by_output.get(node.output[0], 0) for node in graph.node if node.name and node.output}


def _macs(op: str, args: Mapping[str, Any]) -> int:
    """Return the multiply-adds of a kernel from the shapes that onnxruntime noted."""
    taken = [next(iter(item.values())) for item in args.get("input_type_shape", []) if item]
    given = [next(iter(item.values())) for item in args.get("output_type_shape", []) if item]
    if not taken or not given:
        return 0
    if "ConvTranspose" in op:
        weights = next((shape for shape in taken[1:] if len(shape) == len(taken[0])), None)
        return math.prod(taken[0]) * math.prod(weights[1:]) if weights else 0
    if "Conv" in op:
        weights = next((shape for shape in taken[1:] if len(shape) == len(given[0])), None)
        return math.prod(given[0]) * math.prod(weights[1:]) if weights else 0
    if "MatMul" in op or "Gemm" in op:
        return int(math.prod(given[0]) * taken[0][-1])
    return 0


# --- LiteRT ---------------------------------------------------------------------


def _by_cutting(artifact: Path, tensor: Any, runs: int, progress: Progress) -> Rows:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(artifact))
    graph = model.subgraphs[0]
    if len(model.subgraphs) != 1 or len(graph.operators) > MOST_LAYERS:
        raise EdgeError(f"`{artifact.name}` cannot be profiled", expected=f"one graph of up to {MOST_LAYERS} operators")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    macs = {operator.name: operator.macs for operator in read_operators(artifact)}
    calls = []
    for count in range(1, len(graph.operators) + 1):
        calls.append(_opened(_cut(model, count, flatbuffer_utils), tensor))
        progress.at(count, len(graph.operators), "cutting")
    times = _in_turns(calls, runs, progress)
    cumulative = pool(times)
    rows = []
    for index, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        op = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        name = _text(graph.tensors[operator.outputs[0]].name)
        ms = cumulative[index] - (cumulative[index - 1] if index else 0.0)
        rows.append((name, op, ms, macs.get(name, 0)))
    return rows


def _cut(model: Any, count: int, utils: Any) -> bytes:
    """Return the file with its first operators alone; what they make and others need is given out."""
    graph = model.subgraphs[0]
    kept, rest = graph.operators[:count], graph.operators[count:]
    made = {index for operator in kept for index in operator.outputs}
    needed = {index for operator in rest for index in operator.inputs} | set(graph.outputs)
    cut = copy.copy(model)
    part = copy.copy(graph)
    part.operators = kept
    part.outputs = sorted(made & needed)
    cut.subgraphs = [part]
    cut.signatureDefs = []
    return bytes(utils.convert_object_to_bytearray(cut))


def _opened(content: bytes, tensor: Any) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    except Exception as exc:
        raise ArtifactError("LiteRT refuses a part of the file", got=str(exc)[:160]) from exc
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def _in_turns(calls: Sequence[Callable[[], object]], runs: int, progress: Progress) -> list[float]:
    """Return the median processor time of each call, ms; every round runs all of them."""
    samples: list[list[float]] = [[] for _ in calls]
    for round_number in range(SETTLE + runs):
        for call, times in zip(calls, samples, strict=True):
            call()  # the part before it has taken the caches
            began = thread_time()
            call()
            times.append((thread_time() - began) * 1e3)
        progress.at(round_number + 1, SETTLE + runs, "timing")
    return [statistics.median(times[SETTLE:]) for times in samples]


def pool(values: Sequence[float]) -> list[float]:
    """Return the closest values, by squares, that never fall: isotonic regression by pooling adjacent violators.

    Args:
        values: in order.

    Source: Ayer et al., "An empirical distribution function for sampling with incomplete information", 1955.
    """
    blocks: list[tuple[float, int]] = []  # mean, how many
    for value in values:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (left, first), (right, second) = blocks[-2], blocks[-1]
            blocks[-2:] = [((left * first + right * second) / (first + second), first + second)]
    return np.repeat([mean for mean, _ in blocks], [count for _, count in blocks]).tolist()


def _text(name: str | bytes | os.PathLike[str]) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
