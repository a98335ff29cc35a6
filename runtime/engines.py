"""Engines: onnxruntime for ONNX files, LiteRT for TFLite files, behind one protocol.

An engine is imported by the function that opens it. Its exceptions are wrapped here, once. What a file really takes
and gives is held against its card before the first run, and every output's shape after each run.

Both engines let go of the interpreter lock while they compute, so that a thread may decode meanwhile. One engine may be
used from several threads: onnxruntime's session runs them side by side, LiteRT's interpreter one after the other.

A crafted file can abort the process inside an engine's native code; `isolate.probe` is the guard against that.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .card import MAX_ELEMENTS, Card, OutputSpec, Target
from .embedded import file_target
from .errors import ArtifactError, EdgeError, InputError, MissingExtraError, ResourceError, ShapeError

__all__ = [
    "ENGINES",
    "MAX_THREADS",
    "Engine",
    "LiteRtEngine",
    "OnnxEngine",
    "check_threads",
    "engine_version",
    "engines_for",
    "missing_engine",
    "noise_input",
    "open_engine",
    "pick_engine",
    "quiet_stderr",
]

Float32 = NDArray[np.float32]
# engine -> (format it runs, distribution it comes from, extra that brings it)
ENGINES = {
    "onnxruntime": (Target.ONNX, "onnxruntime", "onnxruntime"),
    "litert": (Target.TFLITE, "ai-edge-litert", "litert"),
}
MAX_THREADS = 256
# onnxruntime 1.31 starts a thread at import that sends usage data; nobody asked our users, and it disturbs timings.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class Engine(Protocol):
    """What executes an artifact. Every method may be called from any thread.

    Attributes:
        name: "onnxruntime" or "litert".
        version: of the installed package.
        threads: CPU threads it was told to use.
    """

    name: str
    version: str
    threads: int

    def run(self, tensor: Float32) -> dict[str, Float32]:
        """Return the outputs for one input tensor.

        Args:
            tensor: float32, the shape of the card's input.

        Returns:
            Card's output name -> float32 array of the card's shape, in the card's order; the caller owns them.

        Raises:
            ShapeError: the tensor is not what the card says.
            ArtifactError: the engine failed, or an output has another shape than the card says.
        """

    def close(self) -> None:
        """Release the file and its memory. Safe to call twice."""


def open_engine(
    path: str | os.PathLike[str], card: Card, *, engine: str = "auto", threads: int = 1, verbose: bool = False
) -> OnnxEngine | LiteRtEngine:
    """Return an engine that has loaded an artifact and found it to be what its card says.

    Args:
        path: an ONNX or TFLite file.
        card: its card.
        engine: "auto" goes by the file's content; "onnxruntime" or "litert" insist.
        threads: CPU threads, 1..256.
        verbose: let the engine log to stderr.

    Raises:
        ArtifactError: the file is damaged, foreign, or says something else than the card.
        MissingExtraError: the engine is not installed.
        ResourceError: memory ran out.
        InputError: an unknown engine, one that does not run this format, or a bad thread count.
    """
    check_threads(threads)
    chosen = pick_engine(path, engine)
    kind: type[OnnxEngine] | type[LiteRtEngine] = OnnxEngine if chosen == "onnxruntime" else LiteRtEngine
    return kind(Path(path), card, threads=threads, verbose=verbose)


def check_threads(threads: int) -> None:
    """Refuse a number of threads that is not 1..256 with an InputError."""
    if not 1 <= threads <= MAX_THREADS:
        raise InputError("bad number of threads", expected=f"1 to {MAX_THREADS}", got=threads)


def pick_engine(path: str | os.PathLike[str], engine: str = "auto") -> str:
    """Return the name of the engine that runs a file, an installed one if there is one; see `open_engine`."""
    names = engines_for(path, engine)
    return next((name for name in names if engine_version(name) is not None), names[0])


def engines_for(path: str | os.PathLike[str], engine: str = "auto") -> tuple[str, ...]:
    """Return the names of all engines that run a file, installed or not; at least one.

    Args:
        path: an ONNX or TFLite file.
        engine: "auto", or the only one that is wanted.

    Raises:
        ArtifactError: the file is neither ONNX nor TFLite.
        InputError: an unknown engine, or one that does not run this format.
    """
    if engine != "auto" and engine not in ENGINES:
        raise InputError(f"unknown engine `{engine}`", expected=" | ".join(["auto", *ENGINES]))
    target = file_target(path)
    if engine == "auto":
        return tuple(name for name, (runs, _, _) in ENGINES.items() if runs is target)
    if ENGINES[engine][0] is not target:
        hint = "leave `--engine` out, or name other files"
        raise InputError(f"engine `{engine}` does not run {target.value} files", hint=hint)
    return (engine,)


def engine_version(engine: str) -> str | None:
    """Return the installed version of an engine, or None; imports nothing."""
    try:
        return importlib.metadata.version(ENGINES[engine][1])
    except importlib.metadata.PackageNotFoundError:
        return None


def missing_engine(engine: str, reason: object = None) -> MissingExtraError:
    """Return the error for an engine that is not installed; its hint is the command that installs it."""
    _, package, extra = ENGINES[engine]
    hint = f"pip install 'edge-vision[{extra}]'"
    return MissingExtraError(f"this file needs {package}, which is not installed", got=reason, hint=hint)


def noise_input(card: Card, seed: int = 0) -> Float32:
    """Return seeded noise that fills the range of a card's input, for a run whose answer nobody reads.

    Zeros would do for shapes, but they can be faster than pictures are, and reach less of a network.

    Args:
        card: of the artifact.
        seed: of the noise.

    Returns:
        float32, the shape of the card's input: pixels 0..255 or a z-score of -2..2, scaled by the card's mean and std;
        for a card of kind "tensor" -1..1.

    Raises:
        ResourceError: memory ran out.
    """
    spec = card.input
    try:
        noise = np.random.default_rng(seed).random(spec.shape, dtype=np.float32)
    except MemoryError as exc:
        raise ResourceError(f"out of memory for the input of `{card.model}`", got=spec.shape) from exc
    if spec.kind == "tensor":
        low, high = -1.0, 1.0
    elif spec.audio is not None and spec.audio.normalise == "zscore":
        low, high = -2.0, 2.0
    else:
        low, high = 0.0, 255.0
    noise *= high - low  # in place: an input may have a gigabyte
    noise += low
    if spec.kind != "tensor":
        per_channel = (-1, 1, 1) if spec.layout == "NCHW" else (-1,)
        with np.errstate(all="ignore"):  # a card's constants may leave float32's range, as its pictures then do
            mean, std = (np.asarray(values, np.float32).reshape(per_channel) for values in (spec.mean, spec.std))
            noise -= mean
            noise /= std
    return noise


class OnnxEngine:
    """onnxruntime on the CPU, with its default graph optimiser."""

    name = "onnxruntime"

    def __init__(self, path: Path, card: Card, *, threads: int = 1, verbose: bool = False) -> None:
        with _importing(self.name):
            import onnxruntime
        self.version: str = onnxruntime.__version__
        self.threads = threads
        self._file = path.name
        self._card = card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 2 if verbose else 4
        # The file is handed over as bytes, and weights outside it are looked for where nothing can be: a crafted file
        # must not read others of this machine. Our own exports keep their weights inside.
        nowhere = os.path.join(os.devnull, "none")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", nowhere)
        with _foreign(self._file, "onnxruntime refused the file"):
            content = path.read_bytes()
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _check_single_input(self._file, [item.name for item in inputs])
        _check_tensor(self._file, "input", inputs[0].type, inputs[0].shape, card.input.shape)
        found = {item.name: item for item in outputs}
        _check_names(self._file, card, list(found))
        for spec in card.outputs:
            item = found[spec.name]
            _check_tensor(self._file, f"output `{spec.name}`", item.type, item.shape, spec.shape)
        self._input: str = inputs[0].name
        self._names = [spec.name for spec in card.outputs]

    def run(self, tensor: Float32) -> dict[str, Float32]:
        """Return the outputs for one input tensor; see `Engine.run`."""
        session = self._session  # another thread may close the engine meanwhile; this run still ends well
        if session is None:
            raise InputError("the engine is closed")
        _check_input(self._card, tensor)
        try:  # no context manager: after a network their Python is cold, and costs tens of microseconds
            arrays = session.run(self._names, {self._input: np.ascontiguousarray(tensor)})
        except Exception as exc:
            raise _wrapped(exc, self._file, "onnxruntime failed on the file") from exc
        return _checked_outputs(self._file, self._card.outputs, arrays)

    def repeat(self, tensor: Float32) -> Callable[[], list[Any]]:
        """Return a call that infers one input again, nothing of it checked: for measurements, after a `run`."""
        session, names, feed = self._session, self._names, {self._input: np.ascontiguousarray(tensor)}
        return lambda: session.run(names, feed)

    def close(self) -> None:
        """Release the session."""
        self._session = None


class LiteRtEngine:
    """LiteRT's interpreter on the CPU, with its default XNNPACK delegate."""

    name = "litert"

    def __init__(self, path: Path, card: Card, *, threads: int = 1, verbose: bool = False) -> None:
        with _importing(self.name), quiet_stderr(not verbose):
            from ai_edge_litert.interpreter import Interpreter
        self.version: str = importlib.metadata.version("ai-edge-litert")
        self.threads = threads
        self._file = path.name
        self._card = card
        with _foreign(self._file, "LiteRT refused the file"), quiet_stderr(not verbose):
            content = path.read_bytes()
            self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        _check_single_input(self._file, [item["name"] for item in inputs])
        _check_tensor(self._file, "input", inputs[0]["dtype"], inputs[0]["shape"].tolist(), card.input.shape)
        with _foreign(self._file, "LiteRT cannot plan the file"), quiet_stderr(not verbose):
            signatures: dict[str, dict[str, Any]] = self._interpreter.get_signature_list()
            chosen = _match_outputs(self._file, card, outputs, self._signature_tensors(signatures))
            for item in outputs:  # before memory is planned for them
                _check_elements(self._file, item["name"], item["shape"].tolist())
            self._interpreter.allocate_tensors()
        for spec, item in zip(card.outputs, chosen, strict=True):
            _check_tensor(self._file, f"output `{spec.name}`", item["dtype"], item["shape"].tolist(), spec.shape)
        self._input: int = inputs[0]["index"]
        self._outputs: list[int] = [item["index"] for item in chosen]
        self._silent = not verbose  # operators may still speak on the first run
        self._lock = threading.Lock()  # around all that touches the interpreter, which knows no threads

    def run(self, tensor: Float32) -> dict[str, Float32]:
        """Return the outputs for one input tensor; see `Engine.run`."""
        _check_input(self._card, tensor)
        with self._lock:
            if self._interpreter is None:
                raise InputError("the engine is closed")
            try:  # as in `OnnxEngine.run`
                if self._silent:
                    with quiet_stderr(True):
                        arrays = self._invoke(self._interpreter, tensor)
                    self._silent = False
                else:
                    arrays = self._invoke(self._interpreter, tensor)
            except Exception as exc:
                raise _wrapped(exc, self._file, "LiteRT failed on the file") from exc
        return _checked_outputs(self._file, self._card.outputs, arrays)

    def repeat(self, tensor: Float32) -> Callable[[], list[Any]]:
        """Return a call that infers one input again, nothing of it checked: for measurements, after a `run`.

        Not for several threads at once.
        """
        interpreter, ready = self._interpreter, np.ascontiguousarray(tensor)
        return lambda: self._invoke(interpreter, ready)

    def _invoke(self, interpreter: Any, tensor: Float32) -> list[Any]:
        interpreter.set_tensor(self._input, np.ascontiguousarray(tensor))
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._outputs]  # copies

    def close(self) -> None:
        """Release the interpreter; a run in another thread ends first."""
        with self._lock:
            self._interpreter = None

    def _signature_tensors(self, signatures: dict[str, dict[str, Any]]) -> dict[str, int]:
        """Return output name -> tensor index of the one signature, or nothing where there is not exactly one."""
        if len(signatures) != 1:
            return {}
        details = self._interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
        return {str(name): int(item["index"]) for name, item in details.items()}


