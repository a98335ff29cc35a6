"""Nano-B: a family of small face detectors with free widths, from 96k to 369k parameters.

The design document's diagram, made consistent; no origin network of its stated size ever ran. A pruned network is
another member of the family: widths and weights, never masks.
Source: fokouarnaud/FeatherFace, `docs/NANO_B_ARCHITECTURE_DIAGRAM.md` (MIT); B-FPGM for the pruning.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .bifpn import LightBiFPN
from .cbam import LightCBAM
from .heads import DetectionHeads
from .mobilenet import DENSE_WIDTHS, FaceBackbone
from .shuffle import shuffle_groups_first
from .ssh import GroupedSSH

__all__ = ["DENSE_PYRAMID", "REFERENCE_PYRAMID", "REFERENCE_WIDTHS", "NanoB", "nanob_widths"]

DENSE_PYRAMID = 72
REFERENCE_WIDTHS: tuple[int, ...] = (8, 16, 32, 32, 64, 64, 76, 76, 76, 76, 76, 76, 152, 152)
REFERENCE_PYRAMID = 40


class NanoB(DetectionHeads):
    """Faces with five landmarks.

    Args:
        widths: 14 backbone widths.
        pyramid: pyramid width, a multiple of 8.
    """

    def __init__(self, widths: tuple[int, ...] = DENSE_WIDTHS, pyramid: int = DENSE_PYRAMID) -> None:
        if pyramid < 8 or pyramid % 8:
            raise ValueError(f"the pyramid width must be a multiple of 8, got {pyramid}")
        super().__init__(pyramid)
        self.widths, self.pyramid = tuple(widths), pyramid
        self.body = FaceBackbone(self.widths)
        self.cbam1 = nn.ModuleList(LightCBAM(width) for width in self.body.taps)
        self.bifpn = LightBiFPN(self.body.taps, pyramid)
        self.cbam2 = nn.ModuleList(LightCBAM(pyramid) for _ in range(3))
        self.ssh = nn.ModuleList(GroupedSSH(pyramid) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm); see `DetectionHeads.detect`.

        Args:
            x: (B, 3, H, W) float32, BGR minus (104, 117, 123); H and W multiples of 32.
        """
        levels = [gate(level) for gate, level in zip(self.cbam1, self.body(x), strict=True)]
        levels = [gate(level) for gate, level in zip(self.cbam2, self.bifpn(levels), strict=True)]
        levels = [context(level) for context, level in zip(self.ssh, levels, strict=True)]
        return self.detect([shuffle_groups_first(level) for level in levels])


def nanob_widths(state: Mapping[str, Tensor]) -> tuple[tuple[int, ...], int]:
    """Return (backbone widths, pyramid width) of a state dict, so that any member of the family can be rebuilt.

    Args:
        state: a Nano-B state dict.

    Raises:
        KeyError: a convolution of the backbone or the first head is missing.
    """
    names = ["body.stage1.0.0"] + [f"body.stage1.{i}.3" for i in range(1, 6)]
    names += [f"body.stage2.{i}.3" for i in range(6)] + [f"body.stage3.{i}.3" for i in range(2)]
    widths = tuple(int(state[f"{name}.weight"].shape[0]) for name in names)
    return widths, int(state["ClassHead.0.conv1x1.weight"].shape[1])
