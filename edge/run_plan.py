"""What `edge run` is to do: which inputs there are, of which kind, and where the overlay of each goes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from .runtime.errors import InputError

__all__ = ["OVERLAY_SUFFIXES", "PICTURE_FORMATS", "Kind", "find_inputs", "plan_overlays"]

PICTURE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


class Kind(StrEnum):
    """What an input is."""

    PICTURE = "picture"
    VIDEO = "video"
    CAMERA = "camera"
    SOUND = "sound"


# What an overlay can be; the first is the one that is taken where the input's own suffix is none of them.
OVERLAY_SUFFIXES = {
    Kind.PICTURE: tuple(PICTURE_FORMATS),
    Kind.VIDEO: (".mp4", ".avi"),
    Kind.CAMERA: (".mp4", ".avi"),
    Kind.SOUND: tuple(PICTURE_FORMATS),
}


def find_inputs(inputs: Sequence[Path], card_kind: str) -> dict[Path, Kind]:
    """Return what to decode, in order: each input as named, and of each folder the files of the card's kind, by name.

    Args:
        inputs: files, folders and cameras (`camera:0`); sub-folders are not entered.
        card_kind: "image", "audio" or "tensor", of the card's input.

    Raises:
        InputError: a card of kind "tensor", a folder without such a file, or a camera that is not the only input.
    """
    from .runtime.stream import FILE_SUFFIXES
    from .runtime.video import VIDEO_SUFFIXES

    if card_kind not in FILE_SUFFIXES:
        raise InputError(
            "`edge run` takes pictures, video and sound",
            got=f"a card of kind `{card_kind}`",
            hint="use Pipeline in Python",
        )
    suffixes = FILE_SUFFIXES[card_kind] + (VIDEO_SUFFIXES if card_kind == "image" else ())
    found: dict[Path, Kind] = {}
    for item in inputs:
        if item.is_dir():
            inside = sorted(path for path in item.iterdir() if path.suffix.lower() in suffixes and path.is_file())
            if not inside:
                raise InputError(f"folder `{item}` holds no {card_kind} file", expected=" ".join(suffixes))
        else:
            inside = [item]
        for path in inside:
            found.setdefault(path, _kind(path, card_kind, VIDEO_SUFFIXES))
    if Kind.CAMERA in found.values():
        if card_kind != "image":
            raise InputError(f"a card of kind `{card_kind}` takes no camera", expected=f"{card_kind} files")
        if len(found) > 1:
            raise InputError("a camera has no end, so it must be the only input", got=f"{len(found)} inputs")
    return found


def plan_overlays(files: Mapping[Path, Kind], out: Path, *, into_folder: bool, force: bool = False) -> dict[Path, Path]:
    """Return input -> overlay file, having made sure that each can be written.

    Args:
        files: from `find_inputs`.
        out: the overlay, or the folder for overlays; a missing folder is made.
        into_folder: whether `out` is a folder. Overlays keep their input's name, and its suffix if it can be theirs.
        force: whether existing overlays may be replaced; an input never is.

    Raises:
        InputError: an overlay exists, would replace an input, would be written twice, or is no file for its input.
    """
    if into_folder:
        if out.suffix.lower() in OVERLAY_SUFFIXES[Kind.PICTURE] + OVERLAY_SUFFIXES[Kind.VIDEO] and not out.is_dir():
            raise InputError(
                "overlays of several inputs need a folder", got=f"`{out}`", hint=f"pass `--draw {out.with_suffix('')}/`"
            )
        plan = {file: out / _overlay_name(file, kind) for file, kind in files.items()}
    else:
        plan = dict.fromkeys(files, out)
    for file, target in plan.items():
        _refuse_suffix(file, files[file], target)
    owners: dict[Path, Path] = {}
    for file, target in plan.items():
        if (other := owners.setdefault(target, file)) != file:
            raise InputError(f"`{other}` and `{file}` would have one overlay, `{target}`", hint="draw them in two runs")
    if into_folder:
        out.mkdir(parents=True, exist_ok=True)
    inputs = {os.path.realpath(file) for file in files}
    for target in plan.values():
        if os.path.realpath(target) in inputs:
            raise InputError(f"the overlay `{target}` would replace its own input", hint="draw to another folder")
        if target.is_dir() or (os.path.lexists(target) and not force):
            raise InputError(f"`{target}` exists", hint="pass --force to replace it")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise InputError(f"cannot write to the folder `{target.parent}`", hint="make it, or draw elsewhere")
    return plan


def _kind(path: Path, card_kind: str, video_suffixes: Sequence[str]) -> Kind:
    if os.fspath(path).startswith("camera:"):
        return Kind.CAMERA
    if card_kind == "audio":
        return Kind.SOUND
    return Kind.VIDEO if path.suffix.lower() in video_suffixes else Kind.PICTURE


def _overlay_name(file: Path, kind: Kind) -> str:
    if kind == Kind.CAMERA:
        return file.name.replace(":", "-") + OVERLAY_SUFFIXES[kind][0]
    return file.name if file.suffix.lower() in OVERLAY_SUFFIXES[kind] else file.stem + OVERLAY_SUFFIXES[kind][0]


def _refuse_suffix(file: Path, kind: Kind, target: Path) -> None:
    suffixes = OVERLAY_SUFFIXES[kind]
    if target.suffix.lower() not in suffixes:
        raise InputError(
            f"cannot draw the {kind} `{file}` to `{target}`",
            expected=" | ".join(suffixes),
            got=target.suffix or "no suffix",
            hint=f"pass `--draw {target.with_suffix(suffixes[0])}`",
        )
