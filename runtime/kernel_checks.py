"""What compares each kernel of the native library with the numpy oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnxruntime

from daq_deploy.numerics import (
    ChannelStatistics,
    ErrorFeedback,
    channel_range,
    dequantize,
    quantize,
    with_feedback,
)
from daq_deploy.numerics.companding import highest_position
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.numerics.ranges import ChannelRange

from .library import library_path

HEIGHT, WIDTH, CHANNELS, OUTPUTS = 13, 21, 20, 24
"""Sizes that are no multiples of a vector's."""
_HALF = 2.0**-10
"""Relative error of a half-precision value and some."""

Array = npt.NDArray[Any]


class Disagreement(Exception):
    """A kernel and the oracle differ by too much."""


def _channel_range() -> str:
    worst = 0.0
    for signed in (True, False):
        for rule, range_bits in (("paper", 4), ("reference", None), ("deploy", None)):
            feature_map = _feature_map(signed)
            attributes = {"bits": 4, "rule": rule, "signed": int(signed), "range_bits": range_bits or 0, "tail": 0.25}
            lo, step = _run("daq", "ChannelRange", attributes, {"X": feature_map}, 2)
            expected = channel_range(ChannelStatistics.of(feature_map), 4, rule, signed, range_bits, 0.25)
            worst = max(worst, _range_error(lo, step, expected))
    return _within("lo and step", worst, 1e-4)


def _range_of_own_bits(companded: bool) -> str:
    """Check the function whose channels have bits and tails of their own."""
    feature_map, bits, tail = _feature_map(True), _bits(), np.linspace(0.1, 0.9, CHANNELS)
    inputs = {"X": feature_map, "bits": bits.astype(np.int32), "tail": tail.astype(np.float32)}
    attributes = {"rule": "deploy", "signed": 1, "range_bits": 0}
    op, outputs = ("CompandedRange", 4) if companded else ("MixedChannelRange", 3)
    lo, step, span, *origin = _run("daq", op, attributes, inputs, outputs)
    tail = inputs["tail"].astype(np.float64)
    expected = channel_range(ChannelStatistics.of(feature_map), bits, "deploy", True, None, tail, companded)
    if companded:
        _same_origins(origin[0], expected)
    highest = highest_position(bits, expected.origins) * expected.step
    worst = max(_range_error(lo, step, expected), float(np.abs(span.reshape(highest.shape) / highest - 1).max()))
    return _within("lo, step and span", worst, 1e-4)


def _same_origins(origin: Array, expected: ChannelRange) -> None:
    if not np.array_equal(origin.reshape(expected.origins.shape), expected.origins):
        raise Disagreement("origins differ from the oracle's")


def _range() -> str:
    feature_map = _feature_map(True)
    first, second = _statistics(feature_map), _statistics(2 * feature_map[:, ::-1])
    attributes = {
        "rule": "deploy",
        "signed": 1,
        "range_bits": 0,
        "bits": [4],
        "tail": [0.25],
        "first_channel": [3, 0],
        "channels": [CHANNELS - 3, CHANNELS],
    }
    both = np.concatenate([feature_map[:, 3:], 2 * feature_map[:, ::-1]], axis=1)
    worst = 0.0
    for companded in (False, True):
        own = attributes | {"companded": int(companded)}
        lo, step, origin = _run("daq.native", "Range", own, {"S0": first, "S1": second}, 3)
        expected = channel_range(ChannelStatistics.of(both), 4, "deploy", True, None, 0.25, companded)
        worst = max(worst, _range_error(lo, step, expected))
        if companded:
            _same_origins(origin, expected)
    return _within("lo and step", worst, 1e-4)


def _to_native() -> str:
    planar = _feature_map(True)
    found, statistics = _run("daq.native", "ToNative", {"statistics": 1}, {"X": planar}, 2)
    if not np.array_equal(found, _native(planar)):
        raise Disagreement("the half-precision map differs from numpy's")
    return _statistics_within(statistics, planar, found)


def _to_planar() -> str:
    native = _native(_feature_map(True))
    (found,) = _run("daq.native", "ToPlanar", {"channels": CHANNELS}, {"X": native}, 1)
    if not np.array_equal(found, _planar(native, CHANNELS)):
        raise Disagreement("the planar map differs from numpy's")
    return "equal"


