"""The logs of a run: rows of numbers in CSV or TensorBoard files, and a line for whoever waits."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from ...runtime.errors import MissingExtraError
from ...runtime.progress import Progress as Bar
from ...runtime.trace import clock
from .state import write_durably

__all__ = ["CsvLog", "Log", "Progress", "TensorBoardLog", "open_logs", "silent"]

LINE_EVERY_S = 30.0
UPDATE_EVERY_S = 0.5
_ROW = re.compile(r"([0-9]{1,9})(,[-+.0-9a-z]+)+")


class CsvLog:
    """Rows of numbers, of which the first is the step.

    Args:
        path: the file; what it holds of steps after `step` is cut off, and what a kill or a power cut has torn.
        step: steps done.

    Attributes:
        last: step of the last row that is left, 0 without one.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.last = _truncate(path, step)

    def write(self, rows: list[Mapping[str, float]]) -> None:
        """Append rows; all have the same columns."""
        if not rows:
            return
        fresh = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        if self.path.exists():
            with self.path.open("rb") as stream:
                os.fsync(stream.fileno())

    def close(self) -> None:
        """Nothing is kept open."""


class TensorBoardLog:
    """The same rows as TensorBoard scalars.

    Args:
        folder: of the event files.
        step: steps done; TensorBoard hides what came after.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as exc:
            raise MissingExtraError(
                "`--log tensorboard` needs the package tensorboard", hint="pip install 'edge-vision[train]'"
            ) from exc
        self.writer: Any = SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]

    def write(self, rows: list[Mapping[str, float]]) -> None:
        """Append rows."""
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    self.writer.add_scalar(name, value, int(row["step"]))
        self.sync()

    def sync(self) -> None:
        """Give all rows to the system."""
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


Log = CsvLog | TensorBoardLog


def open_logs(folder: Path, kind: str, step: int, name: str) -> list[Log]:
    """Return the logs of one kind of rows, "train" or "val".

    Args:
        folder: of the run.
        kind: "csv", "tensorboard" or "both".
        step: steps done.
        name: of the rows: `log.csv` holds "train", `val.csv` "val".
    """
    logs: list[Log] = []
    if kind in ("csv", "both"):
        logs.append(CsvLog(folder / ("log.csv" if name == "train" else f"{name}.csv"), step))
    if kind in ("tensorboard", "both"):
        logs.append(TensorBoardLog(folder / "tensorboard" / name, step))
    return logs


class Progress:
    """How far a run is: a bar on a terminal, or a line every half minute.

    Args:
        steps: of the run.
        start: step from which this process goes on.
        batch: samples of a step.
        say: takes a line; None shows all on stderr.
    """

    def __init__(self, steps: int, start: int, batch: int, say: Callable[[str], None] | None) -> None:
        self.steps, self.start, self.batch = steps, start, batch
        self.bar = Bar("training", steps, start=start, lines=False, quiet=say is not None)
        self.say = say or self.bar.line
        self.began = self.last = monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to tell."""
        return monotonic() - self.last >= (UPDATE_EVERY_S if self.bar.live else LINE_EVERY_S)

    def update(self, step: int, parts: Mapping[str, float], rate: float) -> None:
        """Tell that `step` steps are done, the last with these losses and this learning rate."""
        self.last = monotonic()
        speed = max(step - self.start, 1) / max(self.last - self.began, 1e-9)
        losses = " ".join(f"{name} {value:.4g}" for name, value in parts.items())
        text = f"{losses}  lr {rate:.2g}  {speed * self.batch:.0f} samples/s"
        if self.bar.live:
            self.bar.at(step, note=text)
        else:
            self.say(f"step {step}/{self.steps}  {text}  {clock((self.steps - step) / speed)} left")

    def line(self, text: str) -> None:
        """Say something else, on a line of its own."""
        self.say(text)

    def wipe(self) -> None:
        """Take the bar away."""
        self.bar.close()


def silent(text: str) -> None:
    """Say nothing, where a line is taken."""


def _truncate(path: Path, step: int) -> int:
    """Cut off the rows after `step` and all from the first torn one on; return the step of the last that is left."""
    if not path.exists():
        return 0
    text = path.read_text(encoding="utf-8", errors="replace")
    head, *rows = text[: text.rfind("\n") + 1].split("\n")
    kept, last = [], 0
    for row in rows:
        found = _ROW.fullmatch(row)
        if not found or row.count(",") != head.count(",") or int(found[1]) > step:
            break
        kept.append(row)
        last = int(found[1])
    if not kept:
        path.unlink()
    elif (cut := "\n".join([head, *kept, ""])) != text:
        write_durably(path, cut.encode())
    return last


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
