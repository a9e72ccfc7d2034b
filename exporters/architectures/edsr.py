"""EDSR checkpoints with the names of EDSR-PyTorch, and the variant whose tail is one convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from daq_deploy.models.blocks import DIV2K_MEAN_RGB
from daq_deploy.models.edsr import EDSR

from .base import Architecture, Shapes, is_image_convolution, sequence_length, square_root


class EDSRArchitecture(Architecture):
    """Adapter for `daq_deploy.models.edsr.EDSR`."""

    name = "EDSR"
    value_range = 255.0
    has_res_scale = True

    def detect(self, shapes: Shapes) -> bool:
        return (
            is_image_convolution(shapes, "head.0.weight")
            and {"body.0.body.0.weight", "body.0.body.2.weight"} <= shapes.keys()
            and ("tail.0.weight" in shapes or {"tail.0.0.weight", "tail.1.weight"} <= shapes.keys())
        )

    def read_parameters(self, shapes: Shapes) -> dict[str, Any]:
        n_feats = shapes["head.0.weight"][0]
        direct_tail = "tail.0.weight" in shapes
        if direct_tail:
            scale = square_root(shapes["tail.0.weight"][0] // 3)
        elif "tail.0.2.weight" in shapes:
            scale = 4
        else:
            scale = square_root(shapes["tail.0.0.weight"][0] // n_feats)
        return {
            "scale": scale,
            "n_resblocks": sequence_length(shapes, "body.") - 1,
            "n_feats": n_feats,
            "mean_shift": "sub_mean.bias" in shapes,
            "direct_tail": direct_tail,
        }

    def read_value_range(self, state_dict: Mapping[str, Tensor]) -> float | None:
        if "sub_mean.bias" not in state_dict:
            return None
        # The mean shift subtracts value_range * DIV2K_MEAN_RGB.
        return float(round(-state_dict["sub_mean.bias"].sum().item() / sum(DIV2K_MEAN_RGB)))

    def build(self, parameters: Mapping[str, Any]) -> nn.Module:
        return EDSR(**parameters)


__all__ = ["EDSRArchitecture"]
