"""A browser on this machine as a device: artifacts run in a headless Chromium, as a web page would run them.

ONNX files run by onnxruntime-web, TFLite files by LiteRT.js, both as WebAssembly with SIMD on the processor, with as
many threads as the plan says. What is measured is measured, in that browser on this machine; it says nothing of a
browser elsewhere. The page (the folder `web`) prepares pictures, infers and decodes by itself; docs/bench-browser.md
says how its times are defined.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card
from ..runtime.embedded import read_card
from ..runtime.engines import engine_version, missing_engine, noise_input, pick_engine
from ..runtime.errors import ArtifactError, DeviceError, InputError
from ..runtime.isolate import guard
from .agreement import held_against_host
from .chromium import Chromium, find_chromium
from .device import Evidence
from .environment import environment
from .launch import SCHEMA, Launch, read_launch, told
from .page_server import GONE, PageServer
from .plan import Plan
from .web_engines import WEB_ENGINES, engine_files
from .worker import read_source

__all__ = ["Answer", "BrowserDevice", "visit"]

Float32 = NDArray[np.float32]

SILENCE_S = 180.0  # longest time without a line from the page, above its warm-up
POLL_S = 0.5
MAX_PICTURE = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a page made of one source.

    Attributes:
        result: what its decoder found: `kind`, and `faces`, `people` or `emotion`; coordinates in pixels.
        tensor: float32, the card's input as the page prepared it or got it.
        outputs: by name, float32, the card's shapes.
        overlay: PNG of the find, drawn by the page on its canvas; None where there is nothing to draw on.
    """

    result: dict[str, Any]
    tensor: Float32
    outputs: dict[str, Float32]
    overlay: bytes | None


