"""The converters' own process: one job in, one float TFLite file out.

Run as `python -m edge.export.tflite_worker JOB.json`; `tflite_convert` writes the job and reads the file. On failure
the last line printed says what stood in the way, for `child.run_child` to pass on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card
from ..runtime.errors import ConversionError, EdgeError
from .tflite_file import TensorInfo, name_tensors, output_tensors
from .tflite_inspect import inspect

__all__ = ["convert_with_litert_torch", "convert_with_onnx2tf", "main", "match_outputs"]

# onnx2tf looks for this sample in its working folder before it tries to fetch one; any numbers serve.
SAMPLE_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"
SAMPLE_SHAPE = (20, 128, 128, 3)


def main(argv: Sequence[str]) -> int:
    """Convert what the job file names; return the exit code."""
    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    card = Card.from_dict(job["card"])
    out = Path(job["out"])
    warnings.simplefilter("ignore")
    try:
        with _inside(Path(job["work"])):
            if job["via"] == "litert-torch":
                data = convert_with_litert_torch(Path(job["program"]), card)
            else:
                data = convert_with_onnx2tf(Path(job["onnx"]), card)
        _refuse_foreign(data)
        out.write_bytes(data)
    except EdgeError as exc:
        _last_line(str(exc))
        return 1
    except (Exception, SystemExit) as exc:  # converters raise what they like, and call sys.exit
        traceback.print_exc()
        _last_line(_reason(exc))
        return 1
    return 0


def convert_with_litert_torch(program: Path, card: Card) -> bytes:
    """Return the float TFLite file of an exported program, maps channels-last, named as the card says.

    Args:
        program: a `.pt2` file whose one input and whose outputs are those of the card.
        card: of the PyTorch module.

    Raises:
        ConversionError: an operator of the program has no TFLite counterpart.
    """
    import litert_torch
    import torch

    from ..models import deform  # noqa: F401  # registers edge::deform_conv2d, which the program may hold
    from .deform_tflite import lower_deformable, teach_litert_torch
    from .tflite_prepare import allow_padding_channels_last, prepare

    shape = _rim_shape(card.input.shape, card.input.layout)
    sample = (torch.zeros(shape),)
    with torch.no_grad():
        inner = _module(torch.export.load(program))
        if lower_deformable(inner):
            teach_litert_torch()
        wrapped = torch.export.export(_channels_last(inner, card), sample, strict=False)
        graph = _module(wrapped)
        counts = prepare(graph)
        print("prepared:", json.dumps(counts, sort_keys=True))
        allow_padding_channels_last()
        try:
            made = litert_torch.convert(graph, sample)
        except Exception as exc:
            missing = _without_lowering(graph, sample)
            if missing:
                raise ConversionError(f"litert-torch cannot lower `{missing[0]}`") from exc
            raise
    temporary = Path("litert.tflite").absolute()
    made.export(str(temporary))
    data = temporary.read_bytes()
    temporary.unlink()
    places = _litert_places(data, card)
    return name_tensors(data, input_name=card.input.name, outputs=places)


def convert_with_onnx2tf(onnx_path: Path, card: Card) -> bytes:
    """Return the float TFLite file of an ONNX file, maps channels-last, named as the card says.

    Args:
        onnx_path: one input, outputs named as the card's.
        card: of the ONNX file.

    Raises:
        ConversionError: an operator has no TFLite counterpart, or the outputs cannot be told apart.
    """
    _refuse_unknown_onnx(onnx_path)
    copy = Path("model.onnx").absolute()  # onnx2tf rewrites its input in place
    shutil.copyfile(onnx_path, copy)
    np.save(SAMPLE_FILE, np.random.default_rng(0).random(SAMPLE_SHAPE, dtype=np.float32))

    x, wanted = _reference(onnx_path, card)
    data = _onnx2tf(copy, card)
    given = _run_tflite(data, x)
    return name_tensors(data, input_name=card.input.name, outputs=match_outputs(card, given, wanted))


def _onnx2tf(path: Path, card: Card) -> bytes:
    """Return what onnx2tf makes of a file it may overwrite; in strict mode, since without it faces come out wrong."""
    import onnx2tf
    import tensorflow as tf

    np.random.seed(0)  # onnx2tf draws its probes from the global generator
    fixed = [card.input.name] if card.input.layout == "any" else None
    model = onnx2tf.convert(
        input_onnx_file_path=str(path),
        output_folder_path=str(path.with_name("onnx2tf")),
        keep_shape_absolutely_input_names=fixed,
        replace_to_pseudo_operators=["erf"],  # lower case: the Python interface compares as it is
        not_use_onnxsim=True,  # the file is simplified already
        disable_model_save=True,  # neither SavedModel nor the float16 file is wanted
        non_verbose=True,
        verbosity="error",
    )
    function = tf.function(lambda *inputs: model(inputs if len(inputs) > 1 else inputs[0]))
    concrete = function.get_concrete_function(*[tf.TensorSpec(item.shape, item.dtype) for item in model.inputs])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return bytes(converter.convert())


def _rim(value: NDArray[np.float32], layout: str) -> NDArray[np.float32]:
    """Return an array as the TFLite file has it: NCHW maps channels-last, all else as it is."""
    return np.ascontiguousarray(value.transpose(0, 2, 3, 1)) if layout == "NCHW" and value.ndim == 4 else value


def match_outputs(
    card: Card, given: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]
) -> list[tuple[int, str]]:
    """Return (position among the file's outputs, name) in the card's order, told apart by their numbers.

    Args:
        card: names and layouts wanted.
        given: the file's outputs for one input.
        wanted: the reference's outputs for it, in the card's order and layout.

    Raises:
        ConversionError: an output is missing, or of another shape, or has other numbers.
    """
    left = list(range(len(given)))
    places = []
    for spec, reference in zip(card.outputs, wanted, strict=True):
        reference = _rim(reference, spec.layout)
        same = [at for at in left if given[at].shape == reference.shape]
        if not same:
            got = [given[at].shape for at in left]
            raise ConversionError(f"output `{spec.name}` is missing or transposed", expected=reference.shape, got=got)
        best = min(same, key=lambda at: float(np.abs(given[at] - reference).max()))
        left.remove(best)
        places.append((best, spec.name))
    return places


def _channels_last(inner: Any, card: Card) -> Any:
    """Return `inner` behind channels-last maps, where the card's layouts are NCHW."""
    import torch

    class ChannelsLast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            x = x.permute(0, 3, 1, 2) if card.input.layout == "NCHW" and x.ndim == 4 else x
            outputs = self.inner(x)
            outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
            pairs = zip(outputs, card.outputs, strict=True)
            return tuple(
                y.permute(0, 2, 3, 1) if spec.layout == "NCHW" and y.ndim == 4 else y.clone() for y, spec in pairs
            )

    return ChannelsLast()


def _without_lowering(graph: Any, sample: tuple[Any, ...]) -> list[str]:
    """Return the operators of a graph, fully decomposed, that litert-torch has no lowering for."""
    import torch
    from litert_torch import fx_infra
    from litert_torch.backend.lowerings import registry

    program = torch.export.export(graph, sample, strict=False)
    program = program.run_decompositions(fx_infra.decomp.pre_lower_decomp())
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    unknown = [target for target in calls if isinstance(target, torch._ops.OpOverload) and not registry.lookup(target)]
    return sorted({str(target) for target in unknown})


def _module(program: Any) -> Any:
    """Return the program as a graph module without the guards that check what we know."""
    return program.module(check_guards=False)


def _rim_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if layout == "NCHW" and len(shape) == 4 else shape


def _litert_places(data: bytes, card: Card) -> list[tuple[int, str]]:
    """Return (position, name) in the card's order; litert-torch lists outputs as it traced them."""
    infos = output_tensors(data)
    if len(infos) != len(card.outputs):
        raise ConversionError("litert-torch merged outputs", expected=len(card.outputs), got=len(infos))
    by_name = {_number(info): at for at, info in enumerate(infos)}
    return [(by_name.get(at, at), spec.name) for at, spec in enumerate(card.outputs)]


def _number(info: TensorInfo) -> int:
    found = re.search(r"output_(\d+)", info.name)
    return int(found.group(1)) if found else -1


def _reference(onnx_path: Path, card: Card) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return a probe in the TFLite file's layout and the ONNX file's answers to it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the graph as it is written
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal(card.input.shape, dtype=np.float32)
    answers = session.run([spec.name for spec in card.outputs], {session.get_inputs()[0].name: x})
    return _rim(x, card.input.layout), [np.asarray(answer, np.float32) for answer in answers]


def _run_tflite(data: bytes, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _refuse_unknown_onnx(path: Path) -> None:
    import onnx

    graph = onnx.load(str(path)).graph
    for node in graph.node:
        known = node.domain in ("", "ai.onnx") and importlib.util.find_spec(f"onnx2tf.ops.{node.op_type}")
        if not known:
            raise ConversionError(f"onnx2tf has no `{node.op_type}` (node `{node.name}`)")


def _refuse_foreign(data: bytes) -> None:
    foreign = inspect(data).foreign
    if foreign:
        raise ConversionError(f"operator `{foreign[0]}` does not run in plain LiteRT")


def _reason(exc: BaseException) -> str:
    """Return one line that names the operator, if the converter's message does."""
    text = str(exc)
    for pattern in (
        r"Lowering not found: ([\w.:]+)",
        r"TF Select ops: ([\w, ]+)",
        r"'(tf\.\w+)' op is neither",
        r"'(\w+\.\w+)' op .*(?:legaliz|not supported)",
        r"failed to legalize operation '([\w.]+)'",
    ):
        if found := re.search(pattern, text):
            return f"operator `{found.group(1).strip()}` has no TFLite counterpart"
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(exc).__name__}: {line}"


def _last_line(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _inside(folder: Path) -> Any:
    """Work inside a folder: converters leave files in the current one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow's threads print while they are torn down, after our last line