def _match_outputs(
    file: str, card: Card, outputs: Sequence[dict[str, Any]], signature: dict[str, int]
) -> list[dict[str, Any]]:
    """Return the file's outputs in the card's order: by signature name, by tensor name, or else in graph order.

    Converters rename TFLite tensors ("StatefulPartitionedCall:1"), which is why the card promises graph order; the
    shapes are checked in every case.
    """
    by_index = {int(item["index"]): item for item in outputs}
    named = {name: by_index[index] for name, index in signature.items() if index in by_index}
    tensors = {str(item["name"]): item for item in outputs}
    wanted = [spec.name for spec in card.outputs]
    for table in (named, tensors):
        if all(name in table for name in wanted):
            return [table[name] for name in wanted]
    if len(outputs) != len(wanted) or any(name in table for name in wanted for table in (named, tensors)):
        _check_names(file, card, list(named or tensors))
    return list(outputs)


def _check_names(file: str, card: Card, found: list[str]) -> None:
    missing = [spec.name for spec in card.outputs if spec.name not in found]
    if missing:
        raise ArtifactError(
            f"`{file}` lacks the output{'s' * (len(missing) > 1)} {', '.join(f'`{name}`' for name in missing[:4])}",
            expected=f"{len(card.outputs)} outputs of the card",
            got=", ".join(found[:8]) or "none",
            hint="export it again, or pass the right `--card`",
        )


