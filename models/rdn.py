"""RDN: Zhang et al., Residual Dense Network for Image Super-Resolution, CVPR 2018 (arXiv 1802.08797).

Parameter names are those of the RDN in EDSR-PyTorch (by RDN's first author), so its checkpoints load unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import convolution, pixel_shuffle_factors

RDN_CONFIGURATIONS = {
    "A": {"n_blocks": 20, "n_layers": 6, "growth": 32},
    "B": {"n_blocks": 16, "n_layers": 8, "growth": 64},
}
"""The two networks of EDSR-PyTorch by name, as arguments of `RDN`; B is the one the paper reports."""


class DenseLayer(nn.Module):
    """A 3x3 convolution and a Relu whose `growth` new channels are appended to the input (RDN, section 3.2)."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(convolution(in_channels, growth), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(x)), dim=1)


class ResidualDenseBlock(nn.Module):
    """Dense layers, fused by a 1x1 convolution and added to the input (RDN, figure 3).

    Args:
        n_feats: channels in and out.
        n_layers: dense layers.
        growth: channels each dense layer appends.
    """

    def __init__(self, n_feats: int, n_layers: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(DenseLayer(n_feats + i * growth, growth) for i in range(n_layers)))
        self.LFF = convolution(n_feats + n_layers * growth, n_feats, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.LFF(self.convs(x))
        return fused + x


class RDN(nn.Module):
    """RDN; the default is configuration B, and `RDN(scale, **RDN_CONFIGURATIONS["A"])` is configuration A.

    Args:
        scale: 2, 3 or 4.
        n_blocks: residual dense blocks (D in the paper).
        n_layers: dense layers in a block (C).
        growth: channels a dense layer appends, and channels of the upsampler (G).
        n_feats: channels between blocks (G0).

    Shapes: (N, 3, H, W) to (N, 3, scale * H, scale * W), float32; EDSR-PyTorch trains it on 0..255.
    """

    def __init__(
        self, scale: int = 2, n_blocks: int = 16, n_layers: int = 8, growth: int = 64, n_feats: int = 64
    ) -> None:
        super().__init__()
        self.SFENet1 = convolution(3, n_feats)
        self.SFENet2 = convolution(n_feats, n_feats)
        self.RDBs = nn.ModuleList(ResidualDenseBlock(n_feats, n_layers, growth) for _ in range(n_blocks))
        self.GFF = nn.Sequential(convolution(n_blocks * n_feats, n_feats, kernel_size=1), convolution(n_feats, n_feats))
        layers: list[nn.Module] = []
        channels = n_feats
        for factor in pixel_shuffle_factors(scale):
            layers += [convolution(channels, growth * factor**2), nn.PixelShuffle(factor)]
            channels = growth
        self.UPNet = nn.Sequential(*layers, convolution(growth, 3))

    def forward(self, x: Tensor) -> Tensor:
        shallow: Tensor = self.SFENet1(x)
        features: Tensor = self.SFENet2(shallow)
        of_blocks: list[Tensor] = []
        for block in self.RDBs:
            features = block(features)
            of_blocks.append(features)
        deep: Tensor = self.GFF(torch.cat(of_blocks, dim=1)) + shallow
        image: Tensor = self.UPNet(deep)
        return image


__all__ = ["RDN", "RDN_CONFIGURATIONS", "DenseLayer", "ResidualDenseBlock"]
