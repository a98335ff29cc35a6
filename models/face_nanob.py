"""Nano-B: a family of small face detectors with free widths, from 96k to 369k parameters.

The design document's diagram, made consistent; no origin network of its stated size ever ran. A pruned network is
another member of the family: widths and weights, never masks.
Source: fokouarnaud/FeatherFace, `docs/NANO_B_ARCHITECTURE_DIAGRAM.md` (MIT); B-FPGM for the pruning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from .bifpn import LightBiFPN
from .cbam import LightCBAM
from .heads import DetectionHeads
from .mobilenet import DENSE_WIDTHS, FaceBackbone
from .shuffle import shuffle_groups_first
from .ssh import GroupedSSH

__all__ = [
    "DENSE_PYRAMID",
    "REFERENCE_PYRAMID",
    "REFERENCE_WIDTHS",
    "NanoB",
    "NanoBWidths",
    "build_nanob",
    "nanob_widths",
]

DENSE_PYRAMID = 72
REFERENCE_WIDTHS: tuple[int, ...] = (8, 16, 32, 32, 64, 64, 76, 76, 76, 76, 76, 76, 152, 152)
REFERENCE_PYRAMID = 40


@dataclass(frozen=True, kw_only=True)
class NanoBWidths:
    """All widths of one member of the family.

    Attributes:
        backbone: 14 widths of the backbone.
        pyramid: pyramid width, a multiple of 8.
        hidden: hidden units of the six attention modules, before the pyramid and behind it, strides 8, 16, 32.
        inner: widths inside the 5x5 and 7x7 context branches.
        outer: output widths of the three context branches; their sum is what the heads read.
    """

    backbone: tuple[int, ...]
    pyramid: int
    hidden: tuple[int, ...]
    inner: tuple[int, int]
    outer: tuple[int, int, int]


class NanoB(DetectionHeads):
    """Faces with five landmarks.

    Args:
        widths: 14 backbone widths.
        pyramid: pyramid width, a multiple of 8.
        hidden: as in `NanoBWidths`; None takes an eighth of the channels, at least 4.
        inner: as in `NanoBWidths`, even; None takes a quarter of the pyramid width.
        outer: as in `NanoBWidths`, even; None takes a half and two quarters of the pyramid width.

    Raises:
        ValueError: a width is not possible.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = DENSE_WIDTHS,
        pyramid: int = DENSE_PYRAMID,
        *,
        hidden: tuple[int, ...] | None = None,
        inner: tuple[int, int] | None = None,
        outer: tuple[int, int, int] | None = None,
    ) -> None:
        if pyramid < 8 or pyramid % 8:
            raise ValueError(f"the pyramid width must be a multiple of 8, got {pyramid}")
        if any(width < 2 or width % 2 for width in (*(inner or ()), *(outer or ()))):
            raise ValueError(f"context widths must be even, got {inner} and {outer}")
        if hidden is not None and (len(hidden) != 6 or min(hidden) < 1):
            raise ValueError(f"hidden must be six positive widths, got {hidden}")
        super().__init__(sum(outer) if outer else pyramid)
        units = hidden or (None,) * 6
        self.widths, self.pyramid = tuple(widths), pyramid
        self.body = FaceBackbone(self.widths)
        self.cbam1 = nn.ModuleList(LightCBAM(*pair) for pair in zip(self.body.taps, units[:3], strict=True))
        self.bifpn = LightBiFPN(self.body.taps, pyramid)
        self.cbam2 = nn.ModuleList(LightCBAM(pyramid, width) for width in units[3:])
        self.ssh = nn.ModuleList(GroupedSSH(pyramid, inner=inner, outer=outer) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm); see `DetectionHeads.detect`.

        Args:
            x: (B, 3, H, W) float32, BGR minus (104, 117, 123); H and W multiples of 32.
        """
        levels = [gate(level) for gate, level in zip(self.cbam1, self.body(x), strict=True)]
        levels = [gate(level) for gate, level in zip(self.cbam2, self.bifpn(levels), strict=True)]
        levels = [context(level) for context, level in zip(self.ssh, levels, strict=True)]
        return self.detect([shuffle_groups_first(level) for level in levels])


def build_nanob(widths: NanoBWidths) -> NanoB:
    """Return the member of the family that has these widths, its weights random."""
    return NanoB(widths.backbone, widths.pyramid, hidden=widths.hidden, inner=widths.inner, outer=widths.outer)


def nanob_widths(state: Mapping[str, Tensor]) -> NanoBWidths:
    """Return the widths of a state dict, so that any member of the family can be rebuilt.

    Args:
        state: a Nano-B state dict.

    Raises:
        KeyError: a convolution is missing.
    """

    def outputs(name: str) -> int:
        return int(state[f"{name}.weight"].shape[0])

    names = ["body.stage1.0.0"] + [f"body.stage1.{i}.3" for i in range(1, 6)]
    names += [f"body.stage2.{i}.3" for i in range(6)] + [f"body.stage3.{i}.3" for i in range(2)]
    return NanoBWidths(
        backbone=tuple(outputs(name) for name in names),
        pyramid=outputs("bifpn.lat.0.pw"),
        hidden=tuple(outputs(f"cbam{gate}.{level}.fc1") for gate in (1, 2) for level in range(3)),
        inner=(outputs("ssh.0.b5a.0"), outputs("ssh.0.b7a.0")),
        outer=(outputs("ssh.0.b3.0"), outputs("ssh.0.b5b.0"), outputs("ssh.0.b7b.0")),
    )
