"""How the native library's operators are called and compared: what `kernel_checks.py` is written with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnxruntime

from daq_deploy.numerics import ChannelStatistics
from daq_deploy.numerics.ranges import ChannelRange

from .library import library_path

HEIGHT, WIDTH, CHANNELS, OUTPUTS = 13, 21, 20, 24
"""Sizes that are no multiples of a vector's."""
_HALF = 2.0**-10
"""Relative error of a half-precision value and some."""

Array = npt.NDArray[Any]


class Disagreement(Exception):
    """A kernel and the oracle differ by too much."""


def run(domain: str, op: str, attributes: Mapping[str, Any], inputs: Mapping[str, Array], outputs: int) -> list[Array]:
    """Run one op of the native library."""
    names = [f"output_{index}" for index in range(outputs)]
    node = onnx.helper.make_node(op, list(inputs), names, domain=domain, **attributes)
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    graph = onnx.helper.make_graph([node], "kernel", values, [onnx.ValueInfoProto(name=name) for name in names])
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid(domain, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(inputs))
    return found


def same_window() -> dict[str, list[int]]:
    """Return the attributes of a 3x3 kernel that keeps the size of a map."""
    return {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}


def drawn_map(signed: bool) -> npt.NDArray[np.float32]:
    """Return a map (1, CHANNELS, HEIGHT, WIDTH) whose channels differ in spread and mean."""
    generator = np.random.default_rng(7)
    spread, mean = (generator.uniform(low, high, CHANNELS)[:, None, None] for low, high in ((0.2, 20), (-5, 5)))
    values = generator.normal(size=(1, CHANNELS, HEIGHT, WIDTH)) * spread + mean
    return (values if signed else np.maximum(values, 0)).astype(np.float32)


def drawn_bits() -> npt.NDArray[np.int64]:
    """Return bits (CHANNELS,) from 2 to 8."""
    return 2 + np.arange(CHANNELS) % 7


def drawn_weights(inputs: int) -> npt.NDArray[np.float32]:
    """Return the weights (OUTPUTS, inputs, 3, 3) of a convolution."""
    return np.random.default_rng(8).normal(0, 0.1, (OUTPUTS, inputs, 3, 3)).astype(np.float32)


def to_native(planar: Array) -> npt.NDArray[np.float16]:
    """Turn (N, C, H, W) into half precision (N, H, W, C rounded up to 16)."""
    padding = -planar.shape[1] % 16
    return np.pad(planar.transpose(0, 2, 3, 1), ((0, 0), (0, 0), (0, 0), (0, padding))).astype(np.float16)


def to_planar(native: Array, channels: int) -> npt.NDArray[np.float32]:
    """Turn a native map into float32 (N, channels, H, W); the padding is left out."""
    return np.ascontiguousarray(native[..., :channels].transpose(0, 3, 1, 2)).astype(np.float32)


def convolve(planar: Array, weight: Array) -> npt.NDArray[np.float64]:
    """3x3, stride 1, zeros around; in float64."""
    padded = np.pad(planar[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    result: npt.NDArray[np.float64] = np.einsum("chwij,ocij->ohw", windows, weight.astype(np.float64))[None]
    return result


def statistics_of(planar: Array) -> npt.NDArray[np.float64]:
    """Return (N, 6, C): count, positives, total, total_squares, minimum, maximum."""
    found = ChannelStatistics.of(np.ascontiguousarray(planar, np.float32))
    count = np.full_like(found.total, found.count)
    return np.stack([count, found.positives, found.total, found.total_squares, found.minimum, found.maximum], axis=1)


def range_error(lo: Array, step: Array, expected: ChannelRange) -> float:
    """Return the largest error, in steps for lo and relative for the step."""
    step_error = np.abs(step.reshape(expected.step.shape) / expected.step - 1).max()
    return float(max(step_error, (np.abs(lo.reshape(expected.lo.shape) - expected.lo) / expected.step).max()))


def within(what: str, error: float, limit: float) -> str:
    """Return an error in words.

    Raises:
        Disagreement: it is above the limit.
    """
    if not error <= limit:  # NaN is none
        raise Disagreement(f"{what} differ by {error:.2g}, {limit:g} is allowed")
    return f"{what} within {error:.1g}"


def map_within(native: Array, expected: Array) -> str:
    """Compare a native map with values (N, C, H, W), as `within`."""
    found, scale = to_planar(native, expected.shape[1]), np.abs(expected).max()
    return within("values", float((np.abs(found - expected) / (np.abs(expected) + _HALF * scale)).max()), 2 * _HALF)


def statistics_within(statistics: Array, planar: Array, native: Array) -> str:
    """Compare statistics with those of values (N, C, H, W), and extremes with those of the map that holds them rounded."""
    expected = statistics_of(planar)
    expected[:, 4:] = statistics_of(to_planar(native, planar.shape[1]))[:, 4:]
    scale = np.maximum(np.abs(expected).max(axis=2, keepdims=True), 1e-6)
    return within("statistics", float((np.abs(statistics - expected) / scale).max()), 1e-5)


__all__ = [
    "CHANNELS",
    "OUTPUTS",
    "Array",
    "Disagreement",
    "convolve",
    "drawn_bits",
    "drawn_map",
    "drawn_weights",
    "map_within",
    "range_error",
    "run",
    "same_window",
    "statistics_of",
    "statistics_within",
    "to_native",
    "to_planar",
    "within",
]
