"""Does a long stream keep its order, its frames and its memory, and is it as fast as one call after the other?

Frames are synthetic and carry their number as black and white blocks in the first rows, which survive a video codec.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import MissingExtraError
from ..runtime.pipeline import Pipeline
from .findings import Cell, Section, Table, Verdict

__all__ = ["Watch", "curve", "measure_stream", "number_of", "numbered_frames", "rss_mb"]

UInt8 = NDArray[np.uint8]

FPS = 25
HW = (720, 1280)
BITS, BLOCK = 20, 32  # blocks of 32 x 32 pixels: two macroblocks a side, so that no codec mixes neighbours
WARM_UP, EVERY = 1000, 200  # frames before memory counts, and of each stretch that gives a point of its curve
SAMPLE = 10  # frames between samples within a stretch
MEMORY_MB = 5.0  # what the task sets, up or down
VIDEO_MINUTES = 2.0  # of the video file, which is decoded in this process too
COMPARED = 400  # frames of each of the rounds that compare the stream with plain calls
ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a stream did.

    Attributes:
        frames: how many came out.
        expected: how many went in.
        misplaced: results whose picture carries another number than the result's place, or whose index does.
        errors: results that are errors.
        seconds: wall clock.
        rss_mb: the process's memory after the warm-up, MB: the most of each stretch of 200 frames. A single sample
            depends on how many pictures, of 2.8 MB each, wait between the stages at that moment.
        spread_mb: largest less smallest single sample, MB.
    """

    frames: int
    expected: int
    misplaced: int
    errors: int
    seconds: float
    rss_mb: tuple[float, ...]
    spread_mb: float | None = None

    @property
    def dropped(self) -> int:
        """How many frames did not come out."""
        return self.expected - self.frames

    @property
    def drift_mb(self) -> float | None:
        """Largest distance of a stretch from the first one; None without two of them."""
        if len(self.rss_mb) < 2:
            return None
        return max(abs(peak - self.rss_mb[0]) for peak in self.rss_mb)


def measure_stream(
    bundles: Path,
    *,
    minutes: float = 10.0,
    hw: tuple[int, int] = HW,
    log: Callable[[str], None] = lambda _: None,
) -> Section:
    """Return what `Pipeline.stream` does with minutes of video: order, drops, memory, and speed against plain calls.

    Args:
        bundles: folder that `edge export` wrote; the smallest pose student's INT8 file is used.
        minutes: of synthetic video at 25 frames a second.
        hw: height and width of the frames, pixels.
        log: takes lines of progress.
    """
    paths = sorted(bundles.glob("pose-*/*-int8.*"), key=lambda path: path.stat().st_size)
    if not paths:
        return Section(name="stream", skipped=(f"no INT8 pose student in `{bundles.name}` (`--bundles`)",))
    total = max(round(minutes * 60 * FPS), 1)
    rows: list[tuple[Cell, ...]] = []
    verdicts: list[Verdict] = []
    skipped: list[str] = []
    with Pipeline.load(paths[0], threads=1) as pipeline:
        log(f"stream: {total} frames")
        arrays = _watched(pipeline, numbered_frames(total, hw), total, log)
        rows.append(_row(f"arrays, {minutes:g} min", arrays))
        verdicts += _judged("arrays", arrays)
        if not arrays.rss_mb:
            skipped.append("memory: too few frames, or no /proc/self/statm")
        log("stream: against plain calls")
        stream_fps, plain_fps = _speeds(pipeline, hw)
        with tempfile.TemporaryDirectory(prefix="edge-") as folder:
            file = Path(folder) / "numbered.mp4"
            count = min(total, round(VIDEO_MINUTES * 60 * FPS))
            log(f"stream: video file of {count} frames")
            try:
                _write_video(file, count, hw)
                video = _watched(pipeline, file, count, log)
            except MissingExtraError as exc:
                skipped.append(f"video file: {exc}")
            else:
                rows.append(_row(f"mp4, {count / FPS:g} s", video))
                verdicts += _judged("mp4", video)
    speed = Table(
        title="stream against plain calls, frames a second",
        columns=("file", "stream", "plain calls", "ratio"),
        rows=((paths[0].name, stream_fps, plain_fps, stream_fps / plain_fps),),
        note=f"{ROUNDS} rounds of {COMPARED} frames each, in turns, best of each.",
    )
    table = Table(
        title=f"streams of {hw[1]} x {hw[0]} frames through {paths[0].name}",
        columns=("source", "frames", "dropped", "misplaced", "errors", "frames/s", "RSS MB", "drift MB", "spread MB"),
        rows=tuple(rows),
        note=(
            f"RSS: the most in each {EVERY} frames after {WARM_UP}; drift: largest distance of one from the first; "
            "spread: of single samples, which have more or fewer pictures waiting between the stages."
        ),
    )
    return Section(name="stream", tables=(table, speed), verdicts=tuple(verdicts), skipped=tuple(skipped))