class BrowserDevice:
    """Chromium on this machine, started anew for each launch.

    Attributes:
        name, evidence: see `device.Device`.
    """

    name = "browser"
    evidence = Evidence.MEASURED

    def __init__(
        self, program: str | None = None, *, silence_s: float = SILENCE_S, options: Sequence[str] = ()
    ) -> None:
        """Find the browser.

        Args:
            program: of Chromium; None: `$EDGE_CHROMIUM`, or the first on the path.
            silence_s: longest time without a line from the page, next to the warm-up that a plan asks for.
            options: further ones of Chromium's command line.

        Raises:
            DeviceError: there is no browser; the hint says how to get one.
        """
        self.program = find_chromium(program)
        self.silence_s = silence_s
        self.options = tuple(options)
        self._page: _Page | None = None

    def engine_version(self, engine: str) -> str | None:
        """Return the version of the web engine that stands for an engine."""
        return WEB_ENGINES[engine][1]

    def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
        """Measure one artifact on one page, and hold its outputs against the host's engine; see `device.Device`.

        `cpu_ms` stays empty, for a browser knows no processor time; `pre_ms` stays empty for sound, whose tensor is
        prepared here.

        Raises:
            DeviceError: there is no browser, it died, it did not answer, or the page failed.
            MissingExtraError: an engine, the browser's or the host's, is not installed; the hint is the command.
            ArtifactError, InputError: the file or the source was refused, here or there.
            ParityError: an output is farther from the host's engine than the card allows.
        """
        job = self._job("bench", artifact, plan.engine, plan, source)
        with self._open(job, plan.pin) as page:
            silence_s = self.silence_s + plan.warmup_s
            lines = _with_machine(page.lines(silence_s), page.browser.peak_rss_bytes, job.preprocessing)
            read_launch(lines, launch, optional=("cpu_ms", "pre_ms"))
            got = _arrays(job.card, page.server.blobs)
        launch.agreement = held_against_host(artifact, job.card, plan.engine, *got, where="in the browser")
        return launch

    def answer(self, artifact: Path, source: Path, *, threads: int = 1) -> Answer:
        """Return what a page makes of one picture or sound.

        Args:
            artifact: ONNX or TFLite file.
            source: .npz as `Plan.source`.
            threads: of the engine.

        Raises:
            As `launch`; no host's engine is asked.
        """
        engine = pick_engine(artifact)
        job = self._job("answer", artifact, engine, Plan(artifact="", engine=engine, threads=threads), source)
        result: dict[str, Any] = {}
        with self._open(job) as page:
            for event in page.events(self.silence_s):
                result = event.get("result", result)
            tensor, outputs = _arrays(job.card, page.server.blobs)
            return Answer(result=result, tensor=tensor, outputs=outputs, overlay=page.server.blobs.get("overlay"))

    def overlay(self, artifact: Path, source: Path) -> bytes:
        """Return a PNG of what a page found in a picture or sound, as it drew it; see `answer`.

        Raises:
            InputError: the card's decoder finds nothing that could be drawn.
        """
        found = self.answer(artifact, source)
        if found.overlay is None:
            raise InputError(f"`{artifact.name}` gives nothing to draw", got=f"kind `{found.result.get('kind')}`")
        return found.overlay

    def close(self) -> None:
        """End the browser that runs, if one does; whoever waits for its page gets a DeviceError."""
        page = self._page
        if page is not None:
            page.browser.close()

    def _job(self, kind: str, artifact: Path, engine: str, plan: Plan, source: Path | None) -> _Job:
        """Collect what a page needs; the file has proved harmless to the host's engine before."""
        if engine_version(engine) is None:
            raise missing_engine(engine)
        files = engine_files(engine)
        card = read_card(artifact)
        pick_engine(artifact, engine)
        guard(artifact, card, engine=engine)
        name, version, _ = WEB_ENGINES[engine]
        try:
            files["artifact.bin"] = artifact.read_bytes()
        except OSError as exc:
            raise ArtifactError(f"cannot read `{artifact.name}`", got=exc.strerror) from exc
        values: dict[str, Any] = {
            "kind": kind,
            "schema": SCHEMA,
            "plan": plan.to_dict(),
            "least": plan.least,
            "card": card.to_dict(),
            "engine": {"name": name, "version": version},
            "frames": source is not None,
            "caption": f"{artifact.name}, {name} {version} (WebAssembly, {_count(plan.threads)}) in Chromium",
        }
        preprocessing = "none: the tensor is noise"
        if source is None:
            files["tensor.bin"] = noise_input(card).tobytes()
        else:
            loaded = read_source(os.fspath(source))
            if card.input.kind == "image":
                picture = _rgba(loaded, card)
                files["picture.rgba"], values["hw"] = picture.tobytes(), picture.shape[:2]
                preprocessing = "browser"
            else:
                files["tensor.bin"] = _prepared(card, loaded).tobytes()
                preprocessing = "host: the tensor was made in Python, which is in no time here"
        files["job.json"] = json.dumps(values, allow_nan=False).encode()
        return _Job(card=card, files=files, preprocessing=preprocessing)

    def _open(self, job: _Job, pin: Sequence[int] = ()) -> _Page:
        most = {"tensor": 4 * int(np.prod(job.card.input.shape)), "overlay": MAX_PICTURE}
        most |= {f"output-{i}": 4 * int(np.prod(spec.shape)) for i, spec in enumerate(job.card.outputs)}
        self._page = visit(self.program, job.files, most, pin=pin, options=self.options)
        return self._page


@dataclass(frozen=True, kw_only=True)
class _Job:
    card: Card
    files: dict[str, bytes]
    preprocessing: str


def visit(
    program: str,
    files: Mapping[str, bytes],
    blobs: Mapping[str, int],
    *,
    pin: Sequence[int] = (),
    options: Sequence[str] = (),
) -> _Page:
    """Return a page that has its job, to be used in a `with` block.

    Args:
        program: of Chromium.
        files: name -> content: `job.json`, and what the job needs.
        blobs: name -> most bytes, of what the page may post.
        pin, options: see `chromium.Chromium`.

    Raises:
        DeviceError: the browser does not start.
    """
    server = PageServer(files, blobs)
    try:
        return _Page(server, Chromium(program, server.address, pin=pin, options=options))
    except BaseException:
        server.close()
        raise


