"""Calls of single native operators, what they are given at random, and how their results are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
from native_reference import (
    LARGEST,
    padded,
    statistics_of,
    to_planar,
)

from daq_deploy.runtime.library import library_path

Array = np.ndarray
Attributes = dict[str, Any]
CONSTANTS = ("feedback", "codes", "weight", "weight_step", "bias", "slope")
ACTIVATIONS = ("none", "relu", "slope", "sigmoid", "tanh")
HALF = 2.0**-11
"""Relative error of a value rounded to half precision."""


class Wrong(Exception):
    """A kernel and the reference differ."""


def run(
    op: str, attributes: Mapping[str, Any], outputs: int, threads: int = 1, over: str = "", **inputs: Array
) -> list[Array]:
    """Run one operator; weights, biases and slopes are initializers, as in a fused graph.

    `over` names a native map of the first output's shape: ONNX Runtime then writes the one over the other, since nothing
    else reads either.
    """
    names = [f"output_{index}" for index in range(outputs)]
    nodes = [onnx.helper.make_node(op, list(inputs), names, domain="daq.native", **attributes)]
    given = {name: array for name, array in inputs.items() if name not in CONSTANTS}
    inside = []
    if over:
        # What comes from outside, or goes there, is never written over.
        before = onnx.helper.make_node("Cast", ["before"], [over], to=onnx.TensorProto.FLOAT16)
        after = onnx.helper.make_node("Cast", [names[0]], ["after"], to=onnx.TensorProto.FLOAT)
        nodes = [before, *nodes, after]
        shape = given[over].shape
        inside = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, shape) for name in (over, names[0])
        ]
        given["before"] = given.pop(over).astype(np.float32)
        names[0] = "after"
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    constants = [onnx.numpy_helper.from_array(inputs[name], name) for name in CONSTANTS if name in inputs]
    graph = onnx.helper.make_graph(
        nodes, "case", values, [onnx.ValueInfoProto(name=name) for name in names], constants, value_info=inside
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("daq.native", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, given)
    return [found[0].astype(np.float16), *found[1:]] if over else found


def check_close(found: Array, expected: Array, allowed: Array | float, what: str) -> None:
    if found.shape != expected.shape:
        raise Wrong(f"{what} has shape {found.shape}, not {expected.shape}")
    excess = np.abs(found.astype(np.float64) - expected) - allowed
    if not (excess <= 0).all():
        place = np.unravel_index(np.nanargmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
        raise Wrong(f"{what} is {found[place]} at {[int(index) for index in place]}, not {expected[place]}")


def check_map(found: Array, expected: Array, error: Array | float) -> None:
    """Compare a native map with values (N, C, H, W)."""
    channels = expected.shape[1]
    if found.dtype != np.float16 or found.shape[3] != padded(channels):
        raise Wrong(f"a map of {channels} channels is {found.dtype} {found.shape}")
    if found[..., channels:].any():
        raise Wrong("padding channels are not zero")
    limited = np.clip(expected, -LARGEST, LARGEST)
    allowed = error + 1.01 * HALF * np.abs(limited) + 2.0**-24
    check_close(to_planar(found, channels), limited, allowed, "the map")


def check_statistics(
    found: Array, native: Array, values: Array, wanted: int, error: Array | float = 0.0, positives: int = 1
) -> None:
    """Compare statistics with those of values (N, C, H, W) that a native map holds rounded.

    Sums are of distances from one of the values, row by row in float32; extremes are those of the map.

    Args:
        found: statistics (N, 6, C).
        native: the map.
        values: before they were rounded.
        wanted: whether statistics were asked for; they are empty if not.
        error: of a value, as far as it is not known to the last bit.
        positives: 0 where they need not be counted.
    """
    if not wanted:
        if found.shape != (0,):
            raise Wrong(f"statistics that nobody asked for have shape {found.shape}")
        return
    truth = statistics_of(values)
    truth[:, 1] *= positives
    pixels, largest = values.shape[2] * values.shape[3], np.abs(truth[:, 4:6]).max(axis=1)
    reach = max(1, values.shape[3] / 100) * np.maximum(truth[:, 5] - truth[:, 4], 2.0**-24)
    error, size = np.broadcast_to(error, values.shape), np.abs(values)
    allowed = np.zeros_like(truth)
    allowed[:, 1] = ((size > 0) & (size < error)).sum(axis=(2, 3))
    allowed[:, 2] = pixels * (1e-6 * reach + 1e-12 * largest) + error.sum(axis=(2, 3))
    allowed[:, 3] = pixels * (1e-6 * reach * (reach + 2 * largest) + 1e-12 * largest**2)
    allowed[:, 3] += 2 * (size * error).sum(axis=(2, 3))
    stored = to_planar(native, values.shape[1])
    truth[:, 4], truth[:, 5] = stored.min(axis=(2, 3)), stored.max(axis=(2, 3))
    check_close(found, truth, allowed, "a statistic")


def random_window(generator: np.random.Generator, kernel: list[int], size: list[int]) -> Attributes | None:
    """Strides, dilations and padding with which a kernel fits into a map; None where it does not."""
    usual = generator.random() < 0.5
    strides, dilations = (
        [1, 1] if usual else [int(number) for number in generator.choice(choices, 2)]
        for choices in ([1, 1, 2, 3], [1, 1, 2])
    )
    pads = [int(number) for number in generator.integers(0, 4, 4)]
    extent = [(side - 1) * step + 1 for side, step in zip(kernel, dilations, strict=True)]
    if any(side + pads[axis] + pads[axis + 2] < extent[axis] for axis, side in enumerate(size)):
        return None
    return {"strides": strides, "pads": pads, "dilations": dilations}


def channels_of(generator: np.random.Generator) -> int:
    return int(generator.choice([1, 2, 3, 5, 8, 12, 15, 16, 17, 25, 31, 32, 33, 48, 50, 64, 70]))


def slope_for(generator: np.random.Generator, activation: str, channels: int) -> Array:
    return generator.uniform(-0.5, 1.5, channels if activation == "slope" else 0).astype(np.float32)
