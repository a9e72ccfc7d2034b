"""Find error feedback in a DAQ graph: a node of domain `daq`, or the nodes that it was inlined to (ops/error_feedback.py)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.ops import DOMAIN

from .graph import constant_array, producer_of


def before_feedback(value: ir.Value | None) -> tuple[ir.Value | None, ErrorFeedback | None]:
    """Return what error feedback reads whose result is `value`, and the feedback; else the value and None."""
    node = value.producer() if value is not None else None
    if node is not None and node.domain == DOMAIN and "ErrorFeedback" in node.op_type:
        coefficients, channels, _, sizes = node.inputs[-4:]
        return node.inputs[0], _feedback(coefficients, channels, sizes)
    scan = producer_of(value, "Slice", "Reshape", "Transpose", "Gather", "Scan")
    joined = producer_of(value, "Reshape", "Gather", "Concat")
    if scan is not None:
        gather = producer_of(scan.inputs[1], "Gather")
        moved = producer_of(gather.inputs[0], "Transpose", "Reshape", "Pad") if gather is not None else None
        product = next((node for node in scan.attributes["body"].as_graph() if node.op_type == "MatMul"), None)
    elif joined is not None:
        # The first group is moved by nothing, the second by the errors of the first.
        passed = producer_of(joined.inputs[0], "Identity")
        gather = producer_of(joined.inputs[0] if passed is None else passed.inputs[0], "Split", "Gather")
        moved = producer_of(gather.inputs[0], "Reshape") if gather is not None else None
        addition = producer_of(joined.inputs[1], "Add")
        product = producer_of(addition.inputs[1], "MatMul") if addition is not None else None
    else:
        return value, None
    split = producer_of(product.inputs[0], "Slice", "Split") if product is not None else None
    if gather is None or moved is None or split is None:
        return value, None
    return moved.inputs[0], _feedback(split.inputs[0], gather.inputs[1], split.inputs[1])


def _feedback(coefficients: ir.Value | None, channels: ir.Value | None, sizes: ir.Value | None) -> ErrorFeedback | None:
    """Read error feedback from the constants of a graph, where its channels are in the order of rounding."""
    cast = producer_of(coefficients, "Cast")
    if cast is None:
        return None
    constants = [constant_array(value) for value in (cast.inputs[0], channels, sizes)]
    if any(array is None for array in constants):
        return None
    halves, order, group_sizes = (np.asarray(array) for array in constants)
    places = np.argsort(order)
    if halves.shape[0] == halves.shape[1]:  # nothing comes from the left
        halves = np.concatenate([np.zeros_like(halves), halves], axis=1)
    columns = np.concatenate([places, len(places) + places])
    firsts = order[np.cumsum(group_sizes) - group_sizes]
    return ErrorFeedback(tuple((firsts // GROUP).tolist()), halves[np.ix_(places, columns)].astype(np.float16))


__all__ = ["before_feedback"]
