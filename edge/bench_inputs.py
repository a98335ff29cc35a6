"""What `edge bench` measures: the artifacts that targets name, and the picture or sound that frames are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .bench.record import Artifact
from .runtime.card import Card
from .runtime.embedded import read_card
from .runtime.errors import InputError

__all__ = ["find_artifacts", "write_source"]

SUFFIXES = (".onnx", ".tflite")
FRAME_HW = (720, 1280)  # what phones and webcams give
FAMILIES = ("pose", "face", "emotion")


def find_artifacts(targets: Sequence[Path]) -> list[tuple[Artifact, Card]]:
    """Return the artifacts that are named, those in a named bundle, and those in the bundles of a named folder.

    Args:
        targets: files and folders.

    Raises:
        InputError: a folder holds none, or a file is named twice.
        ArtifactError, CardError: a file is damaged, or carries no card.
    """
    paths: list[Path] = []
    for target in targets:
        if not target.is_dir():
            paths.append(target)
            continue
        inside = sorted(
            path
            for pattern in ("*", "*/*")
            for path in target.glob(pattern)
            if path.suffix in SUFFIXES and path.is_file() and not _hidden(path.relative_to(target))
        )
        if not inside:
            raise InputError(
                f"folder `{target}` holds no artifact", expected=" or ".join(SUFFIXES), hint="`edge export` makes them"
            )
        paths += inside
    again = [path for number, path in enumerate(paths) if path.resolve() in {one.resolve() for one in paths[:number]}]
    if again:
        raise InputError(f"`{again[0]}` is named twice")
    found = []
    for path in paths:
        card = read_card(path)
        found.append((Artifact.of(path, card), card))
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def write_source(card: Card, given: Path | None, folder: Path) -> tuple[Path, str] | None:
    """Write the picture or sound of a card's whole frames as .npz, and return the file and what is in it, in words.

    Args:
        card: of the artifact.
        given: a picture or sound file; None draws or composes a synthetic sample of the card's family.
        folder: for the file.

    Returns:
        None where there is nothing to make frames of: a card that takes tensors, or one of no built-in family without
        a file.

    Raises:
        MediaError: the file cannot be read.
        InputError: the card takes no files.
    """
    import numpy as np

    kind = card.input.kind
    if given is not None:
        arrays, words = _of_file(card, given), f"`{given.name}`"
    elif kind == "tensor" or card.family not in FAMILIES:
        return None
    else:
        arrays, words = _synthetic(card.family)
    path = folder / f"{card.family}-{kind}.npz"
    if not path.exists():
        np.savez(path, **arrays)
    return path, words


def _of_file(card: Card, given: Path) -> dict[str, Any]:
    from .runtime.audio import read_audio
    from .runtime.image import read_image

    if card.input.kind == "image":
        return {"picture": read_image(given)}
    if card.input.kind == "audio" and card.input.audio is not None:
        samples, rate = read_audio(given, seconds=card.input.audio.seconds + 1.0)
        return {"samples": samples, "rate": rate}
    raise InputError(f"`{card.model}` takes tensors, not files", hint="leave `--input` out")


def _synthetic(family: str) -> tuple[dict[str, Any], str]:
    from .models.data.open import SYNTHETIC, open_source

    hw = None if family == "emotion" else FRAME_HW
    source = open_source(family, SYNTHETIC, split="test", seed=0, count=1, hw=hw)
    sample = source[0]
    if family == "emotion":
        return {"samples": sample.sound, "rate": int(sample.rate[0])}, f"{source.label}, the first"
    return {"picture": sample.image}, f"{source.label}, the first"
