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


def is_non_negative(value: ir.Value | None, known: dict[ir.Value, bool] | None = None) -> bool:
    """Return whether every value of a tensor is known to be zero or more.

    Only what the graph proves counts: a Relu and what keeps the sign after it. Pad and Resize count where they cannot
    undershoot (constant padding with zero, reflection; nearest and linear interpolation). `known` holds what was found on
    the way, since a value may be reached on many paths.
    """
    if value is None:
        return False
    known = {} if known is None else known
    if value not in known:
        known[value] = _prove(value, known)
    return known[value]


def _prove(value: ir.Value, known: dict[ir.Value, bool]) -> bool:
    constant = constant_array(value)
    if constant is not None:
        return constant.dtype.kind in "fiu" and bool((constant.astype(np.float64) >= 0).all())
    node = value.producer()
    if node is None or node.domain != "":
        return False
    kind = node.op_type
    if kind in _NON_NEGATIVE:
        return True
    if kind in _KEEP_SIGN:
        return is_non_negative(node.inputs[0], known)
    if kind in _KEEP_SIGN_OF_ALL:
        return all(is_non_negative(operand, known) for operand in node.inputs)
    if kind == "Clip":
        return len(node.inputs) > 1 and node.inputs[1] is not None and is_non_negative(node.inputs[1], known)
    if kind == "Resize":
        return node.attributes.get_string("mode", "nearest") in ("nearest", "linear") and is_non_negative(
            node.inputs[0], known
        )
    if kind == "Pad":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        return is_non_negative(node.inputs[0], known) and (fill is None or is_non_negative(fill, known))
    return False


__all__ = ["is_non_negative"]
