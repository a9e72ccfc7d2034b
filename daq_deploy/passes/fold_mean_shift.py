"""Remove the 1x1 convolutions that add a colour to an image (the mean shifts of EDSR and its kin).

Conv -> MeanShift   =>  Conv with another bias, where nothing else reads the convolution's output
x    -> MeanShift   =>  x + colour, elsewhere: before a zero-padded convolution the shift cannot be folded, since the
                        padding is zero after the shift and not before it

A mean shift is a 1x1 Conv, one group, stride 1, no padding, whose weights are the identity.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .fold_batch_norm import is_constant, scale_convolution
from .graph import add_array, constant_bias, convolutions, float_constant, only_consumer, replace_value


class FoldMeanShift(ir.passes.InPlacePass):
    """Fold mean shifts into the convolution before them, or turn them into an addition."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        shifts = [node for node in convolutions(model.graph) if _is_mean_shift(node)]
        for shift in shifts:
            _fold(model.graph, shift)
        return ir.passes.PassResult(model, modified=bool(shifts))


def _is_mean_shift(node: ir.Node) -> bool:
    weight = float_constant(node.inputs[1])
    bias = constant_bias(node)
    if node.op_type != "Conv" or weight is None or bias is None or weight.shape[2:] != (1, 1):
        return False
    simple = not any(node.attributes.get_ints("pads", [0])) and set(node.attributes.get_ints("strides", [1])) == {1}
    return simple and weight.shape[0] == weight.shape[1] and np.array_equal(weight[:, :, 0, 0], np.eye(weight.shape[0]))


def _fold(graph: ir.Graph, shift: ir.Node) -> None:
    image = shift.inputs[0]
    colour = float_constant(shift.inputs[2])
    assert image is not None
    assert colour is not None
    before = image.producer()
    if before is not None and only_consumer(image) is shift and before.domain == "" and is_constant(before):
        scale_convolution(graph, before, np.ones(len(colour)), colour.astype(np.float64))
        replace_value(shift, image)
        return
    constant = add_array(graph, f"{shift.outputs[0].name}.colour", colour.reshape(1, -1, 1, 1))
    addition = ir.node("Add", [image, constant], name=shift.name)
    addition.outputs[0].name = f"{shift.outputs[0].name}.shifted"
    addition.outputs[0].shape, addition.outputs[0].type = shift.outputs[0].shape, shift.outputs[0].type
    graph.insert_before(shift, addition)
    replace_value(shift, addition.outputs[0])


__all__ = ["FoldMeanShift"]
