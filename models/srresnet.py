"""SRResNet: Ledig et al., Photo-Realistic Single Image Super-Resolution Using a GAN, CVPR 2017 (arXiv 1609.04802).

Parameter names are those of Lornatang's SRGAN-PyTorch (`conv1`, `trunk.N.rcb`, `conv2`, `upsampling.N.upsample_block`,
`conv3`), so its checkpoints load unchanged. A network whose batch norm is folded into the convolutions has the same
names without those of the batch norm, and a bias in the convolutions.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import convolution, pixel_shuffle_factors


def _convolution_and_norm(n_feats: int, batch_norm: bool) -> list[nn.Module]:
    if not batch_norm:
        return [convolution(n_feats, n_feats), nn.Identity()]
    return [nn.Conv2d(n_feats, n_feats, 3, padding=1, bias=False), nn.BatchNorm2d(n_feats)]


class ResidualConvolutionBlock(nn.Module):
    """Convolution, batch norm, PReLU, convolution, batch norm, added to the input (SRGAN, figure 4).

    Args:
        n_feats: channels in and out.
        n_slopes: slopes of the PReLU: 1, or `n_feats` for one a channel.
        batch_norm: whether batch norm is there; otherwise it is taken as folded.
    """

    def __init__(self, n_feats: int, n_slopes: int, batch_norm: bool) -> None:
        super().__init__()
        self.rcb = nn.Sequential(
            *_convolution_and_norm(n_feats, batch_norm), nn.PReLU(n_slopes), *_convolution_and_norm(n_feats, batch_norm)
        )

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.rcb(x)
        return branch + x


class UpsampleBlock(nn.Module):
    """Convolution, pixel shuffle, PReLU."""

    def __init__(self, n_feats: int, factor: int, n_slopes: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(
            convolution(n_feats, n_feats * factor**2), nn.PixelShuffle(factor), nn.PReLU(n_slopes)
        )

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.upsample_block(x)
        return image


class SRResNet(nn.Module):
    """SRResNet; the default is the paper's network.

    Args:
        scale: 2, 3 or 4.
        n_resblocks: residual blocks.
        n_feats: feature channels.
        n_slopes: slopes of each PReLU: 1, or `n_feats` for one a channel.
        batch_norm: false for a network whose batch norm is folded into its convolutions.

    Shapes: (N, 3, H, W) to (N, 3, scale * H, scale * W), float32; SRGAN-PyTorch trains it on 0..1. Its clamp of the
    output to 0..1 is left out: a picture is clipped when it is written.
    """

    def __init__(
        self, scale: int = 4, n_resblocks: int = 16, n_feats: int = 64, n_slopes: int = 1, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(convolution(3, n_feats, kernel_size=9), nn.PReLU(n_slopes))
        self.trunk = nn.Sequential(
            *(ResidualConvolutionBlock(n_feats, n_slopes, batch_norm) for _ in range(n_resblocks))
        )
        self.conv2 = nn.Sequential(*_convolution_and_norm(n_feats, batch_norm))
        self.upsampling = nn.Sequential(
            *(UpsampleBlock(n_feats, factor, n_slopes) for factor in pixel_shuffle_factors(scale))
        )
        self.conv3 = convolution(n_feats, 3, kernel_size=9)

    def forward(self, x: Tensor) -> Tensor:
        shallow: Tensor = self.conv1(x)
        deep: Tensor = self.conv2(self.trunk(shallow)) + shallow
        image: Tensor = self.conv3(self.upsampling(deep))
        return image


__all__ = ["ResidualConvolutionBlock", "SRResNet", "UpsampleBlock"]
