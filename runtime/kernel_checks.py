"""What compares each kernel of the native library with the numpy oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

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

from .kernel_calls import (
    CHANNELS,
    OUTPUTS,
    Array,
    Disagreement,
    convolve,
    drawn_bits,
    drawn_map,
    drawn_weights,
    map_within,
    range_error,
    run,
    same_window,
    statistics_of,
    statistics_within,
    to_native,
    to_planar,
    within,
)


def _channel_range() -> str:
    worst = 0.0
    for signed in (True, False):
        for rule, range_bits in (("paper", 4), ("reference", None), ("deploy", None)):
            feature_map = drawn_map(signed)
            attributes = {"bits": 4, "rule": rule, "signed": int(signed), "range_bits": range_bits or 0, "tail": 0.25}
            lo, step = run("daq", "ChannelRange", attributes, {"X": feature_map}, 2)
            expected = channel_range(ChannelStatistics.of(feature_map), 4, rule, signed, range_bits, 0.25)
            worst = max(worst, range_error(lo, step, expected))
    return within("lo and step", worst, 1e-4)


def _range_of_own_bits(companded: bool) -> str:
    """Check the function whose channels have bits and tails of their own."""
    feature_map, bits, tail = drawn_map(True), drawn_bits(), np.linspace(0.1, 0.9, CHANNELS)
    inputs = {"X": feature_map, "bits": bits.astype(np.int32), "tail": tail.astype(np.float32)}
    attributes = {"rule": "deploy", "signed": 1, "range_bits": 0}
    op, outputs = ("CompandedRange", 4) if companded else ("MixedChannelRange", 3)
    lo, step, span, *origin = run("daq", op, attributes, inputs, outputs)
    tail = inputs["tail"].astype(np.float64)
    expected = channel_range(ChannelStatistics.of(feature_map), bits, "deploy", True, None, tail, companded)
    if companded:
        _same_origins(origin[0], expected)
    highest = highest_position(bits, expected.origins) * expected.step
    worst = max(range_error(lo, step, expected), float(np.abs(span.reshape(highest.shape) / highest - 1).max()))
    return within("lo, step and span", worst, 1e-4)


def _same_origins(origin: Array, expected: ChannelRange) -> None:
    if not np.array_equal(origin.reshape(expected.origins.shape), expected.origins):
        raise Disagreement("origins differ from the oracle's")


def _range() -> str:
    feature_map = drawn_map(True)
    first, second = statistics_of(feature_map), statistics_of(2 * feature_map[:, ::-1])
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
        lo, step, origin = run("daq.native", "Range", own, {"S0": first, "S1": second}, 3)
        expected = channel_range(ChannelStatistics.of(both), 4, "deploy", True, None, 0.25, companded)
        worst = max(worst, range_error(lo, step, expected))
        if companded:
            _same_origins(origin, expected)
    return within("lo and step", worst, 1e-4)


def _to_native() -> str:
    planar = drawn_map(True)
    found, statistics = run("daq.native", "ToNative", {"statistics": 1}, {"X": planar}, 2)
    if not np.array_equal(found, to_native(planar)):
        raise Disagreement("the half-precision map differs from numpy's")
    return statistics_within(statistics, planar, found)


def _to_planar() -> str:
    native = to_native(drawn_map(True))
    (found,) = run("daq.native", "ToPlanar", {"channels": CHANNELS}, {"X": native}, 1)
    if not np.array_equal(found, to_planar(native, CHANNELS)):
        raise Disagreement("the planar map differs from numpy's")
    return "equal"


def _elementwise() -> str:
    planar, operand = drawn_map(True), drawn_map(True)[:, ::-1]
    slope = np.linspace(0.05, 0.4, CHANNELS, dtype=np.float32)
    attributes = {"channels": CHANNELS, "activation": "slope", "operand": "add", "operand_first": 0, "statistics": 1}
    gate = to_native(np.linspace(0, 1, CHANNELS).reshape(1, -1, 1, 1))
    inputs: dict[str, Array] = {"X": to_native(planar), "slope": slope, "operand": to_native(operand), "gate": gate}
    found, statistics = run("daq.native", "Elementwise", attributes, inputs, 2)
    x, other, factors = (to_planar(inputs[name], CHANNELS) for name in ("X", "operand", "gate"))
    x = x * factors
    expected = np.where(x >= 0, x, slope[:, None, None] * x) + other
    return f"{map_within(found, expected)}; {statistics_within(statistics, expected, found)}"


def _resize() -> str:
    """Check a factor of two, at which each new pixel is three quarters of one old pixel and a quarter of the next."""
    source = to_native(drawn_map(True))
    attributes = {
        "channels": CHANNELS,
        "mode": "linear",
        "coordinates": "half_pixel",
        "nearest": "floor",
        "statistics": 1,
    }
    scales = np.array([1, 1, 2, 2], np.float32)
    inputs: dict[str, Array] = {"X": source, "scales": scales, "sizes": np.empty(0, np.int64)}
    found, statistics = run("daq.native", "Resize", attributes, inputs, 2)
    expected = to_planar(source, CHANNELS).astype(np.float64)
    for axis in (2, 3):
        last = expected.shape[axis] - 1
        before, after = (np.clip(np.arange(last + 1) + shift, 0, last) for shift in (-1, 1))
        pairs = [expected * 0.75 + expected.take(other, axis) * 0.25 for other in (before, after)]
        expected = np.stack(pairs, axis + 1).reshape(*expected.shape[:axis], -1, *expected.shape[axis + 1 :])
    return f"{map_within(found, expected)}; {statistics_within(statistics, expected, found)}"


def _max_pool() -> str:
    source = to_native(drawn_map(True))
    attributes = {
        "channels": CHANNELS, "statistics": 1, "kernel_shape": [3, 3], "strides": [1, 1], "pads": [0, 0, 0, 0],
    }  # fmt: skip
    found, statistics = run("daq.native", "MaxPool", attributes, {"X": source}, 2)
    windows = np.lib.stride_tricks.sliding_window_view(to_planar(source, CHANNELS), (3, 3), axis=(2, 3))
    expected = windows.max(axis=(4, 5))
    return f"{map_within(found, expected)}; {statistics_within(statistics, expected, found)}"


def _float_conv() -> str:
    picture = drawn_map(False)[:, :3]
    weight, bias = drawn_weights(3), np.linspace(-1, 1, OUTPUTS, dtype=np.float32)
    attributes = {**same_window(), "activation": "relu", "statistics": 1}
    inputs = {"X": picture, "weight": weight, "bias": bias, "slope": np.zeros(0, np.float32)}
    found, statistics = run("daq.native", "FloatConv", attributes, inputs, 2)
    expected = np.maximum(convolve(picture, weight) + bias[:, None, None], 0)
    return f"{map_within(found, expected)}; {statistics_within(statistics, expected, found)}"


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
        source = to_native(drawn_map(True))
        values = to_planar(source, CHANNELS)
        channels = channel_range(ChannelStatistics.of(values), bits, "deploy", True, None, 0.25, companded)
        feedback = _feedback() if fed_back else None
        moved = values if feedback is None else with_feedback(values, channels, bits, feedback)
        quantized = dequantize(quantize(moved, channels, bits), channels)
        codes = np.clip(np.rint(drawn_weights(CHANNELS) * 30), -8, 7).astype(np.int8)
        step, bias = (np.linspace(low, high, OUTPUTS, dtype=np.float32) for low, high in ((0.01, 0.05), (-1, 1)))
        weight = (codes + np.float32(0.5)) * step[:, None, None, None]
        expected = np.maximum(convolve(quantized, weight) + bias[:, None, None], 0)
        attributes = {
            **same_window(),
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
        (found,) = run("daq.native", "PlanarConv", attributes, inputs, 1)
        if not planar:
            native, statistics = run("daq.native", "Conv", attributes, inputs, 2)
            if not np.array_equal(native, to_native(found)):
                raise Disagreement(f"A{bits}: the half-precision map differs from the planar one")
            statistics_within(statistics, found, native)
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
    "daq.native.Resize": _resize,
    "daq.native.MaxPool": _max_pool,
    "daq.native.FloatConv": _float_conv,
    "daq.native.Conv": lambda: _conv(planar=False),
    "daq.native.PlanarConv": lambda: _conv(planar=True),
}
"""What compares each op; it returns by how much they differ, and raises where that is too much."""


__all__ = ["CHECKS", "Disagreement"]