def _elementwise() -> str:
    planar, operand = _feature_map(True), _feature_map(True)[:, ::-1]
    slope = np.linspace(0.05, 0.4, CHANNELS, dtype=np.float32)
    attributes = {"channels": CHANNELS, "activation": "slope", "operand": "add", "operand_first": 0, "statistics": 1}
    inputs: dict[str, Array] = {"X": _native(planar), "slope": slope, "operand": _native(operand)}
    found, statistics = _run("daq.native", "Elementwise", attributes, inputs, 2)
    x, other = _planar(inputs["X"], CHANNELS), _planar(inputs["operand"], CHANNELS)
    expected = np.where(x >= 0, x, slope[:, None, None] * x) + other
    return f"{_map_within(found, expected)}; {_statistics_within(statistics, expected, found)}"


def _float_conv() -> str:
    picture = _feature_map(False)[:, :3]
    weight, bias = _weights(3), np.linspace(-1, 1, OUTPUTS, dtype=np.float32)
    attributes = {**_geometry(), "activation": "relu", "statistics": 1}
    inputs = {"X": picture, "weight": weight, "bias": bias, "slope": np.zeros(0, np.float32)}
    found, statistics = _run("daq.native", "FloatConv", attributes, inputs, 2)
    expected = np.maximum(_convolve(picture, weight) + bias[:, None, None], 0)
    return f"{_map_within(found, expected)}; {_statistics_within(statistics, expected, found)}"


