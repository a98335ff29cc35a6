"""From a network's outputs to a result: the decoders by name, and the checks that come before them.

A third party adds a decoder by an entry point in the group `edge.decoders` that loads to a `Decoder`.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .card import Card, OutputSpec, build
from .emotion import EmotionParams, decode_emotion
from .errors import CardError, InputError, ShapeError
from .face import FaceParams, decode_faces
from .geometry import Geometry
from .paf import HEATMAPS, PAFS, PafParams, decode_people
from .results import Result, summarise

__all__ = [
    "GROUP",
    "Bound",
    "Decoder",
    "NoParams",
    "Query",
    "bind",
    "check_decoder",
    "decode",
    "decoder_names",
    "energy",
    "get_decoder",
    "register",
]

Float32 = NDArray[np.float32]

GROUP = "edge.decoders"
MAX_MAP = np.float32(1e6)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a decoder gets.

    Attributes:
        card: the network's card.
        outputs: by name, float32, shapes as on the card; values may be NaN or infinite.
        params: an instance of the decoder's `params` class, defaults filled in.
        geometry: where the picture's pixels are in the input; None: coordinates stay input pixels.
        threshold: lowest score to list; None: the decoder's own.
    """

    card: Card
    outputs: Mapping[str, Float32]
    params: Any
    geometry: Geometry | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A decoder: the frozen dataclass of its constants with their defaults, and the function that runs it."""

    params: type
    run: Callable[[Query], Result]


@dataclass(frozen=True, kw_only=True)
class NoParams:
    """A decoder without constants."""


_DECODERS: dict[str, Decoder] = {}


def decode(
    card: Card, outputs: Mapping[str, NDArray[Any]], geometry: Geometry | None = None, threshold: float | None = None
) -> Result:
    """Return what the card's decoder makes of a network's outputs.

    Args:
        card: names the decoder, its constants, and the outputs.
        outputs: by name, numeric, shapes as on the card; others are ignored.
        geometry: from `preprocess.prepare`; None leaves coordinates in input pixels.
        threshold: lowest score of a face, or confidence of a person, to list, 0..1; None: the card's
            `display_threshold` for faces, everybody for people.

    Raises:
        CardError: the decoder or one of its constants is not known, or a constant is out of range.
        ShapeError: an output has another shape than the card says, or does not suit the decoder.
        InputError: an output is missing or not numeric.
    """
    return bind(card)(outputs, geometry, threshold)


def bind(card: Card) -> Bound:
    """Return the card's decoder with its constants read and checked, for many pictures.

    Raises:
        CardError: the decoder or one of its constants is not known, or a constant is out of range.
    """
    decoder = get_decoder(card.decoder.name)
    return Bound(card, decoder, build(decoder.params, card.decoder.params, "card.decoder.params"))


@dataclass(frozen=True)
class Bound:
    """A decoder that is ready for one card's outputs; it keeps nothing between calls, so that threads may share it."""

    card: Card
    decoder: Decoder
    params: Any

    def __call__(
        self,
        outputs: Mapping[str, NDArray[Any]],
        geometry: Geometry | None = None,
        threshold: float | None = None,
    ) -> Result:
        """Return what the decoder makes of a network's outputs; see `decode`."""
        card = self.card
        checked = {spec.name: _checked(spec, outputs) for spec in card.outputs}
        if geometry is not None and card.input.kind == "image" and geometry.input_hw != card.input.hw:
            raise ShapeError("geometry is of another input size", expected=card.input.hw, got=geometry.input_hw)
        return self.decoder.run(
            Query(card=card, outputs=checked, params=self.params, geometry=geometry, threshold=threshold)
        )


def register(name: str, decoder: Decoder) -> None:
    """Add a decoder under a name.

    Raises:
        InputError: the name is taken.
    """
    if name in _DECODERS:
        raise InputError(f"decoder `{name}` is already registered")
    _DECODERS[name] = decoder


def decoder_names() -> list[str]:
    """Return the names of all decoders, those of entry points included, which are not loaded for that."""
    return sorted({*_DECODERS, *(point.name for point in entry_points(group=GROUP))})


