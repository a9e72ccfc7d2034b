"""Which values native layers read, directly or through what can stay in the native layout."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from daq_deploy.passes.graph import only_consumer

from .attention import map_and_gate
from .channels import channel_slices
from .epilogue import ACTIVATIONS, other_operand, slope_of
from .resampling import resampling_of
from .selection import NativeConvolution
from .shapes import Shapes


def wanted_values(
    graph: ir.Graph, selected: Mapping[ir.Node, NativeConvolution | str], shapes: Shapes
) -> Collection[ir.Value]:
    """Return the values that are better given in the native layout: it spares a conversion further on."""
    wanted: set[ir.Value] = set()
    for node in reversed(graph):
        convolution = selected.get(node)
        if isinstance(convolution, NativeConvolution) and convolution.block is not None:
            wanted.add(convolution.block.feature_map)
        elif any(value in wanted for value in node.outputs):
            wanted.update(carried_inputs(node, shapes))
    return wanted


def carried_inputs(node: ir.Node, shapes: Shapes) -> list[ir.Value]:
    """Return the inputs whose layout a node's outputs can keep; none for a node that works on planar values alone."""
    if node.domain != "":
        return []
    value = node.inputs[0] if node.inputs else None
    if node.op_type in ACTIVATIONS and value is not None:
        shape = shapes.get(value.name or "")
        return [value] if shape is not None and len(shape) == 4 and slope_of(node, shape[1]) is not None else []
    if node.op_type in ("Add", "Mul") and value is not None:
        if (gated := map_and_gate(node, shapes)) is not None:
            return [gated[0]]
        other = None if value.is_initializer() else other_operand(node, value, shapes)
        return [] if other is None else [value, other]
    if node.op_type == "DepthToSpace" and value is not None:
        return [value] if only_consumer(value) is node else []
    if (resampling := resampling_of(node, shapes)) is not None:
        producer = resampling.source.producer()
        return [] if producer is not None and channel_slices(producer, shapes) else [resampling.source]
    slices = channel_slices(node, shapes)
    return list({entry.value: None for entries in slices.values() for entry in entries})


__all__ = ["carried_inputs", "wanted_values"]
