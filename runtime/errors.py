"""The one tree of errors that `edge` raises on purpose, and the exit code of each.

    EdgeError                 1   failed: parity, numerics, conversion
    |-- ParityError           1   an exported file says something else than PyTorch
    |-- PrecisionError        1   a file is not what its name claims (an `int8` that is not INT8)
    |-- ConversionError       1   an exporter or converter gave up, crashed or hung
    |-- InputError            2   usage, configuration or input refused
    |   |-- ShapeError        2   an array has the wrong shape
    |   |-- CardError         2   a model card is malformed
    |   |-- ArtifactError     2   an ONNX or TFLite file is damaged, foreign or unsupported
    |   |-- CheckpointError   2   a checkpoint is damaged, unsafe or of another network
    |   |-- MediaError        2   an image or audio file cannot be read
    |   '-- MissingExtraError 2   an optional dependency is not installed
    |-- GateError             3   a gate said no
    |-- DeviceError           4   a device or the way to it failed
    |-- ResourceError         5   out of time, memory or disk
    '-- InconclusiveError     6   a measurement was too noisy to decide

A message says what was wrong; `expected`, `got` and `hint` follow in one line.
"""

from __future__ import annotations

import unicodedata

__all__ = [
    "ArtifactError",
    "CardError",
    "CheckpointError",
    "ConversionError",
    "DeviceError",
    "EdgeError",
    "GateError",
    "InconclusiveError",
    "InputError",
    "MediaError",
    "MissingExtraError",
    "ParityError",
    "PrecisionError",
    "ResourceError",
    "ShapeError",
    "one_line",
    "printable",
]


class EdgeError(Exception):
    """Root of the tree; carries what was expected, what was got and the way out.

    Args:
        message: what was wrong, lower case, no period.
        expected: what would have been right.
        got: what was there instead.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, expected: object = None, got: object = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.message]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        return ", ".join(parts)


class ParityError(EdgeError):
    """An exported file gives other numbers than the PyTorch module."""


class PrecisionError(EdgeError):
    """A file's tensors are not of the precision that its name claims."""


class ConversionError(EdgeError):
    """An exporter or converter refused, crashed or hung."""


class InputError(EdgeError):
    """Usage, configuration or an input file was refused."""

    exit_code = 2


class ShapeError(InputError):
    """An array does not have the shape a function needs."""


class CardError(InputError):
    """A model card is malformed, or of a schema this version does not know."""


class ArtifactError(InputError):
    """An ONNX or TFLite file is damaged, foreign or asks for what we do not run."""


class CheckpointError(InputError):
    """A checkpoint is damaged, unsafe, or belongs to another network."""


class MediaError(InputError):
    """An image or audio file cannot be read."""


class MissingExtraError(InputError):
    """An optional dependency is not installed; the hint is the command that mends it."""


class GateError(EdgeError):
    """A gate said no."""

    exit_code = 3


class DeviceError(EdgeError):
    """A device, or the way to it, failed."""

    exit_code = 4


class ResourceError(EdgeError):
    """A limit of time, memory or disk was hit."""

    exit_code = 5


class InconclusiveError(EdgeError):
    """A measurement was too noisy to decide."""

    exit_code = 6


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return the line that the command line prints for an error: at most `limit` characters, none of them control.

    Args:
        error: any exception; an `EdgeError` adds its hint.
        limit: longest line, characters; the middle of a longer one is cut, so that the reason at its end and the hint
            survive.
    """
    text = str(error) or type(error).__name__
    hint = getattr(error, "hint", None)
    head = printable(f"error: {text}")
    tail = printable(f"; hint: {hint}") if hint else ""
    room = max(limit - len(tail), 40)
    if len(head) > room:
        front = (room - 3) // 2
        head = f"{head[:front]} … {head[front + 3 - room :]}"
    return (head + tail)[:limit]


def printable(text: str) -> str:
    """Return text with control, format and surrogate characters escaped: a file name cannot drive a terminal.

    Nor a runner of GitHub, for which `##[` begins a command anywhere in a line.
    """
    plain = "".join(
        char if unicodedata.category(char) not in {"Cc", "Cf", "Cs"} else char.encode("unicode_escape").decode("ascii")
        for char in " ".join(text.split())
    )
    return plain.replace("##[", "##\\x5b")
