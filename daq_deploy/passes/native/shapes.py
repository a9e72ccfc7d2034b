"""Shapes of every value for one picture, by shape inference: whether two operands are of one size at every size."""

from __future__ import annotations

from collections.abc import Sequence

import onnx.shape_inference
import onnx_ir as ir

from daq_deploy.passes.blocks import DaqBlock

Shapes = dict[str, tuple[int, ...]]
"""Shape of each value by name; values whose shape inference cannot find are not there."""

_SIZES = (2, None, 64, 96)
"""Sizes that stand for open ones. Height and width differ from each other and from 1, so that no broadcast looks like
operands of one shape, and are multiples of what networks with windows ask for."""


def shapes_of(model: ir.Model, blocks: Sequence[DaqBlock]) -> Shapes:
    """Return the shapes of the main graph's values where open sizes of the picture are set to fixed ones."""
    graph = ir.to_proto(model)
    del graph.graph.value_info[:]
    # Inference does not see through the functions of blocks; what a block gives has the shape of what it reads.
    before = {block.quantized.name: str(block.feature_map.name) for block in blocks}
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = before.get(name, name)
    constants = {tensor.name for tensor in graph.graph.initializer}
    for entry in graph.graph.input:
        dimensions = entry.type.tensor_type.shape.dim
        if entry.name not in constants and len(dimensions) == 4:
            for dimension, size in zip(dimensions, _SIZES, strict=True):
                if not dimension.HasField("dim_value") and size is not None:
                    dimension.dim_value = size
    for entry in graph.graph.output:
        entry.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    found: Shapes = {}
    for entry in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = entry.type.tensor_type
        sizes = tuple(dimension.dim_value for dimension in tensor.shape.dim if dimension.HasField("dim_value"))
        if tensor.HasField("shape") and len(sizes) == len(tensor.shape.dim):
            found[entry.name] = sizes
    found.update({tensor.name: tuple(tensor.dims) for tensor in inferred.initializer})
    return found


__all__ = ["Shapes", "shapes_of"]
