"""Which operators that change the size of a map the native library computes: Resize of height and width, and MaxPool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from daq_deploy.passes.graph import constant_array

from .shapes import Shapes

_MODES = ("linear", "nearest")
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Resampling:
    """A Resize or MaxPool of height and width."""

    source: ir.Value
    """What is resized, (N, C, H, W)."""
    attributes: dict[str, str | Sequence[int]]
    """Of the native operator."""
    sizes: tuple[ir.Value | None, ...]
    """Scales and sizes of a Resize, one of them None."""


def resampling_of(node: ir.Node, shapes: Shapes) -> Resampling | None:
    """Return what the native operator needs; None for other nodes, and those that it does not compute.

    Source: ONNX Resize, version 19; MaxPool, version 12.
    """
    source = node.inputs[0] if node.inputs else None
    if node.domain != "" or source is None or len(node.outputs) != 1:
        return None
    before, after = (shapes.get(value.name or "", ()) for value in (source, node.outputs[0]))
    if len(before) != 4 or len(after) != 4 or before[:2] != after[:2]:
        return None
    if node.op_type == "Resize":
        return _resize(node, source)
    return _max_pool(node, source) if node.op_type == "MaxPool" else None


def only_resampled(value: ir.Value, shapes: Shapes) -> bool:
    """Return whether a value is read by native Resize and MaxPool alone; nodes that take its shape do not count."""
    readers = [use.node for use in value.uses() if use.node.op_type != "Shape"]
    return all(resampling_of(node, shapes) is not None for node in readers)


def _resize(node: ir.Node, source: ir.Value) -> Resampling | None:
    attributes = node.attributes
    mode = attributes.get_string("mode", "nearest")
    coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel")
    nearest = attributes.get_string("nearest_mode", "round_prefer_floor")
    scales, sizes = (node.inputs[index] if len(node.inputs) > index else None for index in (2, 3))
    plain = (
        mode in _MODES
        and coordinates in _COORDINATES
        and nearest in _NEAREST
        and attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
        and not any(attributes.get_int(name, 0) for name in ("antialias", "exclude_outside"))
        and "axes" not in attributes
    )
    if not plain or (scales is None) == (sizes is None):
        return None
    if scales is not None:
        factors = constant_array(scales)
        if factors is None or factors.size != 4 or (factors[:2] != 1).any():
            return None
    return Resampling(source, {"mode": mode, "coordinates": coordinates, "nearest": nearest}, (scales, sizes))


def _max_pool(node: ir.Node, source: ir.Value) -> Resampling | None:
    attributes = node.attributes
    kernel = attributes["kernel_shape"].as_ints()
    strides, dilations = (attributes.get_ints(name, [1, 1]) for name in ("strides", "dilations"))
    pads = attributes.get_ints("pads", [0, 0, 0, 0])
    padding = attributes.get_string("auto_pad", "NOTSET")
    if attributes.get_int("ceil_mode", 0) or list(dilations) != [1, 1] or padding not in ("NOTSET", "VALID"):
        return None
    if padding == "VALID":
        pads = [0, 0, 0, 0]
    if any(pad < 0 or pad >= size for pad, size in zip(pads, (*kernel, *kernel), strict=True)):
        return None
    return Resampling(source, {"kernel_shape": kernel, "strides": strides, "pads": pads}, ())


__all__ = ["Resampling", "only_resampled", "resampling_of"]
