"""Read the tensors of a checkpoint file as data: never as code, and never more than the file's own bytes can hold.

safetensors, and PyTorch's `.pth` in both of its layouts (zip archive, legacy), under `weights_only=True` always.
The archive's directory is checked before PyTorch sees it, each tensor afterwards.
"""

from __future__ import annotations

import json
import pickletools
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch
from torch import Tensor

from ..runtime.errors import CheckpointError, MissingExtraError

__all__ = ["read_checkpoint"]

MAX_BYTES = 4 << 30
MAX_MEMBERS = 20_000
MAX_NAME = 512
MAX_OPCODES = 1_000_000  # a state dict takes about 40 a tensor
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
# pickle.dumps(0x1950A86A20F9469CFC6C, 2): how every legacy torch file begins.
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
DTYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16}
    | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}
)
DAMAGED_HINT = "fetch or save it again; `torch.save(model.state_dict(), path)` writes what is expected"
CODE_HINT = "never load it elsewhere; ask for a state dict as .safetensors"


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, on the CPU, finite, without wrappers and `module.` prefixes.

    Args:
        path: a `.safetensors` or `.pth` file, known by its content; a training checkpoint may hold its state dict under
            `state_dict`, `model_state_dict`, `model_state` or `model`.

    Raises:
        CheckpointError: the file is missing, damaged, holds code or objects, or a tensor that cannot be trusted.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(path.stat().st_mode):
                raise CheckpointError(f"checkpoint `{path.name}` is not a regular file")
            values = _read(file, path.name)
    except FileNotFoundError as exc:
        raise CheckpointError(f"checkpoint `{path}` does not exist") from exc
    except IsADirectoryError as exc:
        raise CheckpointError(f"checkpoint `{path}` is a folder", hint="name the .pth or .safetensors file") from exc
    except OSError as exc:
        raise CheckpointError(f"checkpoint `{path.name}` cannot be read", got=exc.strerror or str(exc)) from exc
    state = _without_prefix(_unwrap(values, path.name))
    _check_tensors(state, path.name)
    return state


def _read(file: IO[bytes], name: str) -> Any:
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    if size == 0:
        raise CheckpointError(f"checkpoint `{name}` is empty", hint=DAMAGED_HINT)
    if size > MAX_BYTES:
        raise CheckpointError(f"checkpoint `{name}` is too large", expected="at most 4 GiB", got=f"{size} bytes")
    if head.startswith(b"PK"):
        _check_archive(file, size, name)
        return _torch_load(file, name)
    if head.startswith(LEGACY_MAGIC):
        _check_legacy(file, name)
        return _torch_load(file, name)
    if head[8:9] == b"{":
        return _read_safetensors(file, size, name)
    if head.startswith(b"\x80") and head[1:2] in b"\x02\x03\x04\x05":
        raise CheckpointError(f"checkpoint `{name}` is a bare pickle, which can hold code", hint=CODE_HINT)
    raise CheckpointError(
        f"checkpoint `{name}` is neither safetensors nor a PyTorch file", got=f"first bytes {head[:8]!r}"
    )