def get_decoder(name: str) -> Decoder:
    """Return a decoder; an entry point is loaded on first look-up.

    Raises:
        CardError: not known; the message names the nearest.
        InputError: an entry point of that name fails to load or is not a `Decoder`.
    """
    if name in _DECODERS:
        return _DECODERS[name]
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded = point.load()
        except Exception as exc:  # whatever a foreign module does on import
            raise InputError(f"decoder `{name}` of `{point.value}` does not load", got=repr(exc)[:80]) from exc
        if not isinstance(loaded, Decoder):
            raise InputError(f"decoder `{name}` of `{point.value}` is not a Decoder", got=type(loaded).__name__)
        register(name, loaded)
        return loaded
    names = decoder_names()
    near = difflib.get_close_matches(name, names, 1)
    raise CardError(
        f"decoder `{name}` is not known",
        expected=" | ".join(names),
        hint=f"did you mean `{near[0]}`?" if near else f"add it by an entry point in the group `{GROUP}`",
    )


def check_decoder(card: Card, seed: int = 0) -> None:
    """Check that the card's decoder answers zeros, noise, huge and non-finite outputs with finite, repeatable JSON.

    Meant for authors of decoders and cards.

    Raises:
        InputError: it raised, gave other results the second time, or gave a value that JSON cannot hold.
    """
    rng = np.random.default_rng(seed)
    noise = {spec.name: rng.normal(0, 1, spec.shape).astype(np.float32) for spec in card.outputs}
    cases: dict[str, dict[str, Float32]] = {
        "zeros": {name: np.zeros_like(values) for name, values in noise.items()},
        "noise": noise,
        "huge values": {name: np.where(values > 0, 3e38, -3e38).astype(np.float32) for name, values in noise.items()},
        "NaN": {name: np.where(values > 1, np.nan, values).astype(np.float32) for name, values in noise.items()},
        "infinity": {name: np.where(values > 1, np.inf, values).astype(np.float32) for name, values in noise.items()},
    }
    for what, outputs in cases.items():
        name = f"decoder `{card.decoder.name}`"
        try:
            texts = [json.dumps(decode(card, outputs).to_dict(), allow_nan=False) for _ in range(2)]
        except Exception as exc:
            raise InputError(f"{name} fails on {what}", got=repr(exc)[:120]) from exc
        if texts[0] != texts[1]:
            raise InputError(f"{name} gives other results the second time on {what}")


def _checked(spec: OutputSpec, outputs: Mapping[str, NDArray[Any]]) -> Float32:
    if spec.name not in outputs:
        raise InputError(f"output `{spec.name}` is missing", got=", ".join(outputs) or "no outputs")
    array = np.asarray(outputs[spec.name])
    if array.dtype.kind not in "fiu":
        raise InputError(f"output `{spec.name}` is not numeric", got=array.dtype)
    if array.shape != spec.shape:
        raise ShapeError(f"output `{spec.name}` has the wrong shape", expected=spec.shape, got=array.shape)
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted as such
        return array.astype(np.float32)


def _run_faces(query: Query) -> Result:
    loc, conf, landm = (_head(query, width, what) for width, what in ((4, "boxes"), (2, "scores"), (10, "landmarks")))
    params: FaceParams = query.params
    lowest = params.display_threshold if query.threshold is None else query.threshold
    nonfinite = _nonfinite(
        loc, conf, landm
    )  # first: it reads in order, and leaves in the cache what is picked out next
    faces, truncated = decode_faces(
        loc, conf, landm, query.card.input.hw, params, query.geometry, lowest=lowest, finite=not nonfinite
    )
    return Result(
        kind="faces",
        faces=tuple(faces),
        truncated=truncated,
        nonfinite=nonfinite,
        original_hw=_picture_hw(query),
    )


def _head(query: Query, width: int, what: str) -> Float32:
    """Return the one output with `width` values a prior as (N, width), whatever its name."""
    found = [values for values in query.outputs.values() if values.ndim == 3 and values.shape[0] == 1]
    found = [values for values in found if values.shape[2] == width]
    if len(found) != 1:
        shapes = ", ".join(str(values.shape) for values in query.outputs.values())
        raise ShapeError(
            f"face decoder finds {len(found)} outputs for {what}", expected=f"one (1, N, {width})", got=shapes
        )
    head: Float32 = found[0][0]
    return head