def _check_single_input(file: str, names: list[str]) -> None:
    if len(names) != 1:
        raise ArtifactError(f"`{file}` has another number of inputs", expected=1, got=len(names))


def _check_tensor(file: str, what: str, dtype: object, shape: Sequence[object], wanted: tuple[int, ...]) -> None:
    """Hold one real tensor against the card; a symbolic dimension (a name, None or -1) fits any size."""
    if dtype not in ("tensor(float)", np.float32):
        raise ArtifactError(
            f"`{file}`: {what} has the wrong type", expected="float32", got=getattr(dtype, "__name__", dtype)
        )
    fits = len(shape) == len(wanted) and all(
        not isinstance(size, int) or size == -1 or size == want for size, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        hint = "export it again, or pass the right `--card`"
        raise ArtifactError(f"`{file}`: {what} is not what the card says", expected=wanted, got=tuple(shape), hint=hint)


def _check_elements(file: str, name: str, shape: list[int]) -> None:
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        raise ArtifactError(f"`{file}`: tensor `{name}` is too large", expected="at most 2**28 elements", got=shape)


def _check_input(card: Card, tensor: Float32) -> None:
    if tensor.shape != card.input.shape or tensor.dtype != np.float32:
        raise ShapeError(
            f"`{card.model}` takes another tensor",
            expected=f"float32 {card.input.shape}",
            got=f"{tensor.dtype} {tensor.shape}",
        )


def _checked_outputs(file: str, specs: Sequence[OutputSpec], arrays: Sequence[Any]) -> dict[str, Float32]:
    outputs: dict[str, Float32] = {}
    for spec, array in zip(specs, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.shape != spec.shape or array.dtype != np.float32:
            got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ArtifactError(
                f"`{file}` gave another output `{spec.name}`", expected=f"float32 {spec.shape}", got=got
            )
        outputs[spec.name] = array
    return outputs


@contextlib.contextmanager
def _importing(engine: str) -> Iterator[None]:
    """Turn a missing engine into the command that installs it."""
    try:
        yield
    except ImportError as exc:
        raise missing_engine(engine, str(exc)[:60]) from exc


@contextlib.contextmanager
def _foreign(file: str, what: str) -> Iterator[None]:
    """Wrap whatever an engine raises in the block; see `_wrapped`."""
    try:
        yield
    except (ArtifactError, MissingExtraError):
        raise
    except Exception as exc:
        raise _wrapped(exc, file, what) from exc


def _wrapped(exc: Exception, file: str, what: str) -> EdgeError:
    """Return the error of ours that an engine's means; they use ValueError, RuntimeError and classes of their own."""
    if isinstance(exc, MemoryError):
        return ResourceError(f"out of memory on `{file}`")
    reason = str(exc)
    if "bad_alloc" in reason or "Failed to allocate memory" in reason:
        return ResourceError(f"out of memory on `{file}`", got=reason[:120])
    return ArtifactError(what, expected="a model that edge exported", got=f"`{file}`: {reason[:160]}")


@contextlib.contextmanager
def quiet_stderr(quiet: bool = True) -> Iterator[None]:
    """Send file descriptor 2 to nowhere meanwhile: LiteRT's native code logs there and has no switch for it."""
    if not quiet:
        yield
        return
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()


class _Silence:
    """The switch of file descriptor 2, which all threads of the process share.

    The first in turns it, the last out turns it back: two that load at a time neither wait for each other nor leave the
    descriptor on the null device, as each saving what it found would.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: int | None = None

    def enter(self) -> None:
        """Silence the descriptor."""
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            with contextlib.suppress(OSError, ValueError, AttributeError):  # Python's own stderr is closed or None
                sys.stderr.flush()
            with contextlib.suppress(OSError):  # the descriptor is closed, or none is left: nothing is silenced
                saved = os.dup(2)
                try:
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, 2)
                    os.close(nowhere)
                except OSError:
                    os.close(saved)
                    raise
                self._saved = saved

    def leave(self) -> None:
        """Let it speak again once nobody else is inside."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved is not None:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = None


_silence = _Silence()
