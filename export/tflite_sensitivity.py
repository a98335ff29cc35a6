"""Which parts of a TFLite graph bear 8 bits; the same measurement as `onnx_sensitivity` makes, on another format.

A part is an operator with constant weights, together with the depthwise convolution that alone feeds it. In TFLite the
products of a deformable convolution are one dense convolution before the gathers, and so a part like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..runtime.parity import compare
from .onnx_sensitivity import Part, within_budget
from .tflite_file import output_tensors
from .tflite_inspect import OpRow

__all__ = ["least_noise", "measure_noise", "parts", "within_budget"]

Float32 = NDArray[np.float32]

PASSED = ("RELU", "RELU6", "LEAKY_RELU", "PAD")  # one map in, one out, channels where they are


def parts(rows: Sequence[OpRow], macs: Mapping[str, int]) -> list[Part]:
    """Return the parts of a graph as names of output tensors, in the order of the graph.

    Args:
        rows: of `op_table`.
        macs: multiply-adds by output tensor, of the operators that have constant weights.
    """
    makers = {row.output: row for row in rows}
    readers: dict[str, int] = {}
    for name in (name for row in rows for name in row.inputs):
        readers[name] = readers.get(name, 0) + 1
    found: list[Part] = []
    for row in rows:
        if row.output not in macs:
            continue
        feeder = _feeder(row, makers, readers) if row.op == "CONV_2D" else None
        if feeder is not None and (feeder.output,) in found:
            found.remove((feeder.output,))
            found.append((feeder.output, row.output))
        else:
            found.append((row.output,))
    return found


def measure_noise(
    data: bytes, wanted: Sequence[Part], samples: Sequence[Float32], quantise: Callable[[Part], bytes]
) -> dict[Part, float]:
    """Return, for every part, its noise power as a fraction of the signal's, at the output it hurts most.

    Args:
        data: float32 TFLite file with one input.
        wanted: of `parts`.
        samples: inputs to measure on, each float32 of the input's shape.
        quantise: returns the file with one part quantised.
    """
    reference = _answers(data, samples)
    noise = {}
    for part in wanted:
        figures = compare(reference, _answers(quantise(part), samples))
        noise[part] = max(10 ** (-item.sqnr_db / 10) for item in figures.values())
    return noise


def least_noise(noise: Mapping[Part, float], macs: Mapping[str, int], floor: int) -> list[str]:
    """Return tensors of parts that together make a floor of multiply-adds with little noise.

    Args:
        noise: of `measure_noise`.
        macs: multiply-adds by output tensor.
        floor: multiply-adds that the returned parts make at least, if all parts together do.
    """
    work = {part: sum(macs.get(name, 0) for name in part) for part in noise}
    chosen: list[Part] = []
    done = 0
    # The name settles ties, so that the choice does not depend on the order of a mapping.
    for part in sorted(noise, key=lambda part: (noise[part] / max(work[part], 1), part)):
        if done < floor:
            chosen.append(part)
            done += work[part]
    # The last one may have made earlier ones needless.
    for part in sorted(chosen, key=lambda part: (-noise[part], part)):
        if done - work[part] >= floor:
            chosen.remove(part)
            done -= work[part]
    return [name for part in chosen for name in part]


def _feeder(row: OpRow, makers: Mapping[str, OpRow], readers: Mapping[str, int]) -> OpRow | None:
    """Return the depthwise convolution whose output an operator alone reads, through an activation or not."""
    name = row.inputs[0]
    while readers[name] == 1 and name in makers:
        maker = makers[name]
        if maker.op == "DEPTHWISE_CONV_2D":
            return maker
        if maker.op not in PASSED:
            return None
        name = maker.inputs[0]
    return None


def _answers(data: bytes, samples: Sequence[Float32]) -> dict[str, list[Float32]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    places = [detail["index"] for detail in interpreter.get_output_details()]
    # By place: the quantiser gives outputs other names, and keeps their order.
    answers: dict[str, list[Float32]] = {str(at): [] for at in range(len(output_tensors(data)))}
    for sample in samples:
        interpreter.set_tensor(entry, np.ascontiguousarray(sample, np.float32))
        interpreter.invoke()
        for at, place in enumerate(places):
            answers[str(at)].append(np.array(interpreter.get_tensor(place), np.float32))
    return answers
