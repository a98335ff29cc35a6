"""From a picture or a sound to typed results: preprocess, infer, decode, each timed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .audio import read_audio
from .audio_input import prepare_audio
from .card import Card
from .decode import bind, get_decoder
from .embedded import read_card
from .engine_choice import Choice, choose
from .engines import Engine, open_engine
from .errors import InputError, ShapeError
from .geometry import Geometry
from .image import as_rgb, read_image
from .preprocess import Preparer
from .results import Result

if TYPE_CHECKING:
    from .stream import Stream

__all__ = ["Pipeline", "Prepared", "Source", "TimedResult"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Loaded = NDArray[Any] | tuple[NDArray[Any], int]
Source = str | os.PathLike[str] | Loaded


@dataclass(frozen=True, kw_only=True)
class TimedResult(Result):
    """A result, and what it took: a decoder is a pure function and knows no clock, so it cannot say itself.

    Attributes:
        times: pre_ms, infer_ms and decode_ms, wall clock.
    """

    times: Mapping[str, float] = field(default_factory=dict)


_PARTS = tuple(item.name for item in fields(Result))


class Prepared(NamedTuple):
    """What the engine takes, and what the decoder needs beside its outputs.

    Attributes:
        tensor: float32, the shape of the card's input; given back to the preparer by `Pipeline.infer`.
        geometry: where the picture's pixels went; None without a picture.
        picture: (H, W, 3) uint8 RGB; None without a picture.
        pre_ms: what it took, wall clock.
    """

    tensor: Float32
    geometry: Geometry | None
    picture: UInt8 | None
    pre_ms: float


class Pipeline:
    """An artifact that is ready to answer, one source at a time or a stream of them.

    `Pipeline.load` makes one. Threads may share it, and several may live in one process. It holds an engine: close it,
    or use it in a `with` block. It guards against damaged files, not against crafted ones that crash an engine:
    `isolate.guard` does.

    Attributes:
        card: the artifact's card.
        engine: what executes it.
        threshold: smallest score that is kept; None is the card's.
        choice: how engine and threads were chosen.
    """

    def __init__(
        self, card: Card, engine: Engine, *, threshold: float | None = None, choice: Choice | None = None
    ) -> None:
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise InputError("bad threshold", expected="0 to 1", got=threshold)
        self.card = card
        self.engine = engine
        self.threshold = threshold
        self.choice = choice or Choice(engine=engine.name, threads=engine.threads, rows=(), cached=False, note="given")
        self._decode = bind(card)
        self._preparer = Preparer(card.input) if card.input.kind == "image" else None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str = "auto",
        threads: int | None = None,
        threshold: float | None = None,
        card: Card | None = None,
        verbose: bool = False,
    ) -> Pipeline:
        """Return a pipeline for an artifact.

        Args:
            path: an ONNX or TFLite file.
            engine: "auto", "onnxruntime" or "litert".
            threads: CPU threads of the engine; None: the fastest number, measured once per machine and file.
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
        choice = choose(path, known, engine=engine, threads=threads)
        opened = open_engine(path, known, engine=choice.engine, threads=choice.threads, verbose=verbose)
        try:
            return cls(known, opened, threshold=threshold, choice=choice)
        except BaseException:
            opened.close()
            raise

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
        prepared = self.prepare(self.read(source))
        outputs, infer_ms = self.infer(prepared)
        return self.decode(prepared, outputs, infer_ms)

    def stream(
        self,
        source: str | os.PathLike[str] | int | Iterable[Source],
        *,
        depth: int = 2,
        step_s: float | None = None,
        half_life_s: float | None = None,
        latest: bool | None = None,
    ) -> Stream:
        """Return the results for a video, a camera, a folder, a long sound or any number of sources, one by one.

        Reading and preprocessing, inference, and decoding overlap: each of the first two has a thread, the third
        happens in the caller's `next`. See `stream.Stream` for order, errors and how it ends.

            with pipeline.stream("street.mp4") as frames:
                for frame in frames:
                    print(frame.time_s, frame.result)

        Args:
            source: a folder (its pictures, or for a card of kind "audio" its sound files, by name; sub-folders are not
                entered); a picture; a video file; "camera:0" or 0; a sound file, heard in windows of the card's length;
                an iterable of what `__call__` takes, the arrays of which must not be written to afterwards; or an
                array of frames (N, H, W, 3).
            depth: most items that wait before the engine, and most results that wait behind it, 1..64; 1 with `latest`.
            step_s: from one window of a sound file to the next, a sixth of the card's length if None; for folders and
                iterables the time between two items, 1/25 s if None.
            half_life_s: smooth emotions over time, see `emotion.Smoother`; None does not, and it is of no effect on
                results without an emotion.
            latest: let the newest item replace one that waits for the engine, so that results are never old; None:
                for cameras only.

        Raises:
            MediaError, DeviceError: the source cannot be opened; files are opened by the first `next` at the latest.
            InputError: the source is not what the card's input takes, or an argument is out of range.
            MissingExtraError: video without OpenCV.
        """
        from .stream import Stream, open_source

        opened = open_source(source, self.card, step_s=step_s)
        return Stream(self, opened, depth=depth, half_life_s=half_life_s, latest=latest)

    def read(self, source: Source) -> Loaded:
        """Return the picture, samples or tensor behind a source: what a file holds, or the arrays as they are.

        Raises:
            MediaError: the file cannot be read.
            InputError: the card takes another input.
        """
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
        pair = isinstance(source, tuple) and len(source) == 2
        if pair != (kind == "audio") or not (pair or isinstance(source, np.ndarray)):
            wanted = {"image": "a file or (H, W, 3) uint8", "audio": "a file or (samples, rate)"}
            got = "(samples, rate)" if pair else "an array" if isinstance(source, np.ndarray) else type(source).__name__
            raise InputError(f"`{self.card.model}` takes another input", expected=wanted.get(kind, "a tensor"), got=got)
        return source

    def prepare(self, loaded: Loaded) -> Prepared:
        """Return the input tensor of a picture, samples or tensor.

        Raises:
            InputError, ShapeError: it is not what the card's input takes.
            CardError: the card's audio settings contradict each other.
        """
        started = perf_counter()
        geometry, picture = None, None
        if isinstance(loaded, tuple):
            samples, rate = _floats(loaded[0]), loaded[1]
            if not isinstance(rate, int | np.integer):
                raise InputError("the rate of a sound must be a whole number", expected="Hz", got=repr(rate)[:40])
            if rate <= 0 or samples.ndim != 1:
                raise ShapeError("sound must be (n,) samples at a rate above 0", got=(samples.shape, rate))
            tensor = prepare_audio(samples, int(rate), self.card.input)
        elif self._preparer is not None:
            picture = as_rgb(loaded)
            tensor, geometry = self._preparer(picture)
        else:
            tensor = np.ascontiguousarray(_floats(loaded))
            if tensor.shape != self.card.input.shape:  # here, where a stream goes on with the next one
                raise ShapeError(
                    f"`{self.card.model}` takes another tensor", expected=self.card.input.shape, got=tensor.shape
                )
        return Prepared(tensor, geometry, picture, (perf_counter() - started) * 1e3)

    def infer(self, prepared: Prepared) -> tuple[dict[str, Float32], float]:
        """Return the network's outputs by name, and what they took, ms.

        A picture's tensor is handed back to be used for the next one: infer it once, and do not read it afterwards.

        Raises:
            ShapeError: the tensor is not what the card says.
            ArtifactError: the engine failed.
            InputError: the pipeline is closed.
        """
        started = perf_counter()
        try:
            outputs = self.engine.run(prepared.tensor)
        finally:
            if self._preparer is not None:
                self._preparer.release(prepared.tensor)
        return outputs, (perf_counter() - started) * 1e3

    def decode(self, prepared: Prepared, outputs: Mapping[str, NDArray[Any]], infer_ms: float) -> TimedResult:
        """Return what the card's decoder makes of the outputs, with the times of all three stages.

        Raises:
            ShapeError, InputError: the outputs do not suit the decoder.
        """
        started = perf_counter()
        result = self._decode(outputs, prepared.geometry, self.threshold)
        decode_ms = (perf_counter() - started) * 1e3
        times = {"pre_ms": prepared.pre_ms, "infer_ms": infer_ms, "decode_ms": decode_ms}
        return TimedResult(**{name: getattr(result, name) for name in _PARTS}, times=times)

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        self.engine.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _floats(array: object) -> Float32:
    """Return an array of real numbers as float32, the same one if it is that already."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError("this input takes real numbers", expected="a NumPy array of them", got=got)
    return np.asarray(array, np.float32)
