"""Native maps of another size: what ONNX Runtime's own operators give for the planar ones, (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.runtime.executor import OrtExecutor

Array = npt.NDArray[Any]
Attributes = Mapping[str, Any]


def to_planar(native: Array, channels: int, first: int = 0) -> Array:
    """Channels [first, first + channels) of a native map as float32 (N, C, H, W)."""
    return np.ascontiguousarray(native[..., first : first + channels].transpose(0, 3, 1, 2)).astype(np.float32)


def resize(attributes: Attributes, native: Array, scales: Array, sizes: Array) -> Array:
    node = ir.node(
        "Resize",
        [ir.Value(name="X")] * 4,
        {
            "mode": attributes["mode"],
            "coordinate_transformation_mode": attributes["coordinates"],
            "nearest_mode": attributes["nearest"],
        },
    )
    given = [
        to_planar(native, attributes["channels"]),
        None,
        *(part if part.size else None for part in (scales, sizes)),
    ]
    return OrtExecutor(21, threads=1)(node, given)[0]


def max_pool(attributes: Attributes, native: Array) -> Array:
    window = {name: attributes[name] for name in ("kernel_shape", "strides", "pads")}
    node = ir.node("MaxPool", [ir.Value(name="X")], window)
    return OrtExecutor(21, threads=1)(node, [to_planar(native, attributes["channels"])])[0]


__all__ = ["max_pool", "resize", "to_planar"]
