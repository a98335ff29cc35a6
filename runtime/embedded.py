"""The card inside an artifact, read without onnx, flatbuffers or an engine.

Two tiny walkers, one per container, that look at the few bytes they need and skip the weights:

- ONNX: the top level of `ModelProto`, whose `metadata_props` (field 14) hold key "edge.card".
- TFLite: the root table `Model`, whose `metadata` entry "edge.card" names the buffer that holds the card.

The file is untrusted. Each offset is checked against the file's size before it is followed, each loop has a bound, and
nothing recurses. Plain reads rather than a memory map: a file that shrinks meanwhile must not end in SIGBUS.

Source: protobuf encoding guide; onnx.proto3; FlatBuffers "internals"; TFLite schema v3.
"""

from __future__ import annotations

import os
import stat
import struct
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from .card import Card, Target
from .errors import ArtifactError, CardError, InputError

__all__ = ["CARD_KEY", "file_target", "load_card", "read_card"]

CARD_KEY = "edge.card"
MAX_CARD_BYTES = 1 << 20
MAX_ITEMS = 100_000  # top-level fields, metadata entries or buffers of one file; real ones have hundreds
NO_CARD_HINT = "export it with `edge export`, or pass `--card`"


def read_card(path: str | os.PathLike[str]) -> Card:
    """Return the card that is embedded in an artifact.

    Args:
        path: an ONNX or TFLite file; its content decides which, not its name.

    Returns:
        The card.

    Raises:
        ArtifactError: the file is missing, no file, empty, truncated, neither ONNX nor TFLite, or holds no card.
        CardError: the embedded card is malformed.
    """
    with _Bytes(path) as data:
        walk = _tflite_metadata if _target(data) is Target.TFLITE else _onnx_metadata
        raw = walk(data, CARD_KEY)
        if raw is None:
            raise ArtifactError(f"`{data.name}` holds no card", hint=NO_CARD_HINT)
    try:
        return Card.from_json(raw.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise CardError(f"the card in `{data.name}` is not UTF-8", got=str(exc)[:80], hint=NO_CARD_HINT) from exc


def file_target(path: str | os.PathLike[str]) -> Target:
    """Return the format of an artifact, by its content.

    Raises:
        ArtifactError: the file is missing, no file, empty, or neither ONNX nor TFLite.
    """
    with _Bytes(path) as data:
        found = _target(data)
        if found is Target.ONNX:
            for _ in _onnx_fields(data):  # a foreign file stumbles within a few fields
                pass
        return found


def load_card(path: str | os.PathLike[str]) -> Card:
    """Return the card in a JSON or TOML file of its own (`--card FILE`); the suffix decides which.

    Raises:
        InputError: the file cannot be read or has another suffix.
        CardError: the card is malformed.
    """
    file = Path(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device might never end
            raise InputError(f"`{file}` is no card file", expected=".json or .toml", got="a folder or special file")
        if status.st_size > MAX_CARD_BYTES:
            raise CardError(f"`{file}` is over 1 MiB", got=f"{status.st_size} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise InputError(f"cannot read the card `{file}`", got=_reason(exc)) from exc
    if file.suffix.lower() == ".json":
        return Card.from_json(text)
    if file.suffix.lower() == ".toml":
        try:
            return Card.from_dict(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as exc:
            raise CardError(f"`{file}` is not TOML", got=str(exc)[:80]) from exc
    raise InputError(f"`{file}` is no card file", expected=".json or .toml", got=file.suffix or "no suffix")


class _Bytes:
    """A file of fixed size whose every read is checked against that size."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.path.basename(os.fspath(path)) or os.fspath(path)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # before open(): a named pipe would block
                what = "a folder" if stat.S_ISDIR(status.st_mode) else "a special file"
                raise ArtifactError(f"`{self.name}` is no model file", expected=".onnx or .tflite file", got=what)
            self.size = status.st_size
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        except FileNotFoundError as exc:
            raise ArtifactError(f"`{os.fspath(path)}` does not exist") from exc
        except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
            raise ArtifactError(f"cannot read `{os.fspath(path)}`", got=_reason(exc)) from exc
        if self.size == 0:
            self._file.close()
            raise ArtifactError(f"`{self.name}` is empty", expected=".onnx or .tflite file", got="0 bytes")

    def __enter__(self) -> _Bytes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`; ArtifactError where the file does not have them."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.damaged(f"{count} bytes at {offset}")
        try:
            self._file.seek(offset)
            found = self._file.read(count)
        except OSError as exc:
            raise ArtifactError(f"cannot read `{self.name}`", got=_reason(exc)) from exc
        if len(found) != count:
            raise self.damaged(f"{count} bytes at {offset}")
        return found

    def u16(self, offset: int) -> int:
        """Return the little-endian unsigned 16-bit number at `offset`."""
        return int.from_bytes(self.read(offset, 2), "little")

    def u32(self, offset: int) -> int:
        """Return the little-endian unsigned 32-bit number at `offset`."""
        return int.from_bytes(self.read(offset, 4), "little")

    def damaged(self, wanted: str) -> ArtifactError:
        """Return the error for content that points outside the file or makes no sense."""
        hint = "copy or export it again"
        return ArtifactError(f"`{self.name}` is damaged or truncated", expected=wanted, got="none there", hint=hint)


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def _target(data: _Bytes) -> Target:
    if data.size >= 8 and data.read(4, 4) == b"TFL3":
        return Target.TFLITE
    # ONNX has no magic number. Every exporter writes ir_version (field 1, a small varint) or another of ModelProto's
    # fields first, which already tells apart pictures, archives, HDF5, HTML and text.
    key = data.read(0, 1)[0]
    if (key >> 3, key & 7) not in _ONNX_WIRE.items():
        raise ArtifactError(f"`{data.name}` is no model file", expected="ONNX or TFLite", got="another format")
    return Target.ONNX


# onnx.proto3, ModelProto: field number -> wire type (0 varint, 2 length-delimited).
_ONNX_WIRE = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}


def _onnx_metadata(data: _Bytes, key: str) -> bytes | None:
    """Return the value of one metadata_props entry, or None."""
    found: bytes | None = None
    graphs = 0
    for number, start, length in _onnx_fields(data):
        graphs += number == 7
        # An entry longer than the largest card plus its framing cannot be ours.
        if number != 14 or length > MAX_CARD_BYTES + 1024:
            continue
        name, value = _string_pair(data, start, length)
        if name == key.encode():
            if found is not None:
                raise ArtifactError(f"`{data.name}` holds two cards", hint=NO_CARD_HINT)
            found = value
    if graphs != 1:
        raise ArtifactError(f"`{data.name}` is no ONNX model", expected="one graph", got=graphs)
    return found


def _onnx_fields(data: _Bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, length) of each length-delimited top-level field of a ModelProto."""
    position = 0
    for _ in range(MAX_ITEMS):
        if position == data.size:
            return
        number, wire, start, length = _field(data, position, data.size)
        if _ONNX_WIRE.get(number, wire) != wire:
            raise ArtifactError(f"`{data.name}` is no ONNX model", expected="ModelProto", got=f"field {number}")
        if wire == 2:
            yield number, start, length
        position = start + length
    raise data.damaged(f"at most {MAX_ITEMS} top-level fields")


def _string_pair(data: _Bytes, start: int, length: int) -> tuple[bytes, bytes]:
    """Return (key, value) of a StringStringEntryProto."""
    key = value = b""
    position, end = start, start + length
    for _ in range(8):
        if position == end:
            return key, value
        number, wire, at, size = _field(data, position, end)
        if (number, wire) == (1, 2):
            key = data.read(at, size)
        elif (number, wire) == (2, 2):
            value = data.read(at, size)
        position = at + size
    raise data.damaged("a metadata entry of two fields")


def _field(data: _Bytes, position: int, end: int) -> tuple[int, int, int, int]:
    """Return (field number, wire type, start of payload, its length) of the protobuf field at `position`."""
    tag, position = _varint(data, position, end)
    number, wire = tag >> 3, tag & 7
    if number == 0:
        raise data.damaged("a field number above 0")
    if wire == 0:
        start = position
        _, position = _varint(data, position, end)
        length = position - start
    elif wire == 2:
        length, start = _varint(data, position, end)
    elif wire in (1, 5):
        start, length = position, 8 if wire == 1 else 4
    else:  # groups (3, 4) are not part of onnx.proto3; 6 and 7 do not exist
        raise data.damaged("a protobuf field")
    if start + length > end:
        raise data.damaged(f"{length} bytes at {start}")
    return number, wire, start, length


def _varint(data: _Bytes, position: int, end: int) -> tuple[int, int]:
    """Return (value, position behind it); at most ten bytes, as protobuf allows."""
    chunk = data.read(position, min(10, end - position))
    value = 0
    for index, byte in enumerate(chunk):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise data.damaged("a varint")


# TFLite schema: place of a field in its table.
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 1, 2, 4, 6
_GRAPH_TENSORS, _GRAPH_OPERATORS = 0, 3
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2


def _tflite_metadata(data: _Bytes, key: str) -> bytes | None:
    """Return the bytes of the buffer that one metadata entry names, or None."""
    model = data.u32(0)
    if _slot(data, model, _MODEL_SUBGRAPHS) is None:
        raise ArtifactError(f"`{data.name}` is no TFLite model", expected="a subgraph", got="none")
    # Writers put these last, so that they are what a truncated file lacks first.
    parts = [model, *_tables(data, model, _MODEL_CODES)]
    for graph in _tables(data, model, _MODEL_SUBGRAPHS):
        parts += [graph, *_tables(data, graph, _GRAPH_TENSORS), *_tables(data, graph, _GRAPH_OPERATORS)]
        if len(parts) > MAX_ITEMS:
            raise data.damaged(f"at most {MAX_ITEMS} tensors and operators")
    for table in parts:
        _check_table(data, table)
    buffers = [_buffer(data, table) for table in _tables(data, model, _MODEL_BUFFERS)]
    found: bytes | None = None
    for entry in _tables(data, model, _MODEL_METADATA):
        name = _slot(data, entry, _METADATA_NAME)
        if name is None or _string(data, name) != key.encode():
            continue
        slot = _slot(data, entry, _METADATA_BUFFER)
        index = 0 if slot is None else data.u32(slot)
        if index >= len(buffers):
            raise data.damaged(f"buffer {index}")
        if found is not None:
            raise ArtifactError(f"`{data.name}` holds two cards", hint=NO_CARD_HINT)
        start, length = buffers[index]
        if length > MAX_CARD_BYTES:
            raise CardError(f"the card in `{data.name}` is over 1 MiB", got=f"{length} bytes")
        found = data.read(start, length)
    return found


def _slot(data: _Bytes, table: int, field: int) -> int | None:
    """Return where a table keeps a field, or None where the field has its default."""
    vtable = table - struct.unpack("<i", data.read(table, 4))[0]
    vtable_size = data.u16(vtable)
    where = 4 + 2 * field
    if where + 2 > vtable_size:
        return None
    offset = data.u16(vtable + where)
    return table + offset if offset else None


def _check_table(data: _Bytes, table: int) -> None:
    """Refuse a table that is not wholly inside the file."""
    vtable = table - struct.unpack("<i", data.read(table, 4))[0]
    size = data.u16(vtable + 2)
    if data.u16(vtable) < 4 or table + size > data.size:
        raise data.damaged(f"{size} bytes at {table}")


def _tables(data: _Bytes, table: int, field: int) -> Iterator[int]:
    """Yield the position of each table in a vector of tables."""
    slot = _slot(data, table, field)
    if slot is None:
        return
    start = slot + data.u32(slot)
    count = data.u32(start)
    if count > MAX_ITEMS or start + 4 + 4 * count > data.size:
        raise data.damaged(f"at most {MAX_ITEMS} entries")
    for index in range(count):
        entry = start + 4 + 4 * index
        yield entry + data.u32(entry)


def _buffer(data: _Bytes, table: int) -> tuple[int, int]:
    """Return (start, length) of a buffer's content, both inside the file; this finds a truncated file, too."""
    slot = _slot(data, table, _BUFFER_DATA)
    if slot is not None:
        start = slot + data.u32(slot)
        length = data.u32(start)
        start += 4
    else:  # content outside the flatbuffer, as ai-edge-quantizer writes it
        far, size = _slot(data, table, _BUFFER_OFFSET), _slot(data, table, _BUFFER_SIZE)
        start = 0 if far is None else int.from_bytes(data.read(far, 8), "little")
        length = 0 if size is None else int.from_bytes(data.read(size, 8), "little")
    if start + length > data.size:
        raise data.damaged(f"{length} bytes at {start}")
    return start, length


def _string(data: _Bytes, slot: int) -> bytes:
    """Return a string, at most its first 64 bytes."""
    start = slot + data.u32(slot)
    length = data.u32(start)
    if start + 4 + length > data.size:
        raise data.damaged(f"{length} bytes at {start}")
    return data.read(start + 4, min(length, 64))
