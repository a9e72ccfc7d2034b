"""Conv -> BatchNormalization  =>  Conv, where nothing else reads the convolution's output.

W' = W * gamma / sqrt(variance + epsilon), b' = (b - mean) * gamma / sqrt(variance + epsilon) + beta; computed in float64.
Exact up to rounding (ONNX BatchNormalization, training_mode = 0).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .graph import add_array, convolutions, float_constant, only_consumer, replace_value


class FoldBatchNorm(ir.passes.InPlacePass):
    """Fold batch normalization into the convolution before it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        folded = [_fold(model.graph, node) for node in convolutions(model.graph) if node.op_type == "Conv"]
        return ir.passes.PassResult(model, modified=any(folded))


def _fold(graph: ir.Graph, convolution: ir.Node) -> bool:
    norm = only_consumer(convolution.outputs[0])
    if norm is None or norm.op_type != "BatchNormalization" or norm.domain != "":
        return False
    training = norm.attributes.get("training_mode")
    if norm.inputs[0] is not convolution.outputs[0] or len(norm.outputs) != 1 or (training and training.as_int()):
        return False
    parameters = [float_constant(value) for value in norm.inputs[1:5]]
    if not is_constant(convolution) or any(parameter is None for parameter in parameters):
        return False
    gamma, beta, mean, variance = (np.asarray(parameter, np.float64) for parameter in parameters)
    epsilon = norm.attributes.get_float("epsilon", 1e-5)
    factor = gamma / np.sqrt(variance + epsilon)
    scale_convolution(graph, convolution, factor, (0 - mean) * factor + beta)
    replace_value(norm, convolution.outputs[0])
    return True


def is_constant(convolution: ir.Node) -> bool:
    """Return whether a convolution is a Conv whose weights, and bias if it has one, are float constants."""
    bias = convolution.inputs[2] if len(convolution.inputs) > 2 else None
    has_constant_bias = bias is None or float_constant(bias) is not None
    return convolution.op_type == "Conv" and float_constant(convolution.inputs[1]) is not None and has_constant_bias


def scale_convolution(
    graph: ir.Graph,
    convolution: ir.Node,
    factor: np.typing.NDArray[np.float64],
    offset: np.typing.NDArray[np.float64],
) -> None:
    """Make a Conv that `is_constant`, weights (O, I/groups, kH, kW), compute `factor * output + offset`, both (O,)."""
    weight_value = convolution.inputs[1]
    weight = float_constant(weight_value)
    assert weight is not None
    assert weight_value is not None
    bias_value = convolution.inputs[2] if len(convolution.inputs) > 2 else None
    old_bias = float_constant(bias_value)
    bias = (0.0 if old_bias is None else old_bias.astype(np.float64)) * factor + offset
    new_weight = weight * factor.reshape(-1, 1, 1, 1)
    name = weight_value.name or "weight"
    replace_constant(graph, convolution, 1, name, new_weight.astype(np.float32))
    bias_name = (
        bias_value.name if bias_value is not None and bias_value.name else name.removesuffix(".weight") + ".bias"
    )
    replace_constant(graph, convolution, 2, bias_name, np.broadcast_to(bias, factor.shape).astype(np.float32))


def replace_constant(
    graph: ir.Graph, node: ir.Node, index: int, name: str, array: np.typing.NDArray[np.float32]
) -> None:
    """Give one input of a node a new constant, under the old name where no other node reads the old one."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None:
        node.replace_input_with(index, None)
        if not old.uses() and old.is_initializer() and not old.is_graph_output():
            del graph.initializers[old.name or ""]
    else:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, add_array(graph, name, array))


__all__ = ["FoldBatchNorm", "is_constant", "replace_constant", "scale_convolution"]
