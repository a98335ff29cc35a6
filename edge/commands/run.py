"""`edge run`: decode pictures or sound with an exported file."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.errors import InputError, MediaError, ShapeError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..runtime.pipeline import Pipeline, TimedResult

__all__ = ["command", "find_inputs", "plan_overlays", "write_picture"]

SCHEMA = 1
SUFFIXES = {
    "image": (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    "audio": (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav"),
}
OVERLAY_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--draw", "overlay", type=click.Path(path_type=Path), help="Write an overlay: a PNG or JPEG, or a folder."
)
@click.option(
    "--engine", type=click.Choice(["auto", "onnxruntime", "litert"]), default="auto", show_default=True,
    help="What executes the file; auto goes by its content.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="CPU threads of the engine.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Smallest score that is kept; default: the card's.")
@click.option("--card", "card_file", type=click.Path(path_type=Path), help="Use this card (JSON or TOML) instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and input.")
@click.option(
    "--isolate/--no-isolate", default=True, help="Try an unknown file in a child process first.  [default: on]"
)
@click.option("--force", is_flag=True, help="Replace existing overlays.")
@click.option("-v", "--verbose", is_flag=True, help="Let the engine log to stderr.")
def command(
    artifact: Path,
    inputs: tuple[Path, ...],
    overlay: Path | None,
    engine: str,
    threads: int,
    threshold: float | None,
    card_file: Path | None,
    as_json: bool,
    isolate: bool,
    force: bool,
    verbose: bool,
) -> int:
    """Decode images or sound with an exported file.

    ARTIFACT is an ONNX or TFLite file; the card inside says what it takes and how to read what it gives. INPUT is a
    picture, a WAV file, or a folder of them. Of several inputs a bad one is reported and the others are done; the
    exit code is then 2.

    \b
    Example:
        edge run pose-fp32.onnx street.jpg --draw seen.png
        edge run face-int8.tflite photos/ --json > faces.jsonl
    """
    from ..runtime.embedded import load_card, read_card
    from ..runtime.pipeline import Pipeline

    card = load_card(card_file) if card_file else read_card(artifact)
    files = find_inputs(inputs, card.input.kind)
    overlays = _overlays(files, inputs, overlay, force)
    if isolate:
        from ..runtime.isolate import guard

        guard(artifact, card, engine=engine)
    loaded = Pipeline.load(artifact, engine=engine, threads=threads, threshold=threshold, card=card, verbose=verbose)
    if card.provenance.get("weights", "").startswith("random"):
        click.echo(f"note: weights of {card.model} are {card.provenance['weights']}", err=True)
    refused = 0
    with loaded as pipeline:
        for file in files:
            try:
                result = _answer(pipeline, file, overlays.get(file), force)
            except (MediaError, ShapeError) as error:  # one bad picture among many does not stop the others
                if len(files) == 1:
                    raise
                refused += 1
                click.echo(one_line(error), err=True)
                continue
            click.echo(_json_line(file, result) if as_json else _summary(file, result))
    return MediaError.exit_code if refused else 0


def find_inputs(inputs: Sequence[Path], kind: str) -> list[Path]:
    """Return the files to decode: each file as named, and of each folder those of the card's kind, by name.

    Args:
        inputs: files and folders; sub-folders are not entered.
        kind: "image", "audio" or "tensor", of the card's input.

    Raises:
        InputError: a card of kind "tensor", or a folder without such a file.
    """
    if kind not in SUFFIXES:
        raise InputError(
            "`edge run` takes pictures and sound", got=f"a card of kind `{kind}`", hint="use Pipeline in Python"
        )
    files: list[Path] = []
    for item in inputs:
        if not item.is_dir():
            files.append(item)
            continue
        inside = sorted(path for path in item.iterdir() if path.suffix.lower() in SUFFIXES[kind] and path.is_file())
        if not inside:
            raise InputError(f"folder `{item}` holds no {kind} file", expected=" ".join(SUFFIXES[kind]))
        files.extend(inside)
    return list(dict.fromkeys(files))


def plan_overlays(files: Sequence[Path], out: Path, *, into_folder: bool, force: bool = False) -> dict[Path, Path]:
    """Return input file -> overlay file, having made sure that each can be written.

    Args:
        files: pictures to decode.
        out: the overlay, or the folder for overlays; a missing folder is made.
        into_folder: whether `out` is a folder. Overlays keep their picture's name; PNG unless that is a JPEG.
        force: whether existing overlays may be replaced; an input never is.

    Raises:
        InputError: an overlay exists, would replace an input, or would be written twice, or the format is unknown.
    """
    if into_folder:
        out.mkdir(parents=True, exist_ok=True)
        plan = {
            file: out / (file.name if file.suffix.lower() in OVERLAY_FORMATS else f"{file.stem}.png") for file in files
        }
    else:
        plan = {files[0]: out}
    inputs = {os.path.realpath(file) for file in files}
    if len(set(plan.values())) < len(plan):
        raise InputError(
            "two inputs have the same name, and so would their overlays", hint="run them one folder a time"
        )
    for target in plan.values():
        if target.suffix.lower() not in OVERLAY_FORMATS:
            raise InputError(
                f"cannot draw to `{target}`", expected=" | ".join(OVERLAY_FORMATS), got=target.suffix or "none"
            )
        if os.path.realpath(target) in inputs:
            raise InputError(f"the overlay `{target}` would replace its own input", hint="draw to another folder")
        if target.is_dir() or (os.path.lexists(target) and not force):
            raise InputError(f"`{target}` exists", hint="pass --force to replace it")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise InputError(f"cannot write to the folder `{target.parent}`", hint="make it, or draw elsewhere")
    return plan


def write_picture(pixels: NDArray[Any], target: Path, *, force: bool = False) -> None:
    """Write a picture so that either the whole file appears or none.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        target: .png, .jpg or .jpeg.
        force: whether an existing file may be replaced.

    Raises:
        InputError: the file exists.
        OSError: it cannot be written; nothing is left behind.
    """
    from PIL import Image

    handle, temporary = tempfile.mkstemp(prefix=".edge-", suffix=target.suffix, dir=target.parent)
    try:
        with open(handle, "wb") as stream:
            Image.fromarray(pixels).save(stream, format=OVERLAY_FORMATS[target.suffix.lower()])
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if force:
            os.replace(temporary, target)
        else:
            _appear(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _appear(temporary: str, target: Path) -> None:
    """Give a finished file its name unless the name has been taken meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError as exc:
        raise InputError(f"`{target}` exists", hint="pass --force to replace it") from exc
    except OSError:  # a file system without hard links: FAT on an SD card
        os.replace(temporary, target)
        return
    os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _overlays(files: list[Path], inputs: Sequence[Path], out: Path | None, force: bool) -> dict[Path, Path]:
    if out is None:
        return {}
    into_folder = len(files) > 1 or out.is_dir() or inputs[0].is_dir()
    return plan_overlays(files, out, into_folder=into_folder, force=force)


