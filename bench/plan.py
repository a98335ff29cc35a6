"""How one artifact is measured in one process: what the harness is told, on every device alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..runtime.card import build
from ..runtime.engines import ENGINES, check_threads
from ..runtime.errors import InputError

__all__ = ["STRICT_QUERIES", "STRICT_S", "Plan"]

# MLPerf Inference rules, scenario SingleStream: fewest queries and shortest run.
STRICT_QUERIES, STRICT_S = 1024, 600.0
MOST_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One process's work.

    Attributes:
        artifact: path of the ONNX or TFLite file, on the device.
        engine: "onnxruntime" or "litert".
        threads: CPU threads of the engine.
        source: path of an .npz on the device with `picture` (H, W, 3) uint8, or `samples` (n,) float32 and `rate` Hz;
            "" measures inference alone, on noise.
        warmup_s: wall clock of untimed runs before each loop, at least; two runs are made in any case.
        seconds: wall clock of the loop of inferences, at least.
        runs: timed inferences at least.
        stages_s: wall clock of the loop of whole frames (pre, infer, decode), at least; 0 leaves it out.
        pin: numbers of the CPUs that the process is held to; empty leaves it alone.
        strict: MLPerf's SingleStream: 1,024 queries and 600 s at least, nothing else in the process.
    """

    artifact: str
    engine: str
    threads: int = 1
    source: str = ""
    warmup_s: float = 0.5
    seconds: float = 2.0
    runs: int = 64
    stages_s: float = 1.0
    pin: tuple[int, ...] = ()
    strict: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError(f"unknown engine `{self.engine}`", expected=" | ".join(ENGINES))
        check_threads(self.threads)
        for name in ("warmup_s", "seconds", "stages_s"):
            if not 0 <= getattr(self, name) <= MOST_S:
                raise InputError(f"`{name}` is out of range", expected=f"0 to {MOST_S:g} s", got=getattr(self, name))
        if not 1 <= self.runs <= 10_000_000:
            raise InputError("`runs` is out of range", expected="1 to 10,000,000", got=self.runs)
        if any(cpu < 0 for cpu in self.pin) or len(set(self.pin)) != len(self.pin):
            raise InputError("CPUs to pin to are numbers from 0, each once", got=self.pin)

    @property
    def least(self) -> tuple[int, float]:
        """Timed inferences and seconds at least, with what `strict` asks."""
        if self.strict:
            return max(self.runs, STRICT_QUERIES), max(self.seconds, STRICT_S)
        return self.runs, self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**dataclasses.asdict(self), "pin": list(self.pin)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan that plain values describe.

        Raises:
            CardError, InputError: a key is unknown or missing, or a value makes no sense.
        """
        return build(cls, values, "plan")
