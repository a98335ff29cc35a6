"""From a picture or a sound to typed results: preprocess, infer, decode, each timed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .audio import read_audio
from .audio_input import prepare_audio
from .card import Card
from .decode import decode, get_decoder
from .embedded import read_card
from .engines import Engine, open_engine
from .errors import InputError, ShapeError
from .geometry import Geometry
from .image import as_rgb, read_image
from .preprocess import prepare
from .results import Result

__all__ = ["Pipeline", "Source", "TimedResult"]

Float32 = NDArray[np.float32]
Source = str | os.PathLike[str] | NDArray[Any] | tuple[NDArray[Any], int]


@dataclass(frozen=True, kw_only=True)
class TimedResult(Result):
    """A result, and what it took: a decoder is a pure function and knows no clock, so it cannot say itself.

    Attributes:
        times: pre_ms, infer_ms and decode_ms, wall clock.
    """

    times: Mapping[str, float] = field(default_factory=dict)


class Pipeline:
    """An artifact that is ready to answer.

    `Pipeline.load` makes one. It holds an engine: close it, or use it in a `with` block. It guards against damaged
    files, not against crafted ones that crash an engine: `isolate.guard` does.

    Attributes:
        card: the artifact's card.
        engine: what executes it.
        threshold: smallest score that is kept; None is the card's.
    """

    def __init__(self, card: Card, engine: Engine, *, threshold: float | None = None) -> None:
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise InputError("bad threshold", expected="0 to 1", got=threshold)
        self.card = card
        self.engine = engine
        self.threshold = threshold

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str = "auto",
        threads: int = 1,
        threshold: float | None = None,
        card: Card | None = None,
        verbose: bool = False,
    ) -> Pipeline:
        """Return a pipeline for an artifact.

        Args:
            path: an ONNX or TFLite file.
            engine: "auto", "onnxruntime" or "litert".
            threads: CPU threads of the engine.
            threshold: smallest score that is kept, 0..1; None is the card's.
            card: used in place of the embedded one.
            verbose: let the engine log to stderr.

        Raises:
            ArtifactError: the file is damaged, foreign, without a card, or says something else than its card.
            CardError: its card is malformed, or names an unknown decoder.
            MissingExtraError: the engine is not installed.
            ResourceError: memory ran out.
        """
        known = read_card(path) if card is None else card
        get_decoder(known.decoder.name)  # an unknown one is refused before anything is loaded
        opened = open_engine(path, known, engine=engine, threads=threads, verbose=verbose)
        return cls(known, opened, threshold=threshold)

    def __call__(self, source: Source) -> TimedResult:
        """Return what the model sees or hears.

        Args:
            source: a file; or (H, W, 3) RGB uint8; or (samples, rate) with (n,) float32 mono and Hz; or, for a card of
                kind "tensor", the float32 input tensor.

        Returns:
            The result; `times` holds pre_ms, infer_ms and decode_ms, wall clock; reading a file is not in them.

        Raises:
            MediaError: the file cannot be read.
            InputError, ShapeError: the source is not what the card's input takes.
            ArtifactError: the engine failed.
        """
        loaded = self._loaded(source)
        started = perf_counter()
        tensor, geometry = self._prepared(loaded)
        prepared = perf_counter()
        outputs = self.engine.run(tensor)
        inferred = perf_counter()
        result = decode(self.card, outputs, geometry, self.threshold)
        decoded = perf_counter()
        times = {
            "pre_ms": (prepared - started) * 1e3,
            "infer_ms": (inferred - prepared) * 1e3,
            "decode_ms": (decoded - inferred) * 1e3,
        }
        return TimedResult(**{item.name: getattr(result, item.name) for item in fields(result)}, times=times)

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        self.engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _loaded(self, source: Source) -> NDArray[Any] | tuple[NDArray[Any], int]:
        """Return the picture, samples or tensor behind a source."""
        kind = self.card.input.kind
        if isinstance(source, str | os.PathLike):
            if kind == "image":
                return read_image(Path(source))
            if kind == "audio" and self.card.input.audio is not None:
                # a second more than is used: resampling looks a little past the end
                return read_audio(Path(source), seconds=self.card.input.audio.seconds + 1.0)
            raise InputError(
                "a card of kind `tensor` reads no files", expected="an array", got=f"`{os.fspath(source)}`"
            )
        if isinstance(source, tuple) != (kind == "audio"):
            wanted = {"image": "a file or (H, W, 3) uint8", "audio": "a file or (samples, rate)"}
            got = "(samples, rate)" if isinstance(source, tuple) else "an array"
            raise InputError(f"`{self.card.model}` takes another input", expected=wanted.get(kind, "a tensor"), got=got)
        return source

    def _prepared(self, loaded: NDArray[Any] | tuple[NDArray[Any], int]) -> tuple[Float32, Geometry | None]:
        """Return the input tensor, and for a picture where its pixels went."""
        spec = self.card.input
        if isinstance(loaded, tuple):
            samples, rate = loaded
            if rate <= 0 or samples.ndim != 1:
                raise ShapeError("sound must be (n,) samples at a rate above 0", got=(samples.shape, rate))
            return prepare_audio(np.asarray(samples, np.float32), rate, spec), None
        if spec.kind == "image":
            return prepare(as_rgb(loaded), spec)
        return np.ascontiguousarray(loaded, np.float32), None
