"""`edge run`: decode pictures, video, a camera or sound with an exported file."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..run_output import Recorder, Tally, json_line, shown_name, summary, write_picture
from ..run_plan import Kind, find_inputs, plan_overlays
from ..runtime.errors import ArtifactError, CardError, InputError, MediaError, MissingExtraError, one_line
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..runtime.card import Card
    from ..runtime.pipeline import Pipeline, TimedResult
    from ..runtime.trace import TracePoint

__all__ = ["command"]

HALF_LIFE_S = 10.0  # of the smoothed emotion: twice the step between windows of 30 s
MAX_MANIFEST_BYTES = 16 << 20


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--draw",
    "draw_to",
    type=click.Path(),
    help="Write an overlay: .png or .jpg of a picture or a sound, .mp4 or .avi of a video or a camera; or `folder/`.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "onnxruntime", "litert"]),
    default="auto",
    show_default=True,
    help="What executes the file; auto takes the fastest that is installed.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="CPU threads of the engine.  [default: the fastest number, measured once for each file and machine]",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Smallest score that is kept; default: the card's.")
@click.option(
    "--frames", type=click.IntRange(1), help="Stop each video, camera or sound after so many frames or windows."
)
@click.option(
    "--step",
    "step_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="From one window of a sound to the next.  [default: a sixth of a window]",
)
@click.option(
    "--smooth",
    "half_life_s",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help=f"Half-life of the smoothed emotion of a sound; 0 does not smooth.  [default: {HALF_LIFE_S:g}]",
)
@click.option("--card", "card_file", type=click.Path(path_type=Path), help="Use this card (JSON or TOML) instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: a picture, frame or window.")
@click.option(
    "--isolate/--no-isolate", default=True, help="Try an unknown file in a child process first.  [default: on]"
)
@click.option("--force", is_flag=True, help="Replace existing overlays.")
@click.option("-v", "--verbose", is_flag=True, help="Let the engine log to stderr.")
def command(
    artifact: Path,
    inputs: tuple[Path, ...],
    draw_to: str | None,
    engine: str,
    threads: int | None,
    threshold: float | None,
    frames: int | None,
    step_s: float | None,
    half_life_s: float | None,
    card_file: Path | None,
    as_json: bool,
    isolate: bool,
    force: bool,
    verbose: bool,
) -> int:
    """Decode pictures, video, a camera or sound with an exported file.

    ARTIFACT is an ONNX or TFLite file; the card inside says what it takes and how to read what it gives. INPUT is a
    picture, a video file, `camera:0`, a sound file of any length, or a folder of such files. Of several inputs a bad
    one is reported and the others are done; the exit code is then 2.

    A picture has a line on stdout, a video, a camera or a sound one at its end; with --json each picture, frame and
    window has one, and the closing line goes to stderr. Ctrl-C is how a camera is stopped: its recording is kept.

    \b
    Example:
        edge run pose-fp32.onnx street.jpg --draw seen.png
        edge run face-int8.tflite photos/ --json > faces.jsonl
        edge run face-int8.tflite party.mp4 --draw seen.mp4
        edge run pose-int8.tflite camera:0 --frames 300 --draw me.mp4
        edge run emotion-fp32.onnx song.wav --step 2 --draw trace.png
    """
    from ..runtime.embedded import load_card, read_card
    from ..runtime.pipeline import Pipeline

    card = load_card(card_file) if card_file else read_card(artifact)
    files = find_inputs(inputs, card.input.kind)
    if draw_to == "":  # of a variable that is not set; `Path` would take it for this folder
        raise InputError("`--draw` is empty", expected="a file or a folder")
    overlay = None if draw_to is None else Path(draw_to)
    _refuse_idle(card, files, overlay, frames=frames, step_s=step_s, half_life_s=half_life_s)
    overlays: Mapping[Path, Path] = {}
    if overlay is not None and draw_to is not None:
        named_folder = draw_to.endswith(("/", os.sep))  # which `Path` forgets
        into_folder = named_folder or len(files) > 1 or overlay.is_dir() or inputs[0].is_dir()
        overlays = plan_overlays(files, overlay, into_folder=into_folder, force=force)
    if isolate:
        from ..runtime.isolate import guard

        guard(artifact, card, engine=engine)
    loaded = Pipeline.load(artifact, engine=engine, threads=threads, threshold=threshold, card=card, verbose=verbose)
    with loaded as pipeline:
        for note in _notes(artifact, pipeline):
            click.echo(f"note: {note}", err=True)
        half_life_s = HALF_LIFE_S if half_life_s is None else half_life_s
        work = _Work(pipeline, overlays, as_json, force, frames, step_s, half_life_s or None, alone=len(files) == 1)
        # Pictures that follow each other are one stream, in which the next is read while this one is inferred.
        for kind, some in itertools.groupby(files, key=files.__getitem__):
            if kind == Kind.PICTURE:
                _look(work, list(some))
                continue
            for file in some:
                with _others_go_on(work):
                    _hear(work, file) if kind == Kind.SOUND else _watch(work, file)
    return MediaError.exit_code if work.refused else 0


@dataclass
class _Work:
    """What stays the same from input to input, and how many were refused."""

    pipeline: Pipeline
    overlays: Mapping[Path, Path]
    as_json: bool
    force: bool
    frames: int | None
    step_s: float | None
    half_life_s: float | None
    alone: bool
    refused: int = 0

    def close_with(self, line: str) -> None:
        """Print the line at the end of a video, a camera or a sound: to stderr where stdout is for JSON."""
        click.echo(line, err=self.as_json)


def _refuse_idle(
    card: Card,
    files: Mapping[Path, Kind],
    overlay: Path | None,
    *,
    frames: int | None,
    step_s: float | None,
    half_life_s: float | None,
) -> None:
    """Refuse options that would do nothing with these inputs."""
    if frames is not None and all(kind == Kind.PICTURE for kind in files.values()):
        raise InputError("`--frames` is for video, cameras and sound", got="pictures only")
    if card.input.audio is None:
        for option, value in (("--step", step_s), ("--smooth", half_life_s)):
            if value is not None:
                raise InputError(f"`{option}` is for sound", got=f"a card of kind `{card.input.kind}`")
        return
    if step_s is not None and step_s > card.input.audio.seconds:
        raise InputError("`--step` would leave gaps", expected=f"at most {card.input.audio.seconds:g} s", got=step_s)
    if overlay is not None and card.decoder.name != "valence-arousal":
        raise InputError("of sound only an emotion can be drawn", got=f"a card with the decoder `{card.decoder.name}`")


def _look(work: _Work, files: Sequence[Path]) -> None:
    """Decode pictures."""
    with work.pipeline.stream(files) as frames:
        for frame in frames:
            file = files[frame.index]
            with _others_go_on(work):
                if frame.error is not None or frame.result is None:
                    raise frame.error or MediaError(f"`{file}` gave no result")
                if file in work.overlays and frame.picture is not None:
                    from ..runtime.draw import draw

                    write_picture(draw(frame.picture, frame.result), work.overlays[file], force=work.force)
                click.echo(json_line(file, frame, timed=False) if work.as_json else summary(file, frame.result))


def _watch(work: _Work, file: Path) -> None:
    """Decode a video, or a camera until Ctrl-C."""
    from ..runtime.trace import clock
    from ..runtime.video import DEFAULT_FPS

    with work.pipeline.stream(file) as frames:
        tally = Tally()
        try:
            with (
                _progress(work, file, _least(frames.total, work.frames)) as progress,
                Recorder(
                    work.overlays.get(file),
                    fps=frames.fps or DEFAULT_FPS,
                    hw=frames.hw or (0, 0),
                    live=frames.live,
                    force=work.force,
                ) as recorder,
            ):
                for frame in itertools.islice(frames, work.frames):
                    recorder.add(frame)
                    tally.add(frame)
                    if work.as_json:
                        click.echo(json_line(file, frame, timed=True))
                    progress.at(tally.frames, note=f"{clock(frame.time_s)}, {tally.rate:.1f} a second")
        except KeyboardInterrupt:  # of a camera it is the button that stops
            if not frames.live or not tally.frames:
                raise
    work.close_with(tally.line(file, "frame"))


def _hear(work: _Work, file: Path) -> None:
    """Decode a sound of any length, window by window."""
    from ..runtime.draw import draw
    from ..runtime.trace import TracePoint, clock, draw_trace

    tally = Tally()
    points: list[TracePoint] = []
    last: TimedResult | None = None
    with (
        work.pipeline.stream(file, step_s=work.step_s, half_life_s=work.half_life_s) as frames,
        _progress(work, file, _least(frames.total, work.frames)) as progress,
    ):
        for frame in itertools.islice(frames, work.frames):
            tally.add(frame)
            last = frame.result
            if last is not None and last.emotion is not None:
                points.append(TracePoint(frame.time_s, last.emotion, frame.smooth))
            if work.as_json:
                click.echo(json_line(file, frame, timed=True))
            progress.at(tally.frames, note=f"{clock(frame.time_s)}, {tally.rate:.1f} a second")
    if last is None:
        raise MediaError(f"`{file}` gave no result")
    if file in work.overlays:
        if not points:
            raise InputError(f"nothing to draw of `{file}`", got="no finite emotion")
        # one window has no "over time"
        drawn = draw(None, last) if tally.frames == 1 else draw_trace(points, title=_title(work.pipeline.card, file))
        write_picture(drawn, work.overlays[file], force=work.force)
    work.close_with(summary(file, last) if tally.frames == 1 else tally.line(file, "window"))


def _progress(work: _Work, file: Path, total: int | None) -> Progress:
    """Return what shows how far a file is: nothing where lines of JSON go to the same terminal."""
    return Progress(shown_name(file), total, quiet=work.as_json and sys.stdout.isatty())


@contextlib.contextmanager
def _others_go_on(work: _Work) -> Iterator[None]:
    """Report an input that is refused, and go on with the others; raise where there are none, or all would fail."""
    try:
        yield
    except (ArtifactError, CardError, MissingExtraError):
        raise
    except InputError as error:
        if work.alone:
            raise
        work.refused += 1
        click.echo(one_line(error), err=True)


def _notes(artifact: Path, pipeline: Pipeline) -> Iterator[str]:
    """Yield what somebody should know before believing the results."""
    if _is_random(pipeline.card):
        yield f"weights of {pipeline.card.model} are {pipeline.card.provenance['weights']}"
    if _differs_from_manifest(artifact):
        yield f"`{shown_name(artifact)}` is not the file that `manifest.json` beside it lists: another SHA-256"
    if pipeline.choice.rows and not pipeline.choice.cached:
        yield pipeline.choice.note


def _is_random(card: Card) -> bool:
    return card.provenance.get("weights", "").startswith("random")


def _differs_from_manifest(artifact: Path) -> bool:
    """Return whether a manifest beside the artifact lists it with another hash; what is no manifest says nothing."""
    from ..runtime.trust import file_digest

    manifest = artifact.parent / "manifest.json"
    try:
        if not manifest.is_file() or manifest.stat().st_size > MAX_MANIFEST_BYTES:
            return False
        listed = json.loads(manifest.read_bytes())["files"][artifact.name]["sha256"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(listed, str) and listed != file_digest(artifact)


def _title(card: Card, file: Path) -> str:
    """Return what stands above a trace."""
    weights = ", random weights" if _is_random(card) else ""
    windows = "" if card.input.audio is None else f" · windows of {card.input.audio.seconds:g} s"
    return f"{file.name} · {card.model}{weights}{windows}"


def _least(total: int | None, wanted: int | None) -> int | None:
    return min((number for number in (total, wanted) if number is not None), default=None)