class _Page:
    """A browser and the server that it talks to."""

    def __init__(self, server: PageServer, browser: Chromium) -> None:
        self.server = server
        self.browser = browser

    def __enter__(self) -> _Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.closing = True
        self.browser.close()
        self.server.close()

    def lines(self, silence_s: float) -> Iterator[str]:
        """Yield the lines that the page posts, as they come, until nobody asks any more.

        Raises:
            DeviceError: the browser or its page is gone, or nothing came for too long.
        """
        deadline = time.monotonic() + silence_s
        while True:
            try:
                line = self.server.lines.get(timeout=POLL_S)
            except Empty:
                if self.browser.ended:
                    words = self.browser.last_words()
                    raise DeviceError("the browser ended before its page was done", got=words) from None
                if time.monotonic() > deadline:
                    raise DeviceError(
                        "the page in the browser does not answer", expected=f"a line every {silence_s:g} s"
                    ) from None
                continue
            if line is GONE:
                raise DeviceError("the page in the browser crashed, or was closed")
            yield line
            deadline = time.monotonic() + silence_s

    def events(self, silence_s: float) -> Iterator[dict[str, Any]]:
        """Yield the page's events up to "done"; raise what it says has failed.

        Raises:
            DeviceError, InputError, ResourceError: as `lines`, or as the page says.
        """
        for line in self.lines(silence_s):
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError, RecursionError) as exc:
                raise DeviceError("the page's answer is no event", got=line[:60]) from exc
            if kind == "failed":
                raise told(event)
            yield event
            if kind == "done":
                return


def _with_machine(lines: Iterator[str], peak: Callable[[], int | None], preprocessing: str) -> Iterator[str]:
    """Add what a page cannot know: the machine around it, and the memory of its process."""
    for line in lines:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError, RecursionError):
            yield line  # to be refused by whoever reads it
            continue
        if kind == "start":
            event["environment"] = {
                **environment(),
                "browser": {**event["environment"], "preprocessing": preprocessing},
            }
        elif kind == "done":
            event["environment"] = environment()
            event["peak_rss_bytes"] = peak()
        yield json.dumps(event)


def _rgba(loaded: Any, card: Card) -> NDArray[np.uint8]:
    """Return (H, W, 4) uint8, as a canvas holds a picture."""
    if not isinstance(loaded, np.ndarray) or loaded.ndim != 3 or loaded.shape[2] != 3 or loaded.dtype != np.uint8:
        raise InputError(f"`{card.model}` takes a picture", expected="`picture` (H, W, 3) uint8 in the .npz")
    opaque = np.full((*loaded.shape[:2], 1), 255, np.uint8)
    return np.concatenate([loaded, opaque], axis=2)


def _prepared(card: Card, loaded: Any) -> Float32:
    """Return the input tensor of a sound, prepared in this process."""
    from ..runtime.audio_input import prepare_audio

    if card.input.kind != "audio" or not isinstance(loaded, tuple):
        raise InputError(f"`{card.model}` takes another source", expected=f"one of kind `{card.input.kind}`")
    return prepare_audio(np.asarray(loaded[0], np.float32), int(loaded[1]), card.input)


def _arrays(card: Card, blobs: Mapping[str, bytes]) -> tuple[Float32, dict[str, Float32]]:
    """Return what the page's first run took and gave."""
    wanted = {"tensor": card.input.shape} | {f"output-{i}": spec.shape for i, spec in enumerate(card.outputs)}
    found = {}
    for name, shape in wanted.items():
        content = blobs.get(name, b"")
        if len(content) != 4 * int(np.prod(shape)):
            raise DeviceError(f"the page's `{name}` has another size", expected=shape, got=f"{len(content)} bytes")
        found[name] = np.frombuffer(content, "<f4").reshape(shape)
    outputs = {spec.name: found[f"output-{i}"] for i, spec in enumerate(card.outputs)}
    return found["tensor"], outputs


def _count(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"
