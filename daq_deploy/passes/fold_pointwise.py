"""Conv -> 1x1 Conv  =>  one Conv, where that takes fewer multiplications.

W' = W2 W1, b' = W2 b1 + b2; computed in float64. The first convolution stays where something else reads its output. Exact up
to rounding, at borders too: a 1x1 Conv (ONNX Conv-11) of one group, stride 1, without padding reads no pixel but its own.

What is folded into the head reads the picture, whose values need no range, and not a feature map of few bits.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .fold_batch_norm import is_constant, replace_constant
from .graph import constant_bias, convolutions, float_constant, only_consumer


class FoldPointwise(ir.passes.InPlacePass):
    """Fold 1x1 convolutions into the convolution before them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in convolutions(model.graph):
            while _fold(model.graph, node):
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _fold(graph: ir.Graph, pointwise: ir.Node) -> bool:
    between = pointwise.inputs[0]
    first = between.producer() if between is not None else None
    if first is None or first.domain != "" or not _is_dense(first) or not _is_pointwise(pointwise):
        return False
    assert between is not None
    inner, outer = (_weight(node) for node in (first, pointwise))
    alone = only_consumer(between) is pointwise
    if outer.shape[0] * inner[0].size >= outer.size + (inner.size if alone else 0):
        return False
    matrix = outer[:, :, 0, 0]
    weight = np.tensordot(matrix, inner, axes=1)
    bias = matrix @ _bias(first, len(inner)) + _bias(pointwise, len(outer))
    value = pointwise.inputs[1]
    name = value.name if value is not None and value.name else "weight"
    replace_constant(graph, pointwise, 1, name, weight.astype(np.float32))
    replace_constant(graph, pointwise, 2, f"{name.removesuffix('.weight')}.bias", bias.astype(np.float32))
    pointwise.replace_input_with(0, first.inputs[0])
    pointwise.attributes.clear()
    pointwise.attributes.update({key: ir.Attr(key, value.type, value.value) for key, value in first.attributes.items()})
    if alone:
        graph.remove(first, safe=True)
    return True


def _is_dense(node: ir.Node) -> bool:
    """Return whether a node is a 2-D Conv of one group whose weights and bias are constants."""
    weight = float_constant(node.inputs[1]) if node.op_type == "Conv" else None
    return weight is not None and weight.ndim == 4 and is_constant(node) and node.attributes.get_int("group", 1) == 1


def _is_pointwise(node: ir.Node) -> bool:
    simple = not any(node.attributes.get_ints("pads", [0])) and set(node.attributes.get_ints("strides", [1])) == {1}
    return simple and _is_dense(node) and _weight(node).shape[2:] == (1, 1)


def _weight(node: ir.Node) -> np.typing.NDArray[np.float64]:
    """Return the weights (O, I, kH, kW) of a Conv that `_is_dense`."""
    weight = float_constant(node.inputs[1])
    assert weight is not None
    return weight.astype(np.float64)


def _bias(node: ir.Node, channels: int) -> np.typing.NDArray[np.float64]:
    bias = constant_bias(node)
    return np.zeros(channels) if bias is None else bias.astype(np.float64)


__all__ = ["FoldPointwise"]
