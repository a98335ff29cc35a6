"""The card: all that anybody needs to use a model without its code.

Plain JSON with a `schema` number, embedded in every exported file. A card says how pixels or sound become the input
tensor, what each output means, which decoder reads them with which constants, and how good the file must be.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from .errors import CardError

__all__ = [
    "SCHEMA",
    "AudioSpec",
    "Budget",
    "Card",
    "DecoderSpec",
    "InputSpec",
    "OutputSpec",
    "ParityLimit",
    "Precision",
    "ResizeSpec",
    "Target",
    "build",
]

SCHEMA = 1
MAX_INTEGER = 2**53  # what a JSON number holds exactly
MAX_ELEMENTS = 2**28  # of one tensor; a card that asks for more is refused before anything is allocated


class Target(StrEnum):
    """File format of an artifact."""

    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """What an artifact's name promises about its tensors; inputs and outputs are always float32."""

    FP32 = "fp32"
    FP16 = "fp16"  # weights in half precision
    INT8 = "int8"  # static: INT8 weights per channel and INT8 activations
    DYNAMIC = "dynamic"  # INT8 weights, activations quantised at run time
    W8A16 = "w8a16"  # INT8 weights, INT16 activations


@dataclass(frozen=True, kw_only=True)
class ResizeSpec:
    """How an image of any size becomes one of the network's size.

    Attributes:
        rule: "letterbox" keeps the aspect ratio, puts the picture top-left and fills right and bottom;
            "stretch" ignores the aspect ratio; "none" refuses pictures of another size.
        interpolation: "bilinear" or "bicubic" (a = -0.75), half-pixel centres, no antialias, border replicated.
        rounding: how the letterboxed side is made whole: "truncate" or "round".
        fill: value of the padding, per channel in the input's colour order, 0..255 scale.
        upscale: False leaves pictures smaller than the input at their size.
    """

    rule: str = "letterbox"
    interpolation: str = "bilinear"
    rounding: str = "round"
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)
    upscale: bool = True

    def __post_init__(self) -> None:
        _one_of("resize.rule", self.rule, ("letterbox", "stretch", "none"))
        _one_of("resize.interpolation", self.interpolation, ("bilinear", "bicubic"))
        _one_of("resize.rounding", self.rounding, ("truncate", "round"))


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """How sound becomes a mel spectrogram.

    Attributes:
        sample_rate: Hz; other rates are resampled.
        seconds: length that is used; shorter clips are padded with zeros.
        n_fft, hop, mels: STFT window (Hann, centred), step, and number of Slaney mel bands.
        fmin, fmax: Hz, edges of the mel bands.
        top_db: floor below the clip's maximum, dB.
        normalise: "zscore" (per clip, bilinear resize) or "minmax-uint8" (legacy: 0..255, antialiased resize).
    """

    sample_rate: int = 22050
    seconds: float = 30.0
    n_fft: int = 2048
    hop: int = 512
    mels: int = 128
    fmin: float = 20.0
    fmax: float = 8000.0
    top_db: float = 80.0
    normalise: str = "zscore"

    def __post_init__(self) -> None:
        _one_of("audio.normalise", self.normalise, ("zscore", "minmax-uint8"))
        if min(self.sample_rate, self.n_fft, self.hop, self.mels) <= 0 or not 0 < self.seconds <= 600:
            raise CardError("audio settings must be positive and at most 600 s", got=self)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The input contract.

    Attributes:
        name: tensor name in the file.
        shape: (1, C, H, W) or (1, H, W, C), as `layout` says; any rank for kind "tensor".
        layout: "NCHW", "NHWC", or "any".
        dtype: always "float32".
        kind: "image", "audio" or "tensor".
        colour: "BGR", "RGB" or "GRAY".
        mean, std: per channel in `colour` order; an image enters as (pixel - mean) / std with pixels 0..255,
            a spectrogram as (value - mean) / std.
        resize: for images.
        audio: for sound.
    """

    name: str = "input"
    shape: tuple[int, ...]
    layout: str = "NCHW"
    dtype: str = "float32"
    kind: str = "image"
    colour: str = "BGR"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: ResizeSpec = field(default_factory=ResizeSpec)
    audio: AudioSpec | None = None

    def __post_init__(self) -> None:
        _one_of("input.layout", self.layout, ("NCHW", "NHWC", "any"))
        _one_of("input.kind", self.kind, ("image", "audio", "tensor"))
        _one_of("input.colour", self.colour, ("BGR", "RGB", "GRAY"))
        _one_of("input.dtype", self.dtype, ("float32",))
        _check_shape("input", self.shape)
        if self.kind != "tensor":
            if self.layout == "any" or len(self.shape) != 4:
                raise CardError("an image or audio input must be 4-D with layout NCHW or NHWC", got=self.shape)
            if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
                raise CardError("mean and std need one value a channel, std above 0", got=(self.mean, self.std))
        if self.kind == "audio" and self.audio is None:
            raise CardError("an audio input needs its `audio` settings")

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.shape[1] if self.layout == "NCHW" else self.shape[-1]

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return (self.shape[2], self.shape[3]) if self.layout == "NCHW" else (self.shape[1], self.shape[2])


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output: name and shape in the file, layout ("NCHW", "NHWC" or "any"), and what the numbers mean."""

    name: str
    shape: tuple[int, ...]
    layout: str = "any"
    meaning: str = ""

    def __post_init__(self) -> None:
        _one_of("output.layout", self.layout, ("NCHW", "NHWC", "any"))
        _check_shape(f"output {self.name}", self.shape)


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Which decoder reads the outputs, and its constants.

    Attributes:
        name: "face-priors", "openpose-paf", "valence-arousal" or "none" (raw arrays).
        params: constants of that decoder; an unknown one is refused by the decoder.
    """

    name: str = "none"
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ParityLimit:
    """How far an exported file may be from PyTorch, per output; None is not checked.

    Attributes:
        max_error: largest absolute error, as a fraction of the reference output's range (max - min).
        min_cosine: smallest cosine similarity.
        min_sqnr_db: smallest signal-to-quantisation-noise ratio, dB.
    """

    max_error: float | None = None
    min_cosine: float | None = None
    min_sqnr_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the file may cost: bytes, and p90 latency in ms on the named device."""

    size_bytes: int = 2_000_000
    p90_ms: float = 50.0


