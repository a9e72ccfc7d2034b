"""What follows a convolution and can be computed before its output is stored.

    v = Relu | LeakyRelu | PRelu | Sigmoid | Tanh (v)      at most one
    v = v + operand | v * operand                          at most one, before the activation or after it
    v = DepthToSpace(v)                                    at most one, before the activation or last; without an operand

Each value in between has one reader. A chain may also begin with a value that is there already, and then with v * gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.graph import only_consumer

from .attention import map_and_gate
from .selection import reads_channels
from .shapes import Shapes

_PLAIN_ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
_BINARY = {"Add": "add", "Mul": "multiply"}
ACTIVATIONS = frozenset({*_PLAIN_ACTIVATIONS, "LeakyRelu", "PRelu"})
NO_SLOPE: npt.NDArray[np.float32] = np.empty(0, np.float32)


@dataclass(frozen=True)
class Epilogue:
    """What is computed of a value before it is stored."""

    value: ir.Value
    """What is stored."""
    nodes: tuple[ir.Node, ...] = ()
    """The nodes that are computed, in order."""
    gate: ir.Value | None = None
    """What multiplies the value before all else, (N, C, 1, 1); of a map that is there already."""
    activation: str = "none"
    slope: npt.NDArray[np.float32] = field(default_factory=lambda: NO_SLOPE)
    """Of the activation `slope`, one a channel before DepthToSpace; empty for others."""
    operand_kind: str = "none"
    """none, add or multiply."""
    operand: ir.Value | None = None
    operand_first: bool = False
    """Whether the operand comes before the activation."""
    blocksize: int = 1
    mode: str = "CRD"


AcceptOperand = Callable[[ir.Value, ir.Value], bool]
"""Whether an operand, the first value, may be fused into the computation of the second."""


class Epilogues:
    """Finds the epilogues of a graph's values; a node is part of one at most."""

    def __init__(self, graph: ir.Graph, shapes: Shapes) -> None:
        self._graph, self._shapes = graph, shapes
        self.taken: set[ir.Node] = set()
        """The nodes of the epilogues found so far."""

    def find(
        self,
        start: ir.Value,
        channels: int,
        accept: AcceptOperand,
        first: ir.Node | None = None,
        rearranged: bool = True,
        gated: bool = False,
    ) -> Epilogue:
        """Return the longest epilogue of a value, and take its nodes.

        Args:
            start: what a convolution gives, or a map that is there already.
            channels: of `start`.
            accept: asked before an operand is fused.
            first: the node it begins with, one of several readers of a map that is there; None for its only one.
            rearranged: whether DepthToSpace may be part of it.
            gated: whether a gate may be part of it.
        """
        found, node = Epilogue(start), first or only_consumer(start)
        while node is not None and node.graph is self._graph and node.domain == "" and node not in self.taken:
            longer = _extended(found, node, channels, self._shapes, accept, rearranged, gated)
            if longer is None:
                break
            found, node = longer, only_consumer(longer.value)
        self.taken.update(found.nodes)
        return found


def _extended(
    found: Epilogue,
    node: ir.Node,
    channels: int,
    shapes: Shapes,
    accept: AcceptOperand,
    rearranged: bool,
    gated: bool,
) -> Epilogue | None:
    kind, value = node.op_type, node.outputs[0]
    longer = replace(found, nodes=(*found.nodes, node), value=value)
    if kind in ACTIVATIONS:
        slope = slope_of(node, channels // found.blocksize**2)
        if found.activation != "none" or slope is None or node.inputs[0] is not found.value:
            return None
        if found.blocksize > 1 and slope.size:
            count = found.blocksize**2
            slope = np.repeat(slope, count) if found.mode == "CRD" else np.tile(slope, count)
        name = _PLAIN_ACTIVATIONS.get(kind, "slope")
        return replace(longer, activation=name, slope=slope, operand_first=found.operand is not None)
    gate = map_and_gate(node, shapes)
    if gate is not None:
        return replace(longer, gate=gate[1]) if gated and not found.nodes and gate[0] is found.value else None
    if kind in _BINARY and found.operand is None and found.blocksize == 1:
        operand = other_operand(node, found.value, shapes)
        if operand is None or not accept(operand, value):
            return None
        return replace(longer, operand_kind=_BINARY[kind], operand=operand)
    if kind == "DepthToSpace" and rearranged and found.operand is None and found.blocksize == 1:
        mode = node.attributes.get_string("mode", "DCR")
        return replace(longer, blocksize=node.attributes["blocksize"].as_int(), mode=mode)
    return None


def slope_of(node: ir.Node, channels: int) -> npt.NDArray[np.float32] | None:
    """Return what an activation multiplies negative values by, (channels,); empty where it has no slope.

    None where the slope is not a constant, or not one a channel.
    """
    if node.op_type in _PLAIN_ACTIVATIONS:
        return NO_SLOPE
    if node.op_type == "LeakyRelu":
        return np.full(channels, node.attributes.get_float("alpha", 0.01), np.float32)
    slope = reads_channels(node.inputs[1])
    return None if slope is None or slope.size not in (1, channels) else np.broadcast_to(slope, channels).copy()


def other_operand(node: ir.Node, value: ir.Value, shapes: Shapes) -> ir.Value | None:
    """Return what an Add or Mul combines a value with, None where it is the value itself or of another shape."""
    first, second = node.inputs
    other = second if first is value else first
    if other is None or other is value or other.is_initializer():
        return None
    shape = shapes.get(value.name or "")
    return other if shape is not None and len(shape) == 4 and shapes.get(other.name or "") == shape else None


__all__ = ["ACTIVATIONS", "AcceptOperand", "Epilogue", "Epilogues", "other_operand", "slope_of"]