def _run_people(query: Query) -> Result:
    heatmaps, pafs = _maps(query, HEATMAPS, "heatmaps"), _maps(query, PAFS, "affinity fields")
    params: PafParams = query.params
    cells = tuple(side * params.stride for side in heatmaps.shape[1:])
    if query.card.input.kind == "image" and any(
        not side <= cell < side + params.stride for cell, side in zip(cells, query.card.input.hw, strict=True)
    ):
        raise ShapeError(
            f"maps do not fit the input at stride {params.stride}", expected=query.card.input.hw, got=cells
        )
    nonfinite = 0
    # One pass tells that every value is tame, which is the rule; only then is nothing to be counted or clipped.
    if not max(energy(heatmaps), energy(pafs)) <= MAX_MAP**2:
        nonfinite = _nonfinite(heatmaps[:-1], pafs)
        # Zero is "no joint, no limb"; anything else would spread through the interpolation or win a maximum. Products
        # along limbs must stay inside float32; trained maps are within -2..2.
        heatmaps, pafs = (
            np.clip(np.where(np.isfinite(maps), maps, np.float32(0)), -MAX_MAP, MAX_MAP) for maps in (heatmaps, pafs)
        )
    people, truncated = decode_people(heatmaps, pafs, params, query.geometry)
    return Result(
        kind="people",
        people=tuple(person for person in people if query.threshold is None or person.confidence >= query.threshold),
        truncated=truncated,
        nonfinite=nonfinite,
        original_hw=_picture_hw(query),
    )


def _maps(query: Query, channels: int, what: str) -> Float32:
    """Return the last output with that many channels as (C, h, w): a network with stages puts its best one last."""
    for spec in reversed(query.card.outputs):
        values = query.outputs[spec.name]
        if values.ndim != 4 or values.shape[0] != 1:
            continue
        if spec.layout != "NHWC" and values.shape[1] == channels:
            return np.ascontiguousarray(values[0])
        if spec.layout != "NCHW" and values.shape[3] == channels:
            return np.ascontiguousarray(values[0].transpose(2, 0, 1))
    shapes = ", ".join(f"{spec.shape} {spec.layout}" for spec in query.card.outputs)
    raise ShapeError(f"pose decoder finds no {what}", expected=f"4-D output with {channels} channels", got=shapes)


def _run_emotion(query: Query) -> Result:
    found = [values for values in query.outputs.values() if values.size == 2]
    if len(found) != 1:
        shapes = ", ".join(str(values.shape) for values in query.outputs.values())
        raise ShapeError("emotion decoder needs one output", expected="(1, 2)", got=shapes)
    nonfinite = _nonfinite(found[0])
    return Result(
        kind="emotion", emotion=None if nonfinite else decode_emotion(found[0].reshape(2)), nonfinite=nonfinite
    )


def _run_raw(query: Query) -> Result:
    raw = {name: summarise(values) for name, values in query.outputs.items()}
    result = Result(kind="raw", raw=raw, nonfinite=sum(item.nonfinite for item in raw.values()))
    return result if query.geometry is None else replace(result, original_hw=query.geometry.original_hw)


def _nonfinite(*arrays: Float32) -> int:
    return sum(int(array.size - np.isfinite(array).sum()) for array in arrays if not math.isfinite(energy(array)))


def energy(array: Float32) -> float:
    """Return the sum of squares: NaN or infinite if a value is, or if one is beyond 1e19; several times cheaper."""
    flat = array.ravel()
    with np.errstate(all="ignore"):
        return float(np.dot(flat, flat))


def _picture_hw(query: Query) -> tuple[int, int]:
    return query.card.input.hw if query.geometry is None else query.geometry.original_hw


register("face-priors", Decoder(params=FaceParams, run=_run_faces))
register("openpose-paf", Decoder(params=PafParams, run=_run_people))
register("valence-arousal", Decoder(params=EmotionParams, run=_run_emotion))
register("none", Decoder(params=NoParams, run=_run_raw))
