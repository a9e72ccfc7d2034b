"""The operators of domain `daq.native` in numpy, written from their definition, and an evaluator of whole fused graphs.

Slow and simple: what the pass that makes such graphs, and the kernels that run them, are tested against.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from native_resampling import max_pool, resize, to_planar

from daq_deploy.numerics import (
    ChannelRange,
    ChannelStatistics,
    ErrorFeedback,
    channel_range,
    dequantize,
    quantize,
    with_feedback,
)
from daq_deploy.numerics.companding import highest_position, nearest_level, position_of
from daq_deploy.numerics.error_feedback import RUN
from daq_deploy.runtime.executor import OrtExecutor

Array = npt.NDArray[Any]
Attributes = Mapping[str, Any]

LARGEST = 65504.0
"""Largest half-precision number; larger values saturate."""


def padded(channels: int) -> int:
    """Channels of a native map in memory."""
    return -(-channels // 16) * 16


def to_map(planar: Array, storage: type[np.floating[Any]] = np.float16) -> Array:
    """float (N, C, H, W) to a native map: half precision (N, H, W, padded C), channels last, padding zero."""
    images, channels, height, width = planar.shape
    native = np.zeros((images, height, width, padded(channels)), storage)
    native[..., :channels] = np.clip(planar, -LARGEST, LARGEST).transpose(0, 2, 3, 1)
    return native


def statistics_of(planar: Array, storage: type[np.floating[Any]] = np.float16) -> Array:
    """Statistics (N, 6, C) of values (N, C, H, W): extremes as the map holds them, the others in float32, before rounding."""
    found = ChannelStatistics.of(np.clip(planar, -LARGEST, LARGEST).astype(np.float32))
    extremes = (extreme.astype(storage).astype(np.float64) for extreme in (found.minimum, found.maximum))
    rows = [np.full_like(found.total, found.count), found.positives, found.total, found.total_squares, *extremes]
    return np.stack(rows, axis=1)


def stored(planar: Array, attributes: Attributes) -> list[Array]:
    """A native map of values, and its statistics where they are asked for."""
    storage = attributes.get("storage", np.float16)
    native = to_map(planar, storage)
    if not attributes["statistics"]:
        return [native, np.zeros(0)]
    statistics = statistics_of(planar, storage)
    if not attributes.get("positives", 1):  # a Conv counts them where they are read
        statistics[:, 1] = 0
    return [native, statistics]


def convolve(planar: Array, weight: Array, bias: Array, attributes: Attributes) -> Array:
    """Convolution with zero padding, in float64."""
    top, left, bottom, right = attributes["pads"]
    rows, columns = attributes["dilations"]
    height, width = ((size - 1) * step + 1 for size, step in zip(weight.shape[2:], (rows, columns), strict=True))
    space = np.pad(planar.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(space, (height, width), axis=(2, 3))
    down, across = attributes["strides"]
    windows = windows[:, :, ::down, ::across, ::rows, ::columns]
    found = np.tensordot(windows, weight.astype(np.float64), axes=((1, 4, 5), (1, 2, 3)))
    return found.transpose(0, 3, 1, 2) + bias.astype(np.float64).reshape(1, -1, 1, 1)


def activate(values: Array, slope: Array, attributes: Attributes) -> Array:
    kind = attributes["activation"]
    if kind == "relu":
        return np.maximum(values, 0)
    if kind == "slope":
        return np.where(values >= 0, values, values * slope.reshape(1, -1, 1, 1))
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(values, -700, 700)))
    if kind == "tanh":
        return np.tanh(values)
    assert kind == "none", kind
    return values


def combine(values: Array, operand: Array, attributes: Attributes) -> Array:
    kind = attributes["operand"]
    if kind == "none":
        assert operand.shape == (0,)
        return values
    other = to_planar(operand, values.shape[1]).astype(np.float64)
    assert other.shape == values.shape, "an operand is not broadcast"
    return {"add": np.add, "multiply": np.multiply}[kind](values, other)


def finish(values: Array, slope: Array, operand: Array, attributes: Attributes) -> Array:
    if attributes["operand_first"]:
        return activate(combine(values, operand, attributes), slope, attributes)
    return combine(activate(values, slope, attributes), operand, attributes)


def depth_to_space(values: Array, attributes: Attributes) -> Array:
    size = attributes["blocksize"]
    images, channels, height, width = values.shape
    if attributes["mode"] == "CRD":
        blocks = values.reshape(images, channels // size**2, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
    else:
        assert attributes["mode"] == "DCR"
        blocks = values.reshape(images, size, size, channels // size**2, height, width).transpose(0, 3, 4, 1, 5, 2)
    return blocks.reshape(images, channels // size**2, height * size, width * size)


def native_range(attributes: Attributes, *statistics: Array) -> list[Array]:
    parts = zip(statistics, attributes["first_channel"], attributes["channels"], strict=True)
    joined = np.concatenate([part[:, :, first : first + count] for part, first, count in parts], axis=2)
    channels = joined.shape[2]
    bits, tail = (np.array(attributes[name]) for name in ("bits", "tail"))
    found = channel_range(
        ChannelStatistics(int(joined[0, 0, 0]), *(joined[:, row] for row in range(1, 6))),
        np.broadcast_to(bits, channels).astype(np.int64),
        attributes["rule"],
        bool(attributes["signed"]),
        attributes["range_bits"] or None,
        np.broadcast_to(tail, channels).astype(np.float64),
        bool(attributes["companded"]),
    )
    return [found.lo, found.step, np.empty((0, channels), np.float32) if found.origin is None else found.origin]


def quantized_sum(
    attributes: Attributes,
    ranges: Sequence[Array],
    codes: Array,
    weight_step: Array,
    bias: Array,
    *maps: Array,
) -> Array:
    """What a quantized convolution gives before its epilogue, (N, O, H, W); ranges are lo, step, origin and feedback."""
    parts = zip(maps, attributes["first_channel"], attributes["channels"], strict=True)
    feature_map = np.concatenate([to_planar(native, count, first) for native, first, count in parts], axis=1)
    shape = feature_map.shape[:2]
    lo, step, origin, coefficients = ranges
    channels = ChannelRange(
        np.broadcast_to(lo, shape),
        np.broadcast_to(step, shape),
        np.broadcast_to(origin, shape) if attributes["companded"] else None,
    )
    bits = np.broadcast_to(attributes["bits"], shape[1]).astype(np.int64)
    if coefficients.size > 0:
        feedback = ErrorFeedback(tuple(attributes["feedback_order"]), coefficients.astype(np.float16))
        feature_map = with_feedback(feature_map, channels, bits, feedback)
    levels = dequantize(quantize(feature_map, channels, bits), channels)
    weight = (codes.astype(np.float64) + (0.5 if attributes["mid_rise"] else 0)) * weight_step.reshape(-1, 1, 1, 1)
    return convolve(levels, weight, bias, attributes)


def planar_conv(
    attributes: Attributes, lo: Array, step: Array, origin: Array, feedback: Array, codes: Array, weight_step: Array,
    bias: Array, slope: Array, operand: Array, *maps: Array,
) -> list[Array]:  # fmt: skip
    assert attributes["operand"] == "none" or attributes["blocksize"] == 1
    values = quantized_sum(attributes, (lo, step, origin, feedback), codes, weight_step, bias, *maps)
    return [depth_to_space(finish(values, slope, operand, attributes), attributes).astype(np.float32)]


def native_conv(attributes: Attributes, *inputs: Array) -> list[Array]:
    return stored(planar_conv(attributes, *inputs)[0], attributes)


def float_conv(attributes: Attributes, planar: Array, weight: Array, bias: Array, slope: Array) -> list[Array]:
    return stored(activate(convolve(planar, weight, bias, attributes), slope, attributes), attributes)


def elementwise(attributes: Attributes, native: Array, slope: Array, operand: Array, gate: Array) -> list[Array]:
    values = to_planar(native, attributes["channels"]).astype(np.float64)
    if gate.size:
        values = values * to_planar(gate, attributes["channels"])
    return stored(finish(values, slope, operand, attributes), attributes)


OPERATORS: dict[str, Callable[..., list[Array]]] = {
    "Range": native_range,
    "Conv": native_conv,
    "PlanarConv": planar_conv,
    "FloatConv": float_conv,
    "Elementwise": elementwise,
    "Resize": lambda attributes, *inputs: stored(resize(attributes, *inputs), attributes),
    "MaxPool": lambda attributes, native: stored(max_pool(attributes, native), attributes),
    "ToNative": lambda attributes, planar: stored(planar, attributes),
    "ToPlanar": lambda attributes, native: [to_planar(native, attributes["channels"])],
}


def nearest_level_call(offset: Array, step: Array, origin: Array) -> list[Array]:
    """`daq.NearestLevel`, of layers that are left to ONNX Runtime."""
    steps = step.reshape(origin.shape)
    level = position_of(nearest_level(offset / steps - origin)) + origin
    return [np.where(origin < 0, offset, level * steps)]


def error_feedback_call(offset: Array, step: Array, span: Array, *others: Array) -> list[Array]:
    """`daq.ErrorFeedback<G>` and that of companded levels, of layers that are left to ONNX Runtime; of one image."""
    *origin, coefficients, channels, places, sizes = others
    levels = offset[:, channels].astype(np.float64)
    count = len(channels)
    coefficients = np.pad(coefficients, ((0, 0), (2 * count - coefficients.shape[1], 0)))
    errors = np.zeros_like(levels)
    steps, spans = step.reshape(span.shape)[:, channels], span[:, channels]
    for x in range(levels.shape[3]):
        pixel = np.s_[:, :, :, x : x + 1]
        if x % RUN > 0:
            levels[pixel] += np.einsum("oi,nihw->nohw", coefficients[:, :count], errors[..., x - 1 : x])
        for start, stop in itertools.pairwise([0, *np.cumsum(sizes)]):
            part = slice(start, stop)
            own = np.s_[:, part, :, x : x + 1]
            levels[own] += np.einsum("oi,nihw->nohw", coefficients[part, count:], errors[pixel])
            clipped = np.minimum(levels[own], spans[:, part])
            if origin:
                (clipped,) = nearest_level_call(clipped, steps[:, part].ravel(), origin[0][:, channels][:, part])
            rounded = np.rint(np.maximum(clipped, 0) / steps[:, part]) * steps[:, part]
            errors[own] = rounded - levels[own]
    return [levels[:, places].astype(np.float32)]


def channel_range_call(node: ir.Node, feature_map: Array, *mixed: Array) -> list[Array]:
    """The functions of domain `daq` that give ranges, of layers that are left to ONNX Runtime."""
    attributes = {attribute.name: attribute.value for attribute in node.attributes.values()}
    bits = np.broadcast_to(mixed[0], feature_map.shape[1]).astype(np.int64) if mixed else attributes["bits"]
    tail = mixed[1].astype(np.float64) if mixed else attributes["tail"]
    found = channel_range(
        ChannelStatistics.of(feature_map), bits, attributes["rule"], bool(attributes["signed"]),
        attributes["range_bits"] or None, tail, node.op_type == "CompandedRange",
    )  # fmt: skip
    values = [found.lo[:, :, None, None], found.step.reshape(-1)]
    if not mixed:
        return values
    span = found.step * highest_position(bits, found.origins)
    return [*values, span[:, :, None, None], found.origins[:, :, None, None]][: len(node.outputs)]


def evaluate(
    model: onnx.ModelProto | ir.Model, image: Array, *others: Array, storage: type[np.floating[Any]] = np.float16
) -> dict[str, Array]:
    """Run a fused graph: native nodes in numpy, all others one by one in ONNX Runtime. Return every value by name.

    Args:
        model: fused.
        image: float32 (N, C, H, W).
        others: further inputs of the graph.
        storage: type of native maps; float32 shows what half precision costs, and what it does not.
    """
    graph = (ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model).graph
    execute = OrtExecutor(graph.opset_imports[""], threads=1)
    values: dict[str, Array] = {name: value.const_value.numpy() for name, value in graph.initializers.items()}
    # ONNX Runtime's Python does not read arrays of four bits; codes of eight are the same to DequantizeLinear.
    values = {name: array.astype(np.int8) if array.dtype == ml_dtypes.int4 else array for name, array in values.items()}
    values.update(zip((str(value.name) for value in graph.inputs), (image, *others), strict=True))
    for node in graph:
        inputs: Sequence[Array | None] = [None if value is None else values[str(value.name)] for value in node.inputs]
        if node.domain == "daq.native":
            attributes = {attribute.name: attribute.value for attribute in node.attributes.values()}
            attributes["storage"] = storage
            outputs = OPERATORS[node.op_type](attributes, *inputs)
        elif node.op_type == "NearestLevel":
            outputs = nearest_level_call(*inputs)
        elif "ErrorFeedback" in node.op_type:
            outputs = error_feedback_call(*inputs)
        elif node.domain == "daq":
            outputs = channel_range_call(node, *inputs)
        else:
            outputs = execute(node, inputs)
        values.update((str(value.name), array) for value, array in zip(node.outputs, outputs, strict=True))
    return values


__all__ = ["OPERATORS", "evaluate", "padded", "statistics_of", "to_map", "to_planar"]
