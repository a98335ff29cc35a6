"""What is asked of one export, and its name by content: known before torch is imported."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..models.shipped import Trained, shipped, trained
from ..runtime.card import Precision, Target
from ..runtime.errors import CheckpointError, InputError
from .calibration import MIN_SAMPLES, samples_key
from .store import content_key, sha256_file

__all__ = ["TOOLS", "ExportRequest", "base_key", "code_key", "tool_versions"]

MAX_CHECKPOINT_BYTES = 4 << 30  # as `models.checkpoint_file.MAX_BYTES`, which comes with torch
# Every package whose version can change an exported byte.
TOOLS = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "litert-torch",
    "numpy",
    "onnx",
    "onnx2tf",
    "onnxruntime",
    "onnxscript",
    "onnxsim",
    "pillow",
    "tensorflow",
    "torch",
)


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One model to export.

    Attributes:
        name: registry name, or the name that a user's own model goes by.
        factory: "pkg.mod:factory" of a user's own model, else None.
        plugin_path: folder that is put on the import path for `factory`.
        input_shape: (1, C, H, W) of a user's own model, else None.
        card_file: TOML or JSON that completes the card of a user's own model.
        checkpoint: weights; None takes what ships with the model, and seeded random ones where nothing ships.
        untrained: take seeded random weights even where trained ones ship.
        input_hw: another input size than the nominal one, where the family allows it.
        targets, precisions: which artifacts.
        via: "auto", "onnx2tf" or "litert-torch".
        calibration: folder, `.npy` or `.npz`; None takes the synthetic set.
        seed: of the synthetic set and of seeded weights.
        min_samples: fewest distinct calibration samples.
        timeout_s: limit of one conversion, seconds.
        fail: whether a limit that is not held fails the export.
    """

    name: str
    factory: str | None = None
    plugin_path: Path | None = None
    input_shape: tuple[int, ...] | None = None
    card_file: Path | None = None
    checkpoint: Path | None = None
    untrained: bool = False
    input_hw: tuple[int, int] | None = None
    targets: tuple[Target, ...] = (Target.ONNX, Target.TFLITE)
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.FP16, Precision.INT8)
    via: str = "auto"
    calibration: Path | None = None
    seed: int = 0
    min_samples: int = MIN_SAMPLES
    timeout_s: float = 900.0
    fail: bool = True

    @property
    def weights(self) -> Path | None:
        """File of the weights; None: seeded random ones, or those that the factory made."""
        return self.checkpoint or (self._shipped.path if self._shipped else None)

    @property
    def weights_kind(self) -> str:
        """Where the weights come from: "checkpoint", "shipped", "factory" or "seeded"."""
        if self.checkpoint is not None:
            return "checkpoint"
        if self.factory is not None:
            return "factory"
        return "shipped" if self._shipped else "seeded"

    @cached_property
    def training(self) -> Trained | None:
        """What is known of how the weights were trained, from the card beside their file."""
        return self._shipped or (trained(self.checkpoint) if self.checkpoint else None)

    @cached_property
    def _shipped(self) -> Trained | None:
        own = self.checkpoint is not None or self.factory is not None or self.untrained
        return None if own else shipped(self.name)

    @property
    def variants(self) -> list[tuple[Target, Precision]]:
        """The artifacts, in the order they are made."""
        return [(target, precision) for target in self.targets for precision in self.precisions]

    def file_name(self, target: Target, precision: Precision) -> str:
        """Return the artifact's file name."""
        return f"{self.name}-{precision}.{target}"


def base_key(request: ExportRequest) -> str:
    """Return the name of all that a request's artifacts depend on, whichever of them are asked for.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        InputError: the card, the factory's module or the calibration source cannot be read.
    """
    return content_key("export", _inputs(request))


def tool_versions() -> dict[str, str]:
    """Return the installed version of every package that can change an exported byte; absent ones are left out."""
    found = {}
    for name in TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"python": sys.version.split()[0]}


def code_key() -> str:
    """Return a hash of our own sources, so that a change of code never meets an old cache entry."""
    root = Path(__file__).resolve().parent.parent
    # In a checkout the rooms stand beside each other; installed, they are sub-packages of `edge`.
    rooms = [root / room for room in ("models", "export", "runtime")]
    return _hash_files([path for room in rooms for path in sorted(room.rglob("*.py"))], root)


def _inputs(request: ExportRequest) -> dict[str, Any]:
    return {
        "model": request.name,
        "factory": request.factory and _factory_digest(request),
        "input_shape": request.input_shape,
        "card": request.card_file and _digest(request.card_file, "card"),
        "checkpoint": request.weights and _checkpoint_digest(request.weights),
        "weights": request.weights_kind,
        "training": request.training and dict(request.training.training),  # the card tells of it
        "input_hw": request.input_hw,
        "via": request.via,
        "calibration": samples_key(request.calibration, request.seed),
        "seed": request.seed,
        "min_samples": request.min_samples,
        "code": code_key(),
        "tools": tool_versions(),
    }


def _checkpoint_digest(path: Path) -> str:
    if not path.exists():
        raise CheckpointError(f"checkpoint `{path}` does not exist")
    if not path.is_file():
        raise CheckpointError(f"checkpoint `{path}` is not a file", hint="name the .pth or .safetensors file itself")
    try:
        size = path.stat().st_size
        if size > MAX_CHECKPOINT_BYTES:  # before minutes go into its hash
            raise CheckpointError(f"checkpoint `{path}` is too large", expected="at most 4 GiB", got=f"{size} bytes")
        return sha256_file(path)
    except OSError as exc:
        raise CheckpointError(f"checkpoint `{path}` cannot be read", got=exc.strerror) from exc


def _digest(path: Path, what: str) -> str:
    if path.exists() and not path.is_file():  # a pipe or a device could block or never end
        raise InputError(f"{what} `{path}` is no file")
    try:
        return sha256_file(path)
    except OSError as exc:
        raise InputError(f"{what} `{path}` cannot be read", got=exc.strerror) from exc


def _factory_digest(request: ExportRequest) -> str:
    """Hash a user's own model: the sources behind its factory, and the weights that the factory gives it.

    The weights count because a factory may read them from a file that no source names.
    """
    from .own_model import import_factory, make_module, weights_digest  # imports the user's code, and torch with it

    spec = request.factory or ""
    import_factory(spec, request.plugin_path)
    package = spec.partition(":")[0].partition(".")[0]
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
    root = Path(__file__).resolve().parent.parent
    foreign = [*installed, *(root / room for room in ("edge", "models", "export", "runtime", "bench"))]
    sources = set()
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        # Some modules invent a relative name that is no file: torch.classes has `_classes.py`.
        if not isinstance(origin, str) or not origin.endswith(".py") or not Path(origin).is_absolute():
            continue
        path = Path(origin).resolve()
        own = name.partition(".")[0] == package
        if path.is_file() and (own or not any(path.is_relative_to(folder) for folder in foreign)):
            sources.add(path)
    weights = weights_digest(make_module(spec, request.plugin_path, seed=request.seed))
    return f"{spec} {_hash_files(sorted(sources), None)} {weights}"


def _hash_files(paths: list[Path], root: Path | None) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update((str(path.relative_to(root)) if root else path.name).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
