"""PyTorch module to ONNX: one file, static shapes, the card's names, the same bytes every time.

The dynamo exporter writes the graph, onnxsim folds it, and what tells of the machine (stack traces, paths, producer)
is stripped. Deformable convolutions become ONNX `DeformConv`; zero padding in front of max-pools becomes `Concat`.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import nn

from ..runtime.card import Card
from ..runtime.errors import CardError, ConversionError
from .onnx_file import save_model
from .onnx_fold import fold_deform_batch_norm
from .onnx_padding import refuse_pad_before_maxpool, rewrite_pad_before_maxpool

__all__ = ["OPSET", "check_weights", "export_onnx"]

OPSET = 19  # the first with DeformConv; below 20, so that GELU stays Erf, which every converter knows
MAX_WEIGHT_BYTES = 3 * 2**29  # protobuf stops at 2 GiB; weights beyond would need a second file
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def export_onnx(module: nn.Module, card: Card, out: Path) -> None:
    """Write the float32 ONNX file of a module; equal modules and cards give equal bytes.

    Args:
        module: takes one tensor of `card.input.shape`; gives a tensor, a sequence in the card's order, or a mapping
            by the card's output names. It is put in eval mode while it is exported.
        card: names and shapes of input and outputs.
        out: file to write; it appears whole or not at all, without external data.

    Raises:
        CardError: the module's outputs are not those of the card.
        ConversionError: weights or outputs are not finite float32 numbers, or the module holds what ONNX cannot say;
            the message names the operation and its place.
    """
    check_weights(module)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), _quiet():
            sample = _sample(card)
            names = _output_names(_forward(module, sample), card)
            model = _translate(module, sample)
            _refuse_operators(model)
            _rename(model, card.input.name, names)
            model = _strip(_simplify(model))
    finally:
        for part, mode in modes:  # one by one: some parts may have been frozen in eval mode
            part.training = mode
    _order_outputs(model, card)
    fold_deform_batch_norm(model)
    rewrite_pad_before_maxpool(model)
    _check(model, card)
    save_model(model, out)


def check_weights(module: nn.Module) -> None:
    """Check that every parameter and floating buffer is finite float32 and that all fit into one file.

    Raises:
        ConversionError: one is not; the message names the tensor and how many of its elements are wrong.
    """
    total = 0
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        total += tensor.numel() * tensor.element_size()
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            raise ConversionError(f"weight `{name}` is not float32", got=tensor.dtype, hint="call `.float()` first")
        wrong = int((~torch.isfinite(tensor.detach())).sum())
        if wrong:
            raise ConversionError(f"weight `{name}` has {wrong} non-finite of {tensor.numel()} elements")
    if total > MAX_WEIGHT_BYTES:
        raise ConversionError("weights do not fit into one ONNX file", expected=f"<= {MAX_WEIGHT_BYTES}", got=total)


def _sample(card: Card) -> torch.Tensor:
    return torch.randn(card.input.shape, generator=torch.Generator().manual_seed(0))


def _forward(module: nn.Module, sample: torch.Tensor) -> object:
    try:
        return module(sample)
    except Exception as exc:  # whatever a network raises, it is the network's
        raise ConversionError(
            f"the network does not run: {_first_line(exc)}{_place_in_traceback(exc)}",
            hint=f"its input is one float32 tensor of shape {tuple(sample.shape)}",
        ) from exc


def _output_names(result: object, card: Card) -> list[str]:
    """Return the card's output names in the order in which the module gives them, after checking shape and values."""
    specs = {spec.name: spec for spec in card.outputs}
    if isinstance(result, torch.Tensor):
        result = [result]
    if isinstance(result, Mapping):
        pairs = list(result.items())
        if {name for name, _ in pairs} != set(specs):
            raise CardError("the network's outputs are not the card's", expected=list(specs), got=list(result))
    elif isinstance(result, list | tuple):
        if len(result) != len(specs):
            raise CardError("the network has another number of outputs", expected=len(specs), got=len(result))
        pairs = list(zip(specs, result, strict=True))
    else:
        raise ConversionError("the network's output is no tensor, sequence or mapping", got=type(result).__name__)
    for name, tensor in pairs:
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
            raise ConversionError(f"output `{name}` is no float32 tensor", got=getattr(tensor, "dtype", type(tensor)))
        if tuple(tensor.shape) != specs[name].shape:
            raise CardError(f"output `{name}` has another shape", expected=specs[name].shape, got=tuple(tensor.shape))
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise ConversionError(f"output `{name}` has {wrong} non-finite of {tensor.numel()} elements")
    return [str(name) for name, _ in pairs]


