"""Ranges of every tensor of an ONNX file over calibration samples: the true minimum and maximum.

Nothing is averaged or clipped: a moving average, which quantisers offer by default, cut the heatmap peaks that a
decoder lives on. What is not sound is refused, not skipped: onnxruntime's own calibration drops NaN samples in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from ..runtime.errors import ConversionError, InputError, ShapeError
from .onnx_file import parse_model

Float64 = NDArray[np.float64]

__all__ = ["Calibration", "calibrate", "check_samples", "open_session"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What calibration samples showed of every float32 tensor, by its name, per channel.

    Channels run over axis 1 of a 4-D tensor, else over the last axis.

    Attributes:
        lows, highs: smallest and largest value, float64 (C,).
        means: mean, float64 (C,).
    """

    lows: Mapping[str, Float64]
    highs: Mapping[str, Float64]
    means: Mapping[str, Float64]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return lowest and highest value by tensor; (0, 0) for a tensor that is zero within 1e-7."""
        found = {}
        for name, low in self.lows.items():
            pair = float(low.min()), float(self.highs[name].max())
            found[name] = (0.0, 0.0) if max(-pair[0], pair[1]) < NEGLIGIBLE else pair
        return found

    def peaks(self, name: str) -> Float64:
        """Return the largest absolute value of every channel of a tensor, float64 (C,)."""
        return np.maximum(np.abs(self.lows[name]), np.abs(self.highs[name]))

    def scaled(self, names: Iterable[str], factors: Float64) -> Calibration:
        """Return the calibration of a network whose named tensors are scaled per channel by positive factors."""
        wanted = set(names)

        def scale(values: Mapping[str, Float64]) -> dict[str, Float64]:
            return {name: item * factors if name in wanted else item for name, item in values.items()}

        return Calibration(lows=scale(self.lows), highs=scale(self.highs), means=scale(self.means))

    def clipped(self, names: Iterable[str], peak: float) -> Calibration:
        """Return the calibration with the values of named tensors clipped to -peak..peak."""
        wanted = set(names)

        def clip(values: Mapping[str, Float64]) -> dict[str, Float64]:
            return {name: np.clip(item, -peak, peak) if name in wanted else item for name, item in values.items()}

        return Calibration(lows=clip(self.lows), highs=clip(self.highs), means=self.means)

    def with_copy(self, name: str, copy: str) -> Calibration:
        """Return the calibration of a network that holds a tensor under a second name as well."""
        return Calibration(
            lows={**self.lows, copy: self.lows[name]},
            highs={**self.highs, copy: self.highs[name]},
            means={**self.means, copy: self.means[name]},
        )


OUTLIER = 20.0  # times the median peak; a sample scaled by 255 or 100 by mistake stands out far more
NEGLIGIBLE = 1e-7  # a tensor that never leaves this is treated as zero: 16-bit steps would fall below 1e-12


def check_samples(samples: Sequence[NDArray[np.float32]], shape: tuple[int, ...], *, min_distinct: int = 1) -> None:
    """Check that samples can calibrate.

    Args:
        samples: each float32 of `shape`.
        shape: of the network's input, batch 1.
        min_distinct: how many different samples there must be, by content.

    Raises:
        InputError: too few, not finite, over half of them constant, or one far out of line; the message has its index.
        ShapeError: one has another shape or dtype.
    """
    peaks = []
    digests = set()
    constant = 0
    for index, sample in enumerate(samples):
        if tuple(sample.shape) != shape or sample.dtype != np.float32:
            raise ShapeError(
                f"calibration sample {index} does not fit",
                expected=f"float32 {shape}",
                got=f"{sample.dtype} {tuple(sample.shape)}",
            )
        wrong = int((~np.isfinite(sample)).sum())
        if wrong:
            raise InputError(f"calibration sample {index} has {wrong} non-finite of {sample.size} elements")
        constant += bool(sample.max() == sample.min())
        peaks.append(float(np.abs(sample).max()))
        digests.add(hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest())
    if len(digests) < max(min_distinct, 1):
        raise InputError("too few calibration samples", expected=f">= {max(min_distinct, 1)}", got=len(digests))
    if constant * 2 > len(samples):
        raise InputError(
            "calibration samples do not vary", got=f"{constant} constant of {len(samples)}", hint="use real pictures"
        )
    usual = float(np.median(peaks))
    if max(peaks) > OUTLIER * usual:
        raise InputError(
            f"calibration sample {int(np.argmax(peaks))} is far out of line",
            expected=f"|x| <= {OUTLIER:g} times the median peak {usual:.3g}",
            got=f"{max(peaks):.3g}",
        )


def calibrate(fp32: Path, samples: Sequence[NDArray[np.float32]], *, min_distinct: int = 1) -> Calibration:
    """Return ranges and means of every float32 tensor of a file.

    Args:
        fp32: float32 ONNX file with one input.
        samples: float32 arrays of the file's input shape.
        min_distinct: see `check_samples`.

    Raises:
        InputError, ShapeError: of `check_samples`.
        ConversionError: a tensor is not finite on a sample; the message names both.
    """
    model = parse_model(fp32.read_bytes())
    source = model.graph.input[0]
    check_samples(samples, tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim), min_distinct=min_distinct)
    names = _expose_all(model)
    session = open_session(model.SerializeToString(), optimise=False)
    lows: dict[str, Float64] = {}
    highs: dict[str, Float64] = {}
    sums: dict[str, Float64] = {}
    for index, sample in enumerate(samples):
        values = session.run(names, {source.name: sample})
        for name, value in zip([source.name, *names], [sample, *values], strict=True):
            axes = (0, 2, 3) if value.ndim == 4 else tuple(range(max(value.ndim - 1, 0)))
            low, high = value.min(axis=axes).astype(np.float64), value.max(axis=axes).astype(np.float64)
            if not (np.isfinite(low).all() and np.isfinite(high).all()):  # min and max pass NaN on
                raise ConversionError(f"tensor `{name}` is not finite on calibration sample {index}")
            lows[name] = np.minimum(low, lows.get(name, low))
            highs[name] = np.maximum(high, highs.get(name, high))
            sums[name] = value.mean(axis=axes, dtype=np.float64) + sums.get(name, 0.0)
    means = {name: total / len(samples) for name, total in sums.items()}
    return Calibration(lows=lows, highs=highs, means=means)


def open_session(data: bytes, *, optimise: bool = True) -> Any:
    """Return an onnxruntime CPU session, as any user would open it, but silent and on one thread.

    Raises:
        ConversionError: onnxruntime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime has a class for every status
        raise ConversionError(f"onnxruntime refuses the file: {' '.join(str(exc).split())[:200]}") from exc


def _expose_all(model: onnx.ModelProto) -> list[str]:
    """Make every float32 tensor that a node computes an output; return their names."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        item.name: item
        for item in [*inferred.value_info, *inferred.output]
        if item.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    names = [name for node in model.graph.node for name in node.output if name in floats]
    del model.graph.output[:]
    model.graph.output.extend(floats[name] for name in names)
    return names