def _check_archive(file: IO[bytes], size: int, name: str) -> None:
    """Refuse archives whose directory promises more than the file holds, or other than PyTorch writes."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if len(members) > MAX_MEMBERS:
                raise CheckpointError(f"archive `{name}` has too many members", got=len(members))
            if len(set(names)) != len(names):
                raise CheckpointError(f"archive `{name}` names a member twice")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise CheckpointError(f"archive `{name}` has compressed members, which PyTorch never writes")
            if any(_leaves_folder(member) for member in names):
                raise CheckpointError(f"archive `{name}` has a member outside its folder")
            if sum(member.file_size for member in members) > size * 1.05 + (1 << 20):
                raise CheckpointError(f"archive `{name}` promises more bytes than it has")
            if any("/code/" in member or member.endswith("constants.pkl") for member in names):
                raise CheckpointError(f"`{name}` is a TorchScript archive: it contains code", hint=CODE_HINT)
            pickles = [member for member in members if member.filename.endswith("data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError(f"archive `{name}` is no PyTorch checkpoint", got=f"{len(pickles)} data.pkl")
            # A state dict takes some 200 bytes a tensor; megabytes of opcodes only burn time and memory.
            if pickles[0].file_size > (1 << 20) + 1024 * len(members):
                raise CheckpointError(f"archive `{name}` has an oversized data.pkl", got=pickles[0].file_size)
            damaged = archive.testzip()
            if damaged is not None:
                raise CheckpointError(f"archive `{name}` is damaged", got=f"bad CRC in {damaged}", hint=DAMAGED_HINT)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError, struct.error) as exc:
        raise CheckpointError(
            f"archive `{name}` is damaged or truncated", got=str(exc)[:80], hint=DAMAGED_HINT
        ) from exc
    file.seek(0)


def _check_legacy(file: IO[bytes], name: str) -> None:
    """Walk the four pickles of a legacy file without running them; millions of opcodes only burn time and memory."""
    count = 0
    try:
        for _ in range(4):  # magic number, protocol, system, the object itself
            for _ in pickletools.genops(file):
                count += 1
                if count > MAX_OPCODES:
                    raise CheckpointError(
                        f"checkpoint `{name}` has an oversized pickle", got=f"over {count - 1} opcodes"
                    )
    except (ValueError, IndexError, struct.error, OverflowError, MemoryError) as exc:
        raise CheckpointError(f"checkpoint `{name}` is damaged or truncated", hint=DAMAGED_HINT) from exc
    file.seek(0)


def _leaves_folder(member: str) -> bool:
    return member.startswith(("/", "\\")) or ".." in PurePosixPath(member.replace("\\", "/")).parts or ":" in member


def _torch_load(file: IO[bytes], name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError as exc:
        raise CheckpointError(f"checkpoint `{name}` asks for more memory than there is") from exc
    # A crafted pickle raises nearly anything: UnicodeDecodeError, KeyError, AssertionError, ...
    except Exception as exc:
        text = str(exc)
        found = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"[Bb]locklisted global:? ([\w.]+)", text)
        if found or "weights_only" in text.lower() or "Unsupported" in text:
            what = f"not allowed global {found[1]}" if found else _first_words(text)
            raise CheckpointError(f"checkpoint `{name}` contains code or objects", got=what, hint=CODE_HINT) from exc
        raise CheckpointError(
            f"checkpoint `{name}` is damaged or truncated",
            got=_first_words(text) or type(exc).__name__,
            hint=DAMAGED_HINT,
        ) from exc


def _first_words(text: str) -> str:
    return " ".join(text.split())[:80]


def _read_safetensors(file: IO[bytes], size: int, name: str) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load
    except ModuleNotFoundError as exc:
        raise MissingExtraError(
            "reading .safetensors needs safetensors", hint="pip install 'edge-vision[export]'"
        ) from exc
    data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(size - 8, 16 << 20):
        raise CheckpointError(f"`{name}` is damaged: its header is longer than the file allows", hint=DAMAGED_HINT)
    try:
        json.loads(data[8 : 8 + length], object_pairs_hook=_no_duplicates)
        tensors: dict[str, Tensor] = load(data)
    except Exception as exc:  # safetensors has an error class of its own; json and Unicode add theirs
        raise CheckpointError(f"`{name}` is damaged", got=_first_words(str(exc)), hint=DAMAGED_HINT) from exc
    return tensors


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice in the header")
    return table


def _unwrap(values: Any, name: str) -> dict[str, Tensor]:
    for _ in range(3):
        if not isinstance(values, Mapping):
            break
        inner = next((values[key] for key in WRAPPERS if isinstance(values.get(key), Mapping)), None)
        if inner is None:
            break
        values = inner
    if not isinstance(values, Mapping):
        raise CheckpointError(f"checkpoint `{name}` holds no state dict", got=type(values).__name__, hint=DAMAGED_HINT)
    odd = [str(key)[:40] for key, value in values.items() if not isinstance(value, Tensor) or not isinstance(key, str)]
    if odd or not values:
        got = f"{len(odd)} entries that are no tensors: {', '.join(odd[:3])}" if odd else "no tensors"
        raise CheckpointError(f"checkpoint `{name}` holds no state dict", got=got, hint=DAMAGED_HINT)
    return {key: value.detach() for key, value in values.items()}


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off the `module.` that data-parallel training puts before every name."""
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _check_tensors(state: Mapping[str, Tensor], name: str) -> None:
    total = 0
    for key, value in state.items():
        if len(key) > MAX_NAME or not key.isprintable():
            raise CheckpointError(f"checkpoint `{name}` has an unprintable or endless tensor name", got=repr(key)[:60])
        if value.dtype not in DTYPES or value.layout != torch.strided or value.device.type != "cpu":
            raise CheckpointError(f"tensor `{key}` is of a kind that is not read", got=f"{value.dtype}, {value.layout}")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(f"tensor `{key}` claims more numbers than the file holds", got=tuple(value.shape))
        total += value.numel() * value.element_size()
        if total > MAX_BYTES:
            raise CheckpointError(f"checkpoint `{name}` unpacks to more than 4 GiB")
        if value.is_floating_point():
            bad = int(value.numel() - value.isfinite().sum())
            if bad:
                raise CheckpointError(
                    f"tensor `{key}` holds {bad} of {value.numel()} numbers that are NaN or infinite",
                    hint="training diverged; take an earlier checkpoint",
                )
        if key.endswith("running_var") and value.numel() and float(value.min()) <= 0:
            raise CheckpointError(
                f"BatchNorm variance `{key}` is not positive",
                got=f"{int((value <= 0).sum())} of {value.numel()} values, smallest {float(value.min()):g}",
            )
