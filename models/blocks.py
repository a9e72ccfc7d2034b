"""Parts that the SR networks share."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DIV2K_MEAN_RGB = (0.4488, 0.4371, 0.4040)
"""Mean colour of the DIV2K training set on a scale of 0..1, as EDSR-PyTorch and RDN use it."""


def convolution(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Conv2d:
    """A convolution with bias that keeps height and width (odd kernel, zero padding)."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


class MeanShift(nn.Conv2d):
    """Add `sign * value_range * DIV2K_MEAN_RGB` to an RGB image; a fixed 1x1 convolution, as in EDSR-PyTorch."""

    def __init__(self, value_range: float, sign: int) -> None:
        super().__init__(3, 3, kernel_size=1)
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.bias.copy_(sign * value_range * torch.tensor(DIV2K_MEAN_RGB))
        self.requires_grad_(False)


def pixel_shuffle_factors(scale: int) -> tuple[int, ...]:
    """Return the steps in which a network upsamples: one for scales 2 and 3, two of 2 for scale 4.

    Raises:
        ValueError: scale is not 2, 3 or 4.
    """
    if scale not in (2, 3, 4):
        raise ValueError(f"scale {scale} is not one of 2, 3, 4")
    return (2, 2) if scale == 4 else (scale,)


class PixelShuffleUpsampler(nn.Sequential):
    """Convolution and pixel shuffle (Shi et al., CVPR 2016) for each step of `pixel_shuffle_factors`."""

    def __init__(self, scale: int, n_feats: int) -> None:
        layers: list[nn.Module] = []
        for factor in pixel_shuffle_factors(scale):
            layers += [convolution(n_feats, n_feats * factor**2), nn.PixelShuffle(factor)]
        super().__init__(*layers)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose batch norms are folded into the convolutions right before them.

    Only those inside one nn.Sequential are; nn.Identity takes their place, so that no other name changes.
    """
    folded = copy.deepcopy(module).eval()
    for sequence in folded.modules():
        if isinstance(sequence, nn.Sequential):
            for index, (before, after) in enumerate(pairwise(list(sequence))):
                if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                    sequence[index] = fuse_conv_bn_eval(before, after)
                    sequence[index + 1] = nn.Identity()
    return folded


__all__ = [
    "DIV2K_MEAN_RGB",
    "MeanShift",
    "PixelShuffleUpsampler",
    "convolution",
    "fold_batch_norm",
    "pixel_shuffle_factors",
]