def _translate(module: nn.Module, sample: torch.Tensor) -> ModelProto:
    try:
        program = torch.export.export(module, (sample,), strict=False)
    except Exception as exc:  # torch.export raises a dozen kinds
        raise _untraceable(exc) from exc
    try:
        exported: Any = torch.onnx.export(
            program,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            custom_translation_table=_translations(program),
            verbose=False,
        )
    except Exception as exc:
        raise _untranslatable(exc, program) from exc
    model: ModelProto = exported.model_proto
    return model


def _translations(program: torch.export.ExportedProgram) -> dict[Any, Any]:
    """Return how our own operators are written in ONNX; empty where the network has none of them."""
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
    ours = {target for target in targets if str(target) == "edge.deform_conv2d.default"}
    return dict.fromkeys(ours, _deform_conv())


def _deform_conv() -> Any:
    from onnxscript import opset19

    def deform_conv(x: Any, offset: Any, mask: Any, weight: Any) -> Any:
        return opset19.DeformConv(x, weight, offset, None, mask, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    return deform_conv


def _untraceable(exc: Exception) -> ConversionError:
    place = _place_in_traceback(exc)
    kind = type(exc).__name__
    text = f"{kind} {exc}".lower()
    if "data-dependent" in text or "datadependent" in text or "control flow" in text or "dynamic" in text:
        return ConversionError(
            f"the network decides by the values of its tensors, which a fixed graph cannot{place}",
            hint="use torch.where in place of `if`, and shapes that do not depend on values",
        )
    return ConversionError(f"the network cannot be traced: {_first_line(exc)}{place}")


def _untranslatable(exc: Exception, program: torch.export.ExportedProgram) -> ConversionError:
    """Name the operation that has no ONNX form, and where in the network it stands."""
    chain: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__
    for cause in chain[::-1]:
        match = re.search(r"translating node %(\w+) .*?target=torch\.ops\.([\w.]+)", str(cause))
        if match:
            place = _place_in_graph(program, match[1], match[2])
            return ConversionError(
                f"operation `{match[2]}` has no ONNX form{place}",
                hint="replace it by operations that have one",
            )
    return ConversionError(f"the ONNX exporter gave up: {_first_line(chain[-1])}")


def _place_in_graph(program: torch.export.ExportedProgram, name: str, target: str) -> str:
    # The exporter decomposes first; a second decomposition finds the node again with its source line.
    for graph in (program.graph, program.run_decompositions().graph):
        for node in graph.nodes:
            if node.name == name or str(node.target) == target:
                modules = [str(path) for path, _ in node.meta.get("nn_module_stack", {}).values()]
                lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
                # A user's own model sits in a wrapper, as `inner`, of which the user knows nothing.
                module = modules[-1].removeprefix("inner").removeprefix(".") if modules else ""
                where = f" in module `{module}`" if module else ""
                line = f" at {Path(lines[-1][0]).name}:{lines[-1][1]}" if lines else ""
                return where + line
    return ""


def _place_in_traceback(exc: BaseException) -> str:
    """Return " at FILE:LINE" of the deepest frame that is neither torch's nor ours."""
    foreign = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith(foreign) and not frame.filename.startswith("<")
    ]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0][:160]}" if lines else type(exc).__name__


def _simplify(model: ModelProto) -> ModelProto:
    """Return the folded graph; nodes are named by the module that they came from."""
    import onnxsim

    _name_nodes(model)
    try:
        simple: ModelProto
        simple, valid = onnxsim.simplify(model)
    except Exception as exc:
        raise ConversionError(f"onnxsim gave up: {_first_line(exc)}") from exc
    if not valid:
        raise ConversionError("onnxsim changed what the network computes")
    return simple


