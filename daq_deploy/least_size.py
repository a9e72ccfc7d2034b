"""The smallest picture that a network can run on, computed from its graph.

Windows without padding, such as those of spatial attention, may be larger than what is left of a small picture: ONNX Runtime
refuses to run then or, where an empty map is resized, divides by zero and takes the process with it.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from .ops import DOMAIN
from .passes.graph import constant_array
from .passes.padding import pads_of
from .receptive_field import SAME_PIXEL, kernel_of

LARGEST_TRIED = 256
"""Pixels; a network that does not run on so many needs more than size."""

Size = tuple[int, ...]
"""Height and width of a map."""


def least_size(graph: ir.Graph) -> int:
    """Return the least height and width at which every window of the graph looks at something; 1 where none asks for more."""
    return next((size for size in range(1, LARGEST_TRIED + 1) if _runs_on(graph, (size, size))), 1)


def _runs_on(graph: ir.Graph, picture: Size) -> bool:
    sizes: dict[ir.Value, Size] = {graph.inputs[0]: picture}
    for node in graph:
        read = [sizes[value] for value in node.inputs if value is not None and value in sizes]
        size = _after(node, read) if read else None
        if size is None:
            continue  # what follows may take any size
        if min(size) < 1:
            return False
        sizes.update(dict.fromkeys(node.outputs, size))
    return True


def _after(node: ir.Node, read: list[Size]) -> Size | None:
    """Return the size of a node's outputs, None where it is not known."""
    largest = tuple(max(sides) for sides in zip(*read, strict=True))
    kind = node.op_type
    if node.domain == DOMAIN:
        return largest if "ErrorFeedback" in kind or kind == "NearestLevel" else None
    if node.domain != "" or kind == "Pad":
        return None
    if kind == "Slice":
        axes = constant_array(node.inputs[3]) if len(node.inputs) > 3 else None
        return largest if axes is not None and axes.tolist() == [1] else None
    if kind in SAME_PIXEL:
        return largest
    if kind in ("Conv", "MaxPool", "AveragePool"):
        return _after_window(node, read[0])
    if kind == "DepthToSpace":
        return tuple(side * node.attributes.get_int("blocksize", 1) for side in largest)
    return None


def _after_window(node: ir.Node, size: Size) -> Size:
    kernel = kernel_of(node)
    strides = node.attributes.get_ints("strides", [1, 1])
    dilations = node.attributes.get_ints("dilations", [1, 1])
    pads = pads_of(node, size, kernel)
    round_up = node.attributes.get_int("ceil_mode", 0)
    after = []
    for axis, length in enumerate(kernel):
        left = size[axis] + pads[axis] + pads[axis + 2] - (length - 1) * dilations[axis] - 1
        if left < 0 and node.op_type == "Conv":
            return (0, 0)
        # ONNX Runtime divides towards zero: a pool may look at less than its window.
        steps = math.ceil(left / strides[axis]) if round_up else math.trunc(left / strides[axis])
        if round_up and steps * strides[axis] >= size[axis] + pads[axis]:
            steps -= 1  # the last window would begin behind the map
        after.append(steps + 1)
    return tuple(after)


__all__ = ["LARGEST_TRIED", "least_size"]
