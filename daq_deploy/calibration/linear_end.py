"""The end of a network that is linear, as one convolution.

Behind their last activation EDSR and its like have convolutions and sub-pixel shuffles alone, which take most of the products
of the whole network. What they make of an error is one convolution of it, of few products, that is told by what they make of
single pixels; but for the border, where each of them pads its own input with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.graph import producer_of
from daq_deploy.receptive_field import radius_of

from .lockstep import IR_VERSION, Array, Executor

OPSET = 21
"""Of the one convolution: Conv is the same in those before and after."""

LARGEST_RADIUS = 6
"""Pixels around one that see it, at most; where more do, one convolution is no cheaper."""


@dataclass(frozen=True)
class LinearEnd:
    """A chain of linear nodes, the last of which gives the output."""

    start: ir.Value
    """What the first of them reads."""
    nodes: Sequence[ir.Node]
    kernel: npt.NDArray[np.float32]
    """Of the one convolution: (outputs of a pixel of `start`, C, k, k)."""
    run: Callable[[Mapping[str, Array]], Sequence[Array]]
    """Computes it."""

    def squared_error(self, error: npt.NDArray[np.float32]) -> float:
        """Return the mean squared error of the output, given that of `start` (N, C, H, W)."""
        (output,) = self.run({"error": error})
        return float(np.square(np.asarray(output, np.float64)).mean())


def linear_end(graph: ir.Graph, values: Mapping[ir.Value, Array], execute: Executor) -> LinearEnd | None:
    """Return the linear end of a network of one image output, None where it has fewer than two convolutions.

    Args:
        graph: of one image input.
        values: all of a run.
        execute: computes a node.
    """
    value, nodes = graph.outputs[0], list[ir.Node]()
    while (node := _linear(value)) is not None and node.inputs[0] is not None:
        nodes.insert(0, node)
        value = node.inputs[0]
    radius = radius_of(nodes)
    if sum(node.op_type == "Conv" for node in nodes) < 2 or radius is None or radius > LARGEST_RADIUS:
        return None

    def run(image: Array) -> Array:
        for node in nodes:
            others = [None if other is None else values[other] for other in node.inputs[1:]]
            (image,) = execute(node, [image, *others])
        return image

    kernel = _response(run, values[value].shape[1], radius)
    return None if kernel is None else LinearEnd(value, nodes, kernel, execute.open(_convolution(kernel)))


def _linear(value: ir.Value) -> ir.Node | None:
    """Return the linear node that gives a value, which keeps the places of pixels."""
    convolution = producer_of(value, "Conv")
    if convolution is not None and any(stride != 1 for stride in convolution.attributes.get_ints("strides", [1, 1])):
        return None
    return convolution or producer_of(value, "DepthToSpace")


def _convolution(kernel: npt.NDArray[np.float32]) -> ir.Model:
    """Return a model of one convolution of `error`."""
    error = ir.Value(name="error", shape=ir.Shape([None] * 4), type=ir.TensorType(ir.DataType.FLOAT))
    weights = ir.Value(name="kernel", const_value=ir.tensor(kernel, name="kernel"))
    node = ir.Node("", "Conv", [error, weights], [ir.AttrInt64s("pads", [kernel.shape[2] // 2] * 4)])
    graph = ir.Graph([error], node.outputs, nodes=[node], initializers=[weights], opset_imports={"": OPSET})
    return ir.Model(graph, ir_version=IR_VERSION)


def _response(run: Callable[[Array], Array], channels: int, radius: int) -> npt.NDArray[np.float32] | None:
    """Return the kernel of a convolution that does what `run` does, None where that changes the size by no scale."""
    side = 2 * radius + 1
    single: npt.NDArray[np.float32] = np.zeros((channels, channels, side, side), np.float32)
    single[np.arange(channels), np.arange(channels), radius, radius] = 1
    seen = np.asarray(run(single), np.float32) - np.asarray(run(np.zeros_like(single[:1])), np.float32)
    if seen.shape[2] % side or seen.shape[2:] != (seen.shape[2],) * 2:
        return None
    scale = seen.shape[2] // side
    # (C, outputs, side, scale, side, scale) to (outputs * scale^2, C, side, side); what a pixel does to others is what they
    # read of it, the other way round.
    parts = seen.reshape(channels, -1, side, scale, side, scale).transpose(1, 3, 5, 0, 2, 4)
    return np.ascontiguousarray(parts.reshape(-1, channels, side, side)[:, :, ::-1, ::-1])


__all__ = ["LARGEST_RADIUS", "LinearEnd", "linear_end"]
