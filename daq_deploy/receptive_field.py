"""How far around a pixel a network looks, computed from its graph: what tiles have to overlap by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import onnx_ir as ir

from .numerics.error_feedback import RUN
from .ops import DOMAIN
from .passes.graph import ancestors, constant_array

SAME_PIXEL = {
    *(
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Clip",
        "Elu",
        "Selu",
        "Gelu",
        "Erf",
    ),
    *(
        "Softplus",
        "Mish",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Sqrt",
        "Exp",
        "Log",
        "Neg",
        "Abs",
        "Max",
        "Min",
        "Sum",
        "Mean",
    ),
    *(
        "Concat",
        "Split",
        "Slice",
        "Pad",
        "Identity",
        "Cast",
        "Dropout",
        "BatchNormalization",
        "Where",
        "Greater",
        "Less",
    ),
    *("QuantizeLinear", "DequantizeLinear", "Round", "Floor", "Softsign", "ThresholdedRelu"),
}
"""Operators whose output at a place depends on their inputs at that place only."""

_INTERPOLATION_REACH = {"nearest": 1, "linear": 1, "cubic": 2}


@dataclass(frozen=True)
class ReceptiveField:
    """What one pixel of the output depends on."""

    radius: int | None
    """Pixels of the picture on each side; None where there is no bound, or none is known."""
    stride: int
    """Tiles that begin at multiples of it are sampled by strided layers, and cut into runs, as the whole picture is."""
    unbounded_by: str
    """The first node that looks at the whole picture, or is not known here: "GlobalAveragePool pool"; empty with a radius."""


@dataclass(frozen=True)
class _Reach:
    scale: Fraction
    """Pixels of the picture from one place of the tensor to the next."""
    radius: Fraction


def receptive_field(graph: ir.Graph) -> ReceptiveField:
    """Return the receptive field of the graph's first output in the graph's first input.

    Ranges of DAQ blocks do not count: make them inputs first (`ExposeRanges`).
    """
    known: dict[ir.Value, _Reach] = {graph.inputs[0]: _Reach(Fraction(1), Fraction(0))}
    wanted = {value.producer() for value in ancestors(graph.outputs[0])}
    stride = 1
    for node in graph:
        inputs = [known[value] for value in node.inputs if value is not None and value in known]
        if node not in wanted or not inputs or node.op_type in ("Shape", "Size"):
            continue
        reach = _after(node, inputs, known)
        if reach is None:
            name = f"{node.op_type} {node.name or node.outputs[0].name or ''}".rstrip()
            # It may have been made of error feedback.
            return ReceptiveField(None, math.lcm(stride, RUN), name)
        stride = math.lcm(stride, (reach.scale * (RUN if _has_runs(node) else 1)).numerator)
        known.update(dict.fromkeys(node.outputs, reach))
    output = known.get(graph.outputs[0])
    if output is None:
        return ReceptiveField(None, 1, "an output that does not depend on the picture")
    return ReceptiveField(math.ceil(output.radius), stride, "")


def radius_of(nodes: Sequence[ir.Node]) -> int | None:
    """Return how far a chain of nodes looks, in places of what the first reads; None without a known bound."""
    reach = _Reach(Fraction(1), Fraction(0))
    for node in nodes:
        after = _after(node, [reach], {})
        if after is None:
            return None
        reach = after
    return math.ceil(reach.radius)


def _after(node: ir.Node, inputs: list[_Reach], known: dict[ir.Value, _Reach]) -> _Reach | None:
    """Return the reach of a node's outputs, None if it has no bound or the operator is not known."""
    scale, radius = min(reach.scale for reach in inputs), max(reach.radius for reach in inputs)
    kind = node.op_type
    if node.domain == DOMAIN and ("ErrorFeedback" in kind or kind == "NearestLevel"):
        return _Reach(scale, radius + (scale * (RUN - 1) if _has_runs(node) else 0))
    if node.domain != "":
        return None
    if kind in SAME_PIXEL:
        return _Reach(scale, radius)
    if kind in ("Conv", "MaxPool", "AveragePool"):
        stride = max(node.attributes.get_ints("strides", [1, 1]))
        return _Reach(scale * stride, radius + scale * _window_reach(node))
    if kind == "ConvTranspose":
        stride = max(node.attributes.get_ints("strides", [1, 1]))
        return _Reach(scale / stride, radius + scale * Fraction(max(kernel_of(node)), stride))
    if kind in ("DepthToSpace", "SpaceToDepth"):
        block = node.attributes.get_int("blocksize", 1)
        factor = Fraction(1, block) if kind == "DepthToSpace" else Fraction(block)
        return _Reach(scale * factor, radius if kind == "DepthToSpace" else radius + scale * (block - 1))
    if kind in ("Resize", "Upsample"):
        new_scale = _resized(node, known)
        reach = _INTERPOLATION_REACH[node.attributes.get_string("mode", "nearest")]
        return None if new_scale is None else _Reach(new_scale, radius + reach * max(scale, new_scale))
    return None


def _has_runs(node: ir.Node) -> bool:
    """Whether a node feeds errors back from pixel to pixel."""
    return node.domain == DOMAIN and "RunErrorFeedback" in node.op_type


def _window_reach(node: ir.Node) -> Fraction:
    """Return how far a window goes beyond the place of its output, in places of its input, on the side it goes further."""
    dilations = node.attributes.get_ints("dilations", [1, 1])
    extents = [(size - 1) * dilation for size, dilation in zip(kernel_of(node), dilations, strict=True)]
    pads = node.attributes.get_ints("pads", [0] * 4)
    if node.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return Fraction(max(math.ceil(extent / 2) for extent in extents))
    sides = [(pads[axis], extent - pads[axis]) for axis, extent in enumerate(extents)]
    return Fraction(max(max(side) for side in sides))


def kernel_of(node: ir.Node) -> list[int]:
    """Return height and width of the window of a convolution or pool."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    shape = weight.shape if weight is not None else None
    if "kernel_shape" in node.attributes or shape is None:
        return list(node.attributes.get_ints("kernel_shape", [1, 1]))
    return [size if isinstance(size, int) else 1 for size in shape[2:]]


def _resized(node: ir.Node, known: dict[ir.Value, _Reach]) -> Fraction | None:
    """Return the scale of a Resize's output: from constant scales, or from the tensor whose size it takes."""
    before = node.inputs[0]
    scales = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is not None and scales.size == 4 and before is not None:
        return known[before].scale / Fraction(float(scales[-1])).limit_denominator(1000)
    if len(node.inputs) < 4:
        return None
    taken = [
        known[value].scale
        for value in ancestors(node.inputs[3])
        if value in known and value is not before and any(use.node.op_type == "Shape" for use in value.uses())
    ]
    return min(taken) if taken else None


__all__ = ["SAME_PIXEL", "ReceptiveField", "kernel_of", "radius_of", "receptive_field"]
