"""SRResNet checkpoints with the names of SRGAN-PyTorch, with batch norm or with batch norm folded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from daq_deploy.models.srresnet import SRResNet

from .base import Architecture, Shapes, is_image_convolution, sequence_length, square_root


class SRResNetArchitecture(Architecture):
    """Adapter for `daq_deploy.models.srresnet.SRResNet`."""

    name = "SRResNet"
    value_range = 1.0

    def detect(self, shapes: Shapes) -> bool:
        return (
            is_image_convolution(shapes, "conv1.0.weight")
            and {"trunk.0.rcb.0.weight", "trunk.0.rcb.2.weight", "trunk.0.rcb.3.weight", "conv2.0.weight"}
            <= shapes.keys()
            and {"upsampling.0.upsample_block.0.weight", "conv3.weight"} <= shapes.keys()
        )

    def read_parameters(self, shapes: Shapes) -> dict[str, Any]:
        n_feats = shapes["conv1.0.weight"][0]
        factor = square_root(shapes["upsampling.0.upsample_block.0.weight"][0] // n_feats)
        return {
            "scale": int(factor ** sequence_length(shapes, "upsampling.")),
            "n_resblocks": sequence_length(shapes, "trunk."),
            "n_feats": n_feats,
            "n_slopes": shapes["conv1.1.weight"][0],
            "batch_norm": "conv2.1.weight" in shapes,
        }

    def build(self, parameters: Mapping[str, Any]) -> nn.Module:
        return SRResNet(**parameters)


__all__ = ["SRResNetArchitecture"]