# NUM-3/NUM-2 of the reliability bar: fp32 1e-4 of the range, fp16 1e-2, quantised files 20 dB.
DEFAULT_PARITY: Mapping[str, ParityLimit] = {
    "fp32": ParityLimit(max_error=1e-4),
    "fp16": ParityLimit(max_error=1e-2),
    "int8": ParityLimit(min_cosine=0.99, min_sqnr_db=20.0),
    "dynamic": ParityLimit(min_cosine=0.99, min_sqnr_db=20.0),
    "w8a16": ParityLimit(min_cosine=0.99, min_sqnr_db=20.0),
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that export, runtime and bench need to know of one model.

    Attributes:
        model: registry name, e.g. "face-retina-mnet025".
        family: "pose", "face", "emotion" or "custom".
        input: the input contract.
        outputs: in graph order.
        decoder: what turns outputs into results.
        parity: limits by precision word.
        budget: what the file may cost.
        provenance: where architecture and weights come from, their licence, and what they were trained on.
        artifact: empty for a model; in a file: its target, precision, route and recipe.
        schema: version of this layout.
    """

    model: str
    family: str = "custom"
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    decoder: DecoderSpec = field(default_factory=DecoderSpec)
    parity: Mapping[str, ParityLimit] = field(default_factory=lambda: dict(DEFAULT_PARITY))
    budget: Budget = field(default_factory=Budget)
    provenance: Mapping[str, str] = field(default_factory=dict)
    artifact: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise CardError("card schema not known", expected=SCHEMA, got=self.schema, hint="upgrade edge")
        if not self.outputs:
            raise CardError("a card needs at least one output", got=self.model)
        names = [output.name for output in self.outputs]
        if len(set(names)) != len(names):
            raise CardError("output names must differ", got=names)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=dict))
        return plain

    def to_json(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces, ASCII; equal cards give equal bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_dict(values: object) -> Card:
        """Return the card that plain values describe.

        Raises:
            CardError: a key is missing or unknown, or a value has the wrong type; the message has the path.
        """
        card = build(Card, values, "card")
        return card

    @staticmethod
    def from_json(text: str) -> Card:
        """Return the card of a JSON text; see `from_dict`."""
        if len(text) > 1 << 20:
            raise CardError("card is over 1 MiB", got=f"{len(text)} characters")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise CardError("card is not JSON", got=str(exc)[:80]) from exc
        return Card.from_dict(values)


T = TypeVar("T")


def build(kind: type[T], values: object, path: str) -> T:
    """Return the dataclass that plain values describe; every key and type is checked.

    Args:
        kind: a frozen dataclass of the types that cards use.
        values: a mapping.
        path: what the values are called in messages.

    Raises:
        CardError: a key is missing or unknown, or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise CardError(f"`{path}` is not a table", got=type(values).__name__)
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # always a dataclass here
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
            raise CardError(f"`{path}` has an unknown key `{key}`", hint=hint)
    given = {}
    for name, item in known.items():
        if name in values:
            given[name] = _convert(hints[name], values[name], f"{path}.{name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise CardError(f"`{path}` lacks the key `{name}`")
    return kind(**given)


def _convert(hint: Any, value: object, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(arg for arg in args if arg is not type(None)), value, path)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise CardError(f"`{path}` is not a list", got=type(value).__name__)
        return tuple(_convert(args[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise CardError(f"`{path}` is not a table", got=type(value).__name__)
        return {str(key): _convert(args[1], item, f"{path}.{key}") for key, item in value.items()}
    return _scalar(hint, value, path)


def _scalar(hint: Any, value: object, path: str) -> Any:
    if hint is Any:
        return value
    if type(value) is int and abs(value) > MAX_INTEGER:  # before arithmetic with it fails in a place of its own
        raise CardError(f"`{path}` is out of range", expected="at most 2**53", got=f"{value.bit_length()} bits")
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise CardError(f"`{path}` has the wrong type", expected=hint.__name__, got=repr(value)[:60])


def _one_of(path: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise CardError(f"`{path}` is not known", expected=" | ".join(allowed), got=value)


def _check_shape(what: str, shape: tuple[int, ...]) -> None:
    if not shape or min(shape) < 1 or math.prod(shape) > MAX_ELEMENTS:
        raise CardError(f"`{what}` needs a static shape of 1 to 2**28 elements", got=shape)
