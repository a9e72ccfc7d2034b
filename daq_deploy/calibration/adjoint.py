"""What small errors in feature maps do to the network's output, told by running it backwards once.

A small error e of the channels of one pixel moves the output by J e. Random signs r at the output, carried back through the
network, give J' r at every pixel of every map at once, and the mean over signs of (J' r) (J' r)' is J' J: what errors of
each channel weigh, and how those of two channels add up or cancel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.padding import pads_of

from .lockstep import Array, Executor

Float32Array = npt.NDArray[np.float32]

MOVES = {
    "DepthToSpace",
    "Flatten",
    "Identity",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""Ops whose outputs are values of their first input elsewhere."""

ELEMENTWISE = {
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "PRelu",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
}
"""Functions of each value of their first input."""

EXACT_IN_FLOAT32 = 2**24
"""Whole numbers below are."""

NEARBY = 1e-3
"""How far from a value its slope is taken, as a fraction of the values' root mean square."""


def output_gradients(
    graph: ir.Graph,
    values: Mapping[ir.Value, Array],
    execute: Executor,
    convolutions: Iterable[ir.Node],
    seed: int = 0,
) -> dict[ir.Node, Float32Array]:
    """Return J' r at the first output of convolutions, (N, O, H, W), where r are random signs at the output of the graph.

    Ops that are no convolution, arithmetic, function of single values or move of values count as constant, as do branches
    that go through one alone; nodes from which nothing else leads to the output are left out, and those that are no Conv.

    Args:
        graph: of one image input.
        values: all of a run.
        execute: computes a node.
        convolutions: nodes of the graph.
        seed: of the signs.
    """
    output = graph.outputs[0]
    signs = np.random.default_rng(seed).integers(0, 2, values[output].shape) * 2 - 1
    gradients = {output: signs.astype(np.float32)}
    wanted, found = set(convolutions), dict[ir.Node, Float32Array]()
    for node in reversed(list(graph)):
        if gradients.keys().isdisjoint(node.outputs):
            continue
        inputs = [None if value is None else values[value] for value in node.inputs]
        above = [gradients.get(value, np.zeros(values[value].shape, np.float32)) for value in node.outputs]
        below = _carry_back(node, inputs, above, execute)
        if node in wanted and node.op_type == "Conv":
            found[node] = above[0]
        for value, gradient in zip(node.inputs, below, strict=False):
            if value is not None and not value.is_initializer():
                gradients[value] = gradients[value] + gradient if value in gradients else gradient
        for value in node.outputs:
            gradients.pop(value, None)
    return found


def _carry_back(
    node: ir.Node, inputs: Sequence[Array | None], above: Sequence[Float32Array], execute: Executor
) -> list[Float32Array]:
    """Return the gradients at the first of a node's inputs."""
    first, gradient = np.asarray(inputs[0]), above[0]
    second = np.asarray(inputs[1]) if len(inputs) > 1 else first
    match node.op_type:
        case "Conv":
            return [convolved_back(node, first.shape, second, gradient, execute)]
        case "Add":
            return [_summed_to(gradient, first), _summed_to(gradient, second)]
        case "Sub":
            return [_summed_to(gradient, first), _summed_to(-gradient, second)]
        case "Mul":
            return [_summed_to(gradient * second, first), _summed_to(gradient * first, second)]
        case "Div":
            return [_summed_to(gradient / second, first), _summed_to(-gradient * first / second**2, second)]
        case "Concat":
            axis = node.attributes["axis"].as_int()
            ends = np.cumsum([np.asarray(array).shape[axis] for array in inputs])
            return np.split(gradient, ends[:-1], axis)
        case kind if kind in ELEMENTWISE:
            near = np.float32(NEARBY * np.sqrt(np.square(first, dtype=np.float64).mean()) + 1e-12)
            higher, lower = (
                np.asarray(execute(node, [first + distance, *inputs[1:]])[0], np.float32) for distance in (near, -near)
            )
            return [(gradient * (higher - lower) / (2 * near)).astype(np.float32)]
        case kind if kind in MOVES or (kind == "Resize" and _is_nearest(node) and first.size < EXACT_IN_FLOAT32):
            # Where an op takes its values from is told by giving it their numbers; DepthToSpace takes no integers, Resize
            # no doubles.
            numbers = np.arange(first.size, dtype=np.float32 if kind == "Resize" else np.float64).reshape(first.shape)
            moved = execute(node, [numbers, *inputs[1:]])
            sources = np.concatenate([np.asarray(array).ravel() for array in moved]).astype(np.int64)
            weights = np.concatenate([array.ravel() for array in above])
            return [np.bincount(sources, weights, first.size).reshape(first.shape).astype(np.float32)]
    return []


def convolved_back(
    node: ir.Node, shape: tuple[int, ...], weights: Array, gradient: Float32Array, execute: Executor
) -> Float32Array:
    """Return the gradient at what a Conv reads, of this shape: a transposed convolution with the same weights."""
    kept = [attribute for attribute in node.attributes.values() if attribute.name not in ("auto_pad", "pads")]
    kept.append(ir.AttrInt64s("pads", pads_of(node, shape[2:], weights.shape[2:])))
    transposed = ir.Node("", "ConvTranspose", [], kept, name=f"{node.name}.back")
    (smaller,) = execute(transposed, [gradient, weights])
    # Rows and columns that the stride leaves over are read by no output.
    left_over = [(0, size - had) for size, had in zip(shape, np.asarray(smaller).shape, strict=True)]
    return np.pad(np.asarray(smaller, np.float32), left_over)


def _is_nearest(resize: ir.Node) -> bool:
    return resize.attributes.get_string("mode", "nearest") == "nearest"


def _summed_to(gradient: Float32Array, operand: Array) -> Float32Array:
    """Return the gradient at an operand that was broadcast."""
    added = gradient.ndim - operand.ndim
    axes = [*range(added), *(added + axis for axis, size in enumerate(operand.shape) if size == 1)]
    summed: Float32Array = gradient.sum(axis=tuple(axes), keepdims=True).reshape(operand.shape).astype(np.float32)
    return summed


__all__ = ["Float32Array", "convolved_back", "output_gradients"]
