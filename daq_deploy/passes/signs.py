"""Which feature maps cannot be negative, found in the graph and never at run time."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .graph import constant_array

_NON_NEGATIVE = {
    "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Sqrt", "Softplus", "ReduceSumSquare", "ReduceL2",
}  # fmt: skip
_KEEP_SIGN = {
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum",
    "DepthToSpace", "SpaceToDepth", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice",
    "Split", "Gather", "Expand", "Tile", "Dropout",
}  # fmt: skip
_KEEP_SIGN_OF_ALL = {"Add", "Mul", "Concat", "Max", "Sum", "Mean"}


def is_non_negative(value: ir.Value | None) -> bool:
    """Return whether every value of a tensor is known to be zero or more.

    Only what the graph proves counts: a Relu and what keeps the sign after it. Pad and Resize count where they cannot
    undershoot (constant padding with zero, reflection; nearest and linear interpolation).
    """
    node = value.producer() if value is not None else None
    if node is None or node.graph is None:
        return value is not None and _is_non_negative_constant(value)
    proven: set[ir.Value] = set()
    for earlier in node.graph:  # in execution order, and not from the value backwards: graphs may be very deep
        if _proves(earlier, proven):
            proven.update(earlier.outputs)
        if earlier is node:
            break
    return value in proven


def _proves(node: ir.Node, proven: set[ir.Value]) -> bool:
    """Return whether the outputs of a node are non-negative, given the values that are proven to be."""

    def known(operand: ir.Value | None) -> bool:
        return operand is not None and (operand in proven or _is_non_negative_constant(operand))

    kind = node.op_type
    if node.domain != "":
        return False
    if kind in _NON_NEGATIVE:
        return True
    if kind in _KEEP_SIGN:
        return known(node.inputs[0])
    if kind in _KEEP_SIGN_OF_ALL:
        return all(known(operand) for operand in node.inputs)
    if kind == "Clip":
        return len(node.inputs) > 1 and known(node.inputs[1])
    if kind == "Resize":
        return node.attributes.get_string("mode", "nearest") in ("nearest", "linear") and known(node.inputs[0])
    if kind == "Pad":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        return known(node.inputs[0]) and (fill is None or known(fill))
    return False


def _is_non_negative_constant(value: ir.Value) -> bool:
    constant = constant_array(value)
    return constant is not None and constant.dtype.kind in "fiu" and bool((constant.astype(np.float64) >= 0).all())


__all__ = ["is_non_negative"]
