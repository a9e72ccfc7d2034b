"""Conv -> Mul(constant)  =>  Conv, for a scalar or a constant a channel, where nothing else reads the convolution's output.

This is the residual scaling of EDSR (section 3.3). Exact up to rounding: convolution is linear.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .fold_batch_norm import is_constant, scale_convolution
from .graph import convolutions, float_constant, only_consumer, replace_value


class FoldResidualScale(ir.passes.InPlacePass):
    """Fold a constant factor into the convolution before it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        folded = [_fold(model.graph, node) for node in convolutions(model.graph) if node.op_type == "Conv"]
        return ir.passes.PassResult(model, modified=any(folded))


def _fold(graph: ir.Graph, convolution: ir.Node) -> bool:
    multiply = only_consumer(convolution.outputs[0])
    weight = float_constant(convolution.inputs[1])
    if multiply is None or multiply.op_type != "Mul" or multiply.domain != "":
        return False
    if weight is None or not is_constant(convolution):
        return False
    factor = float_constant(multiply.inputs[1 if multiply.inputs[0] is convolution.outputs[0] else 0])
    channels = weight.shape[0]
    if factor is None or not (factor.size == 1 or (factor.shape[-3:] == (channels, 1, 1) and factor.size == channels)):
        return False
    scale_convolution(
        graph, convolution, np.broadcast_to(factor.reshape(-1).astype(np.float64), (channels,)), np.zeros(channels)
    )
    replace_value(multiply, convolution.outputs[0])
    return True


__all__ = ["FoldResidualScale"]