def numbered_frames(count: int, hw: tuple[int, int], seed: int = 0) -> Iterator[UInt8]:
    """Yield (H, W, 3) uint8 RGB frames of noise that carry their number; each is an array of its own.

    Args:
        count: how many, below 2**20.
        hw: height and width, pixels; at least 32 x 640.
        seed: of the noise, which is the same in all frames.
    """
    noise = np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)
    for number in range(count):
        picture = noise.copy()
        for bit in range(BITS):
            picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
        yield picture


def number_of(picture: UInt8) -> int:
    """Return the number that a frame carries; the middles of its blocks are read."""
    middle = BLOCK // 2
    row = picture[middle, middle : BITS * BLOCK : BLOCK, 1]
    return int(sum(1 << bit for bit, value in enumerate(row.tolist()) if value > 127))


def rss_mb() -> float | None:
    """Return the memory that this process has in RAM, MB; None where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def curve(samples: Sequence[float]) -> tuple[float, ...]:
    """Return the largest of each full stretch of samples."""
    length = EVERY // SAMPLE
    return tuple(max(samples[first : first + length]) for first in range(0, len(samples) - length + 1, length))


def _watched(pipeline: Pipeline, source: Any, expected: int, log: Callable[[str], None]) -> Watch:
    frames = misplaced = errors = 0
    samples: list[float] = []
    started = perf_counter()
    with pipeline.stream(source) as stream:
        for item in stream:
            right = item.index == frames and item.picture is not None and number_of(item.picture) == frames
            misplaced += not right
            errors += item.error is not None
            frames += 1
            if frames > WARM_UP and frames % SAMPLE == 0 and (now := rss_mb()) is not None:
                samples.append(now)
            if frames % 3000 == 0:
                log(f"stream: {frames} of {expected}")
    return Watch(
        frames=frames,
        expected=expected,
        misplaced=misplaced,
        errors=errors,
        seconds=perf_counter() - started,
        rss_mb=curve(samples),
        spread_mb=max(samples) - min(samples) if samples else None,
    )


def _speeds(pipeline: Pipeline, hw: tuple[int, int]) -> tuple[float, float]:
    """Return frames a second through the stream and by plain calls; both make their frames meanwhile."""
    best = {"stream": 0.0, "plain": 0.0}
    for _ in range(ROUNDS):
        started = perf_counter()
        with pipeline.stream(numbered_frames(COMPARED, hw)) as stream:
            for _ in stream:
                pass
        best["stream"] = max(best["stream"], COMPARED / (perf_counter() - started))
        started = perf_counter()
        for picture in numbered_frames(COMPARED, hw):
            pipeline(picture)
        best["plain"] = max(best["plain"], COMPARED / (perf_counter() - started))
    return best["stream"], best["plain"]


def _write_video(path: Path, count: int, hw: tuple[int, int]) -> None:
    from ..runtime.video import VideoWriter

    with VideoWriter(path, FPS, hw) as writer:
        for picture in numbered_frames(count, hw):
            writer.write(picture)


def _row(source: str, watch: Watch) -> tuple[Cell, ...]:
    memory = watch.rss_mb[-1] if watch.rss_mb else None
    return (
        source,
        watch.frames,
        watch.dropped,
        watch.misplaced,
        watch.errors,
        watch.frames / watch.seconds,
        memory,
        watch.drift_mb,
        watch.spread_mb,
    )


def _judged(source: str, watch: Watch) -> list[Verdict]:
    wrong = abs(watch.dropped) + watch.misplaced + watch.errors
    verdicts = [
        Verdict(
            what=f"stream of {source}: frames dropped, misplaced or failed",
            value=wrong,
            unit="",
            sense="<=",
            limit=0,
            note=f"of {watch.expected}",
        )
    ]
    if watch.drift_mb is not None:
        verdicts.append(
            Verdict(
                what=f"stream of {source}: memory after warm-up",
                value=watch.drift_mb,
                unit="MB",
                sense="<=",
                limit=MEMORY_MB,
            )
        )
    return verdicts
