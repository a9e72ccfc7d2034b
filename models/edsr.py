"""EDSR: Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017 (arXiv 1707.02921).

Parameter names are those of the authors' EDSR-PyTorch code, so its checkpoints load unchanged.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import MeanShift, PixelShuffleUpsampler, convolution


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a Relu between, scaled and added to the input (EDSR, figure 2c).

    Args:
        n_feats: channels in and out.
        res_scale: factor on the branch before the addition (EDSR, section 3.3; 0.1 for the full model).
    """

    def __init__(self, n_feats: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(n_feats, n_feats), nn.ReLU(inplace=True), convolution(n_feats, n_feats))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.body(x)
        return branch * self.res_scale + x


class EDSR(nn.Module):
    """EDSR. EDSR-baseline is the default; the full model has 32 blocks of 256 channels and res_scale 0.1.

    Args:
        scale: 2, 3 or 4.
        n_resblocks: residual blocks in the body.
        n_feats: feature channels.
        res_scale: residual scaling; not visible in a checkpoint.
        value_range: largest pixel value of input and output, 255 or 1; not visible in a checkpoint.
        mean_shift: subtract the DIV2K mean colour from the input and add it to the output.
        direct_tail: one convolution straight to 3 * scale^2 channels and a pixel shuffle, in place of the upsampler
            and the last convolution.

    Shapes: (N, 3, H, W) to (N, 3, scale * H, scale * W), float32 in 0..value_range.
    """

    def __init__(
        self,
        scale: int = 2,
        n_resblocks: int = 16,
        n_feats: int = 64,
        res_scale: float = 1.0,
        value_range: float = 255.0,
        mean_shift: bool = True,
        direct_tail: bool = False,
    ) -> None:
        super().__init__()
        self.sub_mean: nn.Module = MeanShift(value_range, sign=-1) if mean_shift else nn.Identity()
        self.add_mean: nn.Module = MeanShift(value_range, sign=1) if mean_shift else nn.Identity()
        self.head = nn.Sequential(convolution(3, n_feats))
        blocks: list[nn.Module] = [ResidualBlock(n_feats, res_scale) for _ in range(n_resblocks)]
        self.body = nn.Sequential(*blocks, convolution(n_feats, n_feats))
        if direct_tail:
            self.tail = nn.Sequential(convolution(n_feats, 3 * scale**2), nn.PixelShuffle(scale))
        else:
            self.tail = nn.Sequential(PixelShuffleUpsampler(scale, n_feats), convolution(n_feats, 3))

    def forward(self, x: Tensor) -> Tensor:
        shallow: Tensor = self.head(self.sub_mean(x))
        deep: Tensor = self.body(shallow) + shallow
        image: Tensor = self.add_mean(self.tail(deep))
        return image


def rescale_values(state_dict: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return the state_dict of the same EDSR for pixel values `factor` times as large (1 to 255: factor 255).

    Only the first and the last convolution and the mean shifts change, so the network computes the same function.
    """
    last = max(name for name in state_dict if name.startswith("tail.")).rpartition(".")[0]
    scaled = {name: tensor.clone() for name, tensor in state_dict.items()}
    scaled["head.0.weight"] /= factor
    for name in (f"{last}.weight", f"{last}.bias", "sub_mean.bias", "add_mean.bias"):
        if name in scaled:
            scaled[name] *= factor
    return scaled


__all__ = ["EDSR", "ResidualBlock", "rescale_values"]
