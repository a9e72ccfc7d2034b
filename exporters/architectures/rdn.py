"""RDN checkpoints with the names of EDSR-PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from daq_deploy.models.rdn import RDN

from .base import Architecture, Shapes, is_image_convolution, sequence_length, square_root


class RDNArchitecture(Architecture):
    """Adapter for `daq_deploy.models.rdn.RDN`."""

    name = "RDN"
    value_range = 255.0

    def detect(self, shapes: Shapes) -> bool:
        return (
            is_image_convolution(shapes, "SFENet1.weight")
            and {"RDBs.0.convs.0.conv.0.weight", "RDBs.0.LFF.weight", "GFF.0.weight", "UPNet.0.weight"} <= shapes.keys()
        )

    def read_parameters(self, shapes: Shapes) -> dict[str, Any]:
        growth = shapes["RDBs.0.convs.0.conv.0.weight"][0]
        return {
            "scale": 4 if "UPNet.4.weight" in shapes else square_root(shapes["UPNet.0.weight"][0] // growth),
            "n_blocks": sequence_length(shapes, "RDBs."),
            "n_layers": sequence_length(shapes, "RDBs.0.convs."),
            "growth": growth,
            "n_feats": shapes["SFENet1.weight"][0],
        }

    def build(self, parameters: Mapping[str, Any]) -> nn.Module:
        return RDN(**parameters)


__all__ = ["RDNArchitecture"]
