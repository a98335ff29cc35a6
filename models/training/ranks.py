"""One process or many: what Lightning Fabric is told, on one machine, on several GPUs, or under `torchrun`."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import TYPE_CHECKING

from ...runtime.errors import InputError, MissingExtraError
from .options import TrainOptions

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["start_ranks"]

PATIENCE = timedelta(hours=12)  # the others wait while the first process renders a data set, or validates


def start_ranks(options: TrainOptions) -> Fabric:
    """Return Fabric with every process running; calling it again joins what runs already.

    Under `torchrun` the processes are its own; otherwise `options.devices` of them are started here, each of which
    runs the same command.

    Raises:
        MissingExtraError: lightning-fabric is not installed.
        InputError: there are not that many devices.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ModuleNotFoundError as exc:
        raise MissingExtraError(
            f"training needs the package {exc.name}", hint="pip install 'edge-vision[train]'"
        ) from exc
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets
    devices, nodes = _layout(options)
    try:
        fabric = Fabric(
            accelerator="auto",
            devices=devices,
            num_nodes=nodes,
            strategy=DDPStrategy(timeout=PATIENCE) if devices * nodes > 1 else "auto",
            precision=options.precision,  # type: ignore[arg-type]  # one of PRECISIONS
        )
    except (ValueError, RuntimeError) as exc:
        raise InputError(f"cannot train on {devices} devices", got=str(exc).splitlines()[0]) from exc
    fabric.launch()
    return fabric


def _layout(options: TrainOptions) -> tuple[int, int]:
    """Return processes a machine, and machines."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # not under torchrun
        return options.devices, 1
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local
