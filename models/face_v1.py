"""FeatherFace V1 in its three forms: 487,103, 489,015 and 592,371 parameters.

Source: Kim et al., "FeatherFace", Electronics 2025, 14, 517; layer order and key names of the public repositories
(fokouarnaud/FeatherFace, featherface-train, dohun-mat/FeatherFace; MIT).
"""

from __future__ import annotations

from torch import Tensor, nn

from .bifpn import BiFPNCell
from .cbam import CBAM
from .heads import DetectionHeads
from .mobilenet import FaceBackbone
from .shuffle import shuffle_groups_first, shuffle_groups_last
from .ssh import SSH

__all__ = ["FaceV1", "FaceV1Base", "FaceV1Original"]


class FaceV1(DetectionHeads):
    """The documented teacher, 487,103 parameters: CBAM twice, plain 3x3 context convolutions. No weights are public."""

    def __init__(self, channels: int = 74, reduction: int = 48, cells: int = 2) -> None:
        super().__init__(channels)
        self.body = FaceBackbone()
        taps = self.body.taps
        self.backbone_cbam_0 = CBAM(taps[0], reduction)
        self.backbone_cbam_1 = CBAM(taps[1], reduction)
        self.backbone_cbam_2 = CBAM(taps[2], reduction)
        self.bifpn = _bifpn(taps, channels, cells)
        self.attention_cbam_0 = CBAM(channels, reduction)
        self.attention_cbam_1 = CBAM(channels, reduction)
        self.attention_cbam_2 = CBAM(channels, reduction)
        self.dcn1 = ContextConv(channels)
        self.dcn2 = ContextConv(channels)
        self.dcn3 = ContextConv(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm); see `DetectionHeads.detect`.

        Args:
            x: (B, 3, H, W) float32, BGR minus (104, 117, 123); H and W multiples of 32.
        """
        p3, p4, p5 = self.body(x)
        levels = [
            _gated(self.backbone_cbam_0, p3),
            _gated(self.backbone_cbam_1, p4),
            _gated(self.backbone_cbam_2, p5),
        ]
        p3, p4, p5 = self.bifpn(levels)
        p3 = self.dcn1(_gated(self.attention_cbam_0, p3))
        p4 = self.dcn2(_gated(self.attention_cbam_1, p4))
        p5 = self.dcn3(_gated(self.attention_cbam_2, p5))
        return self.detect([shuffle_groups_first(level) for level in (p3, p4, p5)])


class FaceV1Base(DetectionHeads):
    """489,015 parameters, public weights: no CBAM, deformable context."""

    def __init__(self, channels: int = 56, cells: int = 2) -> None:
        super().__init__(channels)
        self.body = FaceBackbone()
        self.bifpn = _bifpn(self.body.taps, channels, cells)
        self.ssh1 = SSH(channels, deformable=True)
        self.ssh2 = SSH(channels, deformable=True)
        self.ssh3 = SSH(channels, deformable=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm); see `FaceV1.forward`."""
        p3, p4, p5 = self.bifpn(self.body(x))
        levels = [self.ssh1(p3), self.ssh2(p4), self.ssh3(p5)]
        return self.detect([shuffle_groups_last(level) for level in levels])


class FaceV1Original(DetectionHeads):
    """592,371 parameters: CBAM twice, deformable context, bottlenecks. Misspelt names are the checkpoint's."""

    def __init__(self, channels: int = 64, reduction: int = 16, cells: int = 3) -> None:
        super().__init__(channels)
        self.body = FaceBackbone()
        taps = self.body.taps
        self.bacbkbone_0_cbam = CBAM(taps[0], reduction)
        self.bacbkbone_1_cbam = CBAM(taps[1], reduction)
        self.bacbkbone_2_cbam = CBAM(taps[2], reduction)
        self.bifpn = _bifpn(taps, channels, cells)
        self.bif_cbam_0 = CBAM(channels, reduction)
        self.bif_cbam_1 = CBAM(channels, reduction)
        self.bif_cbam_2 = CBAM(channels, reduction)
        self.ssh1 = SSH(channels, deformable=True)
        self.ssh2 = SSH(channels, deformable=True)
        self.ssh3 = SSH(channels, deformable=True)
        self.ssh1_cs = _shuffle_bottleneck(channels)
        self.ssh2_cs = _shuffle_bottleneck(channels)
        self.ssh3_cs = _shuffle_bottleneck(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm); see `FaceV1.forward`."""
        p3, p4, p5 = self.body(x)
        levels = [
            _gated(self.bacbkbone_0_cbam, p3),
            _gated(self.bacbkbone_1_cbam, p4),
            _gated(self.bacbkbone_2_cbam, p5),
        ]
        p3, p4, p5 = self.bifpn(levels)
        p3 = self.ssh1_cs(self.ssh1(_gated(self.bif_cbam_0, p3)))
        p4 = self.ssh2_cs(self.ssh2(_gated(self.bif_cbam_1, p4)))
        p5 = self.ssh3_cs(self.ssh3(_gated(self.bif_cbam_2, p5)))
        return self.detect([p3, p4, p5])


class ContextConv(nn.Module):
    """A plain 3x3 convolution under the name `dcn` that the checkpoints give it, BatchNorm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dcn = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.dcn(x))
        return x.relu()


class GroupsLastShuffle(nn.Module):
    """`shuffle_groups_last` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return shuffle_groups_last(x)


def _gated(gate: nn.Module, x: Tensor) -> Tensor:
    scaled: Tensor = gate(x)
    return (scaled + x).relu()


def _bifpn(taps: tuple[int, int, int], channels: int, cells: int) -> nn.Sequential:
    return nn.Sequential(*(BiFPNCell(channels, None if index else taps) for index in range(cells)))


def _shuffle_bottleneck(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(
        GroupsLastShuffle(),
        nn.Conv2d(channels, half, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False),
        nn.BatchNorm2d(half),
        nn.Conv2d(half, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