def _feedback() -> ErrorFeedback:
    """Return feedback from each pixel to its right neighbour, and from later channels, rounded first, to those before."""
    order = tuple(reversed(range(-(-CHANNELS // GROUP))))
    channels = np.arange(CHANNELS)
    coefficients = np.cos(3.0 * channels[:, None] + np.arange(2 * CHANNELS))
    coefficients[:, CHANNELS:] *= channels[:, None] // GROUP < channels // GROUP
    return ErrorFeedback(order, (coefficients / 4).astype(np.float16))


def _conv(planar: bool) -> str:
    details = []
    kinds = ((4, False, False, False), (4, True, False, False), (4, True, True, False), (8, False, False, True))
    for bits, companded, fed_back, exact in kinds:
        source = _native(_feature_map(True))
        values = _planar(source, CHANNELS)
        channels = channel_range(ChannelStatistics.of(values), bits, "deploy", True, None, 0.25, companded)
        feedback = _feedback() if fed_back else None
        moved = values if feedback is None else with_feedback(values, channels, bits, feedback)
        quantized = dequantize(quantize(moved, channels, bits), channels)
        codes = np.clip(np.rint(_weights(CHANNELS) * 30), -8, 7).astype(np.int8)
        step, bias = (np.linspace(low, high, OUTPUTS, dtype=np.float32) for low, high in ((0.01, 0.05), (-1, 1)))
        weight = (codes + np.float32(0.5)) * step[:, None, None, None]
        expected = np.maximum(_convolve(quantized, weight) + bias[:, None, None], 0)
        attributes = {
            **_geometry(),
            "bits": [bits],
            "first_channel": [0],
            "channels": [CHANNELS],
            "mid_rise": 1,
            "activation": "relu",
            "operand": "none",
            "operand_first": 0,
            "blocksize": 1,
            "mode": "CRD",
            "statistics": 1,
            "positives": 1,
            "exact": int(exact),
            "companded": int(companded),
            "feedback_order": [0] if feedback is None else list(feedback.order),
        }
        inputs: dict[str, Array] = {
            "lo": channels.lo,
            "step": channels.step,
            "origin": np.zeros(0, np.float32) if channels.origin is None else channels.origin,
            "feedback": np.zeros(0, np.float32) if feedback is None else feedback.coefficients.astype(np.float32),
            "codes": codes,
            "weight_step": step,
            "bias": bias,
            "slope": np.zeros(0, np.float32),
            "operand": np.zeros(0, np.float16),
            "X": source,
        }
        (found,) = _run("daq.native", "PlanarConv", attributes, inputs, 1)
        if not planar:
            native, statistics = _run("daq.native", "Conv", attributes, inputs, 2)
            if not np.array_equal(native, _native(found)):
                raise Disagreement(f"A{bits}: the half-precision map differs from the planar one")
            _statistics_within(statistics, found, native)
        ratio = 10 * np.log10(np.square(expected).sum() / max(np.square(found - expected).sum(), 1e-30))
        least = 60 if exact else 34  # otherwise the steps are folded into weights of 8 bits
        if not ratio >= least:
            raise Disagreement(f"A{bits}: {ratio:.1f} dB from the oracle, at least {least} dB are needed")
        details.append(
            f"A{bits}{' companded' if companded else ''}{' with feedback' if fed_back else ''} {ratio:.0f} dB"
        )
    return ", ".join(details) + " from the oracle"


CHECKS: Mapping[str, Callable[[], str]] = {
    "daq.ChannelRange": _channel_range,
    "daq.MixedChannelRange": lambda: _range_of_own_bits(companded=False),
    "daq.CompandedRange": lambda: _range_of_own_bits(companded=True),
    "daq.native.Range": _range,
    "daq.native.ToNative": _to_native,
    "daq.native.ToPlanar": _to_planar,
    "daq.native.Elementwise": _elementwise,
    "daq.native.FloatConv": _float_conv,
    "daq.native.Conv": lambda: _conv(planar=False),
    "daq.native.PlanarConv": lambda: _conv(planar=True),
}
"""What compares each op; it returns by how much they differ, and raises where that is too much."""


def _run(domain: str, op: str, attributes: Mapping[str, Any], inputs: Mapping[str, Array], outputs: int) -> list[Array]:
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


def _geometry() -> dict[str, list[int]]:
    return {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}


def _feature_map(signed: bool) -> npt.NDArray[np.float32]:
    """Return a map (1, CHANNELS, HEIGHT, WIDTH) whose channels differ in spread and mean."""
    generator = np.random.default_rng(7)
    spread, mean = (generator.uniform(low, high, CHANNELS)[:, None, None] for low, high in ((0.2, 20), (-5, 5)))
    values = generator.normal(size=(1, CHANNELS, HEIGHT, WIDTH)) * spread + mean
    return (values if signed else np.maximum(values, 0)).astype(np.float32)


def _bits() -> npt.NDArray[np.int64]:
    return 2 + np.arange(CHANNELS) % 7


def _weights(inputs: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(8).normal(0, 0.1, (OUTPUTS, inputs, 3, 3)).astype(np.float32)


def _native(planar: Array) -> npt.NDArray[np.float16]:
    """Turn (N, C, H, W) into half precision (N, H, W, C rounded up to 16)."""
    padding = -planar.shape[1] % 16
    return np.pad(planar.transpose(0, 2, 3, 1), ((0, 0), (0, 0), (0, 0), (0, padding))).astype(np.float16)


def _planar(native: Array, channels: int) -> npt.NDArray[np.float32]:
    """Turn a native map into float32 (N, channels, H, W); the padding is left out."""
    return np.ascontiguousarray(native[..., :channels].transpose(0, 3, 1, 2)).astype(np.float32)


def _convolve(planar: Array, weight: Array) -> npt.NDArray[np.float64]:
    """3x3, stride 1, zeros around; in float64."""
    padded = np.pad(planar[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    result: npt.NDArray[np.float64] = np.einsum("chwij,ocij->ohw", windows, weight.astype(np.float64))[None]
    return result


def _statistics(planar: Array) -> npt.NDArray[np.float64]:
    """Return (N, 6, C): count, positives, total, total_squares, minimum, maximum."""
    found = ChannelStatistics.of(np.ascontiguousarray(planar, np.float32))
    count = np.full_like(found.total, found.count)
    return np.stack([count, found.positives, found.total, found.total_squares, found.minimum, found.maximum], axis=1)


def _range_error(lo: Array, step: Array, expected: ChannelRange) -> float:
    """Return the largest error, in steps for lo and relative for the step."""
    step_error = np.abs(step.reshape(expected.step.shape) / expected.step - 1).max()
    return float(max(step_error, (np.abs(lo.reshape(expected.lo.shape) - expected.lo) / expected.step).max()))


def _within(what: str, error: float, limit: float) -> str:
    if not error <= limit:  # NaN is none
        raise Disagreement(f"{what} differ by {error:.2g}, {limit:g} is allowed")
    return f"{what} within {error:.1g}"


def _map_within(native: Array, expected: Array) -> str:
    found, scale = _planar(native, expected.shape[1]), np.abs(expected).max()
    return _within("values", float((np.abs(found - expected) / (np.abs(expected) + _HALF * scale)).max()), 2 * _HALF)


def _statistics_within(statistics: Array, planar: Array, native: Array) -> str:
    """Compare statistics with those of values (N, C, H, W), and extremes with those of the map that holds them rounded."""
    expected = _statistics(planar)
    expected[:, 4:] = _statistics(_planar(native, planar.shape[1]))[:, 4:]
    scale = np.maximum(np.abs(expected).max(axis=2, keepdims=True), 1e-6)
    return _within("statistics", float((np.abs(statistics - expected) / scale).max()), 1e-5)


__all__ = ["CHECKS", "Disagreement"]
