"""Channel attention: the mean of a map is among its statistics, and a gate of one value a channel multiplies the map."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from daq_deploy.passes.graph import constant_array

from .shapes import Shapes


def averaged_map(node: ir.Node) -> ir.Value | None:
    """Return what a node takes the mean of over height and width, (N, C, H, W) to (N, C, 1, 1); None for others."""
    source = node.inputs[0] if node.inputs else None
    if node.domain != "" or source is None:
        return None
    if node.op_type == "GlobalAveragePool":
        return source
    if node.op_type != "ReduceMean" or node.attributes.get_int("keepdims", 1) == 0:
        return None
    axes: object = node.attributes.get_ints("axes", None)
    if axes is None and len(node.inputs) > 1:
        axes = constant_array(node.inputs[1])
    return source if axes is not None and sorted(np.asarray(axes) % 4) == [2, 3] else None


def map_and_gate(node: ir.Node, shapes: Shapes) -> tuple[ir.Value, ir.Value] | None:
    """Return the map (N, C, H, W) and the gate (N, C, 1, 1) that a node multiplies; None for other nodes."""
    if node.domain != "" or node.op_type != "Mul":
        return None
    for value, gate in (node.inputs, node.inputs[::-1]):
        if value is None or gate is None or gate.is_initializer():
            continue
        shape = shapes.get(value.name or "", ())
        if len(shape) == 4 and shape[2:] != (1, 1) and shapes.get(gate.name or "") == (*shape[:2], 1, 1):
            return value, gate
    return None


__all__ = ["averaged_map", "map_and_gate"]