def _answer(pipeline: Pipeline, file: Path, overlay: Path | None, force: bool) -> TimedResult:
    if overlay is None:
        return pipeline(file)
    from ..runtime.draw import draw
    from ..runtime.image import read_image

    picture = read_image(file) if pipeline.card.input.kind == "image" else None  # sound is drawn on a plane of its own
    result = pipeline(file if picture is None else picture)
    write_picture(draw(picture, result), overlay, force=force)
    return result


def _json_line(file: Path, result: TimedResult) -> str:
    times = {name: round(value, 3) for name, value in result.times.items()}
    line = {"schema": SCHEMA, "file": os.fspath(file), "results": result.to_dict(), "times": times}
    return json.dumps(line, allow_nan=False)


def _summary(file: Path, result: TimedResult) -> str:
    # A name is the user's, but its bytes may be anybody's: no control character reaches the terminal.
    name = os.fspath(file).encode("unicode_escape").decode("ascii") if not file.name.isprintable() else os.fspath(file)
    spent = ", ".join(f"{stage.removesuffix('_ms')} {value:.1f}" for stage, value in result.times.items())
    notes = [f"{result.nonfinite} values were not finite"] if result.nonfinite else []
    notes += ["a cap was hit, some may be missing"] if result.truncated else []
    return f"{name}: {'; '.join([_finds(result), *notes])} [{spent} ms]"


def _finds(result: TimedResult) -> str:
    if result.kind == "faces":
        boxes = [f"{face.score:.2f} at " + ",".join(f"{side:.0f}" for side in face.box_xyxy) for face in result.faces]
        return "; ".join([_count(len(boxes), "face", "faces"), *boxes])
    if result.kind == "people":
        found = [
            f"{person.confidence:.2f} with {sum(point is not None for point in person.keypoints)} keypoints"
            for person in result.people
        ]
        return "; ".join([_count(len(found), "person", "people"), *found])
    if result.emotion is not None:
        emotion = result.emotion
        return f"{emotion.quadrant}; valence {emotion.valence:+.3f}, arousal {emotion.arousal:+.3f}"
    if result.kind == "emotion":
        return "no emotion"
    return "; ".join(
        f"{name} {'x'.join(map(str, raw.shape))}"
        + ("" if raw.minimum is None or raw.maximum is None else f" in {raw.minimum:.4g}..{raw.maximum:.4g}")
        for name, raw in result.raw.items()
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