def _name_nodes(model: ModelProto) -> None:
    for index, node in enumerate(model.graph.node):
        notes = {item.key: item.value for item in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
        module = next((scope for scope in reversed(scopes[:-1]) if scope), "")
        node.name = f"{module}/{node.op_type}_{index}" if module else f"{node.op_type}_{index}"


def _refuse_operators(model: ModelProto) -> None:
    for node in model.graph.node:
        lines = [item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.stack_trace"]
        found = re.findall(r'File "([^"]+)", line (\d+)', "".join(lines))
        place = f" at {Path(found[-1][0]).name}:{found[-1][1]}" if found else ""
        if node.op_type in CONTROL_FLOW:
            raise ConversionError(
                f"control flow (`{node.op_type}`) is not exported{place}", hint="compute both sides, take torch.where"
            )
        if node.op_type in RANDOM:
            raise ConversionError(
                f"the network draws random numbers (`{node.op_type}`){place}", hint="do so in training mode only"
            )


def _rename(model: ModelProto, source: str, names: list[str]) -> None:
    """Give input and outputs the card's names; what has one of these names inside the graph gets another.

    The exporter's own `output_names` does not look whether a tensor inside is called the same.
    """
    graph = model.graph
    wanted = {source, *names}
    inner = {name for node in graph.node for name in node.output} | {item.name for item in graph.initializer}
    new = {name: f"{name}.inner" for name in inner & wanted}
    taken = {graph.input[0].name}
    new[graph.input[0].name] = source
    for index, item in enumerate(graph.output):
        initializers = {entry.name for entry in graph.initializer}
        if item.name in taken or item.name in initializers:  # an input, a constant, or one tensor given twice
            copy = f"{item.name}.output{index}"
            graph.node.append(onnx.helper.make_node("Identity", [item.name], [copy]))
            item.name = copy
        taken.add(item.name)
        new[item.name] = names[index]
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [new.get(name, name) for name in values]
    for item in [*graph.initializer, *graph.value_info, *graph.input, *graph.output]:
        item.name = new.get(item.name, item.name)


def _strip(model: ModelProto) -> ModelProto:
    """Remove all that tells of the machine or the exporter instead of the network."""
    model.producer_name, model.producer_version, model.domain, model.doc_string = "edge", "", "", ""
    model.model_version = 0
    model.graph.name = "network"
    _clear(model, "metadata_props")
    graph = model.graph
    named = (graph.node, graph.initializer, graph.input, graph.output, graph.value_info)
    for item in [graph, *(entry for group in named for entry in group)]:
        item.doc_string = ""
        _clear(item, "metadata_props")
    return model


def _clear(message: Any, name: str) -> None:
    if name in message.DESCRIPTOR.fields_by_name:
        message.ClearField(name)


def _order_outputs(model: ModelProto, card: Card) -> None:
    outputs = {item.name: item for item in model.graph.output}
    if set(outputs) != {spec.name for spec in card.outputs}:
        raise ConversionError("the exporter changed the output names", got=list(outputs))
    ordered = [onnx.ValueInfoProto.FromString(outputs[spec.name].SerializeToString()) for spec in card.outputs]
    del model.graph.output[:]
    model.graph.output.extend(ordered)


def _check(model: ModelProto, card: Card) -> None:
    opsets = {item.domain: item.version for item in model.opset_import}
    foreign = sorted({node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    if opsets.get("", 0) != OPSET or foreign:
        raise ConversionError("the exporter wrote another opset", expected=OPSET, got=(opsets, foreign))
    _check_signature(model, card)
    refuse_pad_before_maxpool(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as exc:
        raise ConversionError(f"the exported graph is not valid: {_first_line(exc)}") from exc


def _check_signature(model: ModelProto, card: Card) -> None:
    """Check that names and shapes are the card's, and that no size in the graph depends on values."""
    wanted = [(card.input.name, card.input.shape), *((spec.name, spec.shape) for spec in card.outputs)]
    got = [
        (item.name, tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim))
        for item in [*model.graph.input, *model.graph.output]
    ]
    if got != wanted:
        raise ConversionError("the exported graph has other inputs or outputs", expected=wanted, got=got)
    for item in model.graph.value_info:
        if any(dim.HasField("dim_param") for dim in item.type.tensor_type.shape.dim):
            raise ConversionError(
                f"tensor `{item.name}` has a size that depends on values", hint="use masks in place of selections"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about its own machinery off the terminal; errors come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
