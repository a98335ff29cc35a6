"""The main job: one model from checkpoint to a bundle of artifacts, each with its proof.

    checkpoint -> trace (ONNX fp32, torch.export program, PyTorch's answers)
               -> float TFLite by one or both routes -> the route that holds parity at the better latency
               -> fp16, int8, … by recipes found on the search split -> card embedded, precision inspected
               -> parity of every file on the parity split -> manifest -> bundle

Each stage is kept in the store under a name made of its inputs, so that a second run is a look-up and an interrupted
one goes on where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..runtime.errors import InputError, ParityError
from ..runtime.trust import trust
from . import bundle
from .request import ExportRequest, base_key, tool_versions
from .store import Store, content_key

__all__ = ["Clock", "Outcome", "export_model"]

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one export gave.

    Attributes:
        folder: the bundle.
        manifest: its manifest.
        cached: nothing had to be made.
        seconds: wall time of this run by stage.
    """

    folder: Path
    manifest: dict[str, Any]
    cached: bool
    seconds: dict[str, float]


class Clock:
    """Adds up the wall time of stages, seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time until the block ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def export_model(
    request: ExportRequest, output: Path, store: Store, *, say: Say, force: bool = False, verbose: bool = False
) -> Outcome:
    """Export one model into `output/<name>` and return what came of it; the caller holds the lock of `output`.

    Args:
        request: what to export.
        output: folder of bundles.
        store: finished stages.
        say: is told what is being done.
        force: replace a bundle that was made of other inputs.
        verbose: let converters print.

    Raises:
        EdgeError: of every kind that `runtime.errors` names; `output` is then as it was.
    """
    say("reading inputs")
    key = base_key(request)
    final = output / request.name
    before = bundle.read_manifest(final)
    kept = _kept(before, key, final, force)
    wanted = sorted(request.file_name(*variant) for variant in request.variants)
    if before is not None and all(name in kept for name in wanted):
        _judge(before, wanted, request)
        return Outcome(folder=final, manifest=before, cached=True, seconds={})

    clock = Clock()

    def build(folder: Path) -> dict[str, Any]:
        from .variants import build_variants  # torch, onnx and the converters

        return build_variants(request, key, folder, store, say=say, verbose=verbose, clock=clock)

    whole = content_key("bundle", {"base": key, "variants": wanted})
    folder, facts = store.make(whole, build)
    manifest = {"schema": 1, "edge": __version__, "key": key, "tools": tool_versions(), **facts}
    _judge(manifest, wanted, request)
    say("writing the bundle")
    with bundle.open_run(output) as run:
        for name in wanted:
            shutil.copy2(folder / name, run / name)
        for name, entry in kept.items():
            if name not in wanted:
                shutil.copy2(final / name, run / name)
                manifest["variants"][name] = entry
        bundle.commit(run, final, manifest)
    for name in wanted:
        trust(final / name)  # made here: `edge run` need not try it in a process of its own first
    return Outcome(folder=final, manifest=manifest, cached=not clock.seconds, seconds=clock.seconds)


def _kept(before: dict[str, Any] | None, key: str, final: Path, force: bool) -> dict[str, Any]:
    """Return the variants of an earlier bundle that still hold: same inputs, files intact."""
    if before is None:
        return {}
    if before.get("key") != key:
        if not force:
            raise InputError(
                f"`{final}` holds an export of other inputs or another version",
                hint="replace it with --force, or name another folder with --output",
            )
        return {}
    return dict(before["variants"]) if bundle.intact(final, before) else {}


def _judge(manifest: dict[str, Any], wanted: list[str], request: ExportRequest) -> None:
    complaints = [line for name in wanted for line in manifest["variants"][name]["complaints"]]
    if complaints and request.fail:
        more = f" (and {len(complaints) - 1} more)" if complaints[1:] else ""
        raise ParityError(complaints[0] + more, hint="keep the files all the same with --no-fail")
