"""Random calls of every native operator against the reference: `python kernel_cases.py CASES SEED`, in the tier of DAQ_ISA.

Prints one JSON document: the tier that ran, the number of cases of each operator, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
from native_reference import (
    LARGEST,
    OPERATORS,
    activate,
    convolve,
    depth_to_space,
    finish,
    padded,
    quantized_sum,
    statistics_of,
    to_map,
    to_planar,
)

from daq_deploy.numerics import ChannelStatistics, channel_range, dequantize, quantize
from daq_deploy.numerics.companding import (
    EVEN,
    MOST_BITS,
    fractional_level,
    highest_position,
    least_units,
    nearest_level,
    position_of,
)
from daq_deploy.numerics.error_feedback import GROUP, RUN
from daq_deploy.runtime.library import library_path, load_library

Array = np.ndarray
Attributes = dict[str, Any]
CONSTANTS = ("feedback", "codes", "weight", "weight_step", "bias", "slope")
ACTIVATIONS = ("none", "relu", "slope", "sigmoid", "tanh")
HALF = 2.0**-11
"""Relative error of a value rounded to half precision."""


class Wrong(Exception):
    """A kernel and the reference differ."""


def run(op: str, attributes: Mapping[str, Any], outputs: int, threads: int = 1, **inputs: Array) -> list[Array]:
    """Run one operator; weights, biases and slopes are initializers, as in a fused graph."""
    names = [f"output_{index}" for index in range(outputs)]
    node = onnx.helper.make_node(op, list(inputs), names, domain="daq.native", **attributes)
    given = {name: array for name, array in inputs.items() if name not in CONSTANTS}
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    constants = [onnx.numpy_helper.from_array(inputs[name], name) for name in CONSTANTS if name in inputs]
    graph = onnx.helper.make_graph(
        [node], "case", values, [onnx.ValueInfoProto(name=name) for name in names], constants
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("daq.native", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given)


def check_close(found: Array, expected: Array, allowed: Array | float, what: str) -> None:
    if found.shape != expected.shape:
        raise Wrong(f"{what} has shape {found.shape}, not {expected.shape}")
    excess = np.abs(found.astype(np.float64) - expected) - allowed
    if not (excess <= 0).all():
        place = np.unravel_index(np.nanargmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
        raise Wrong(f"{what} is {found[place]} at {[int(index) for index in place]}, not {expected[place]}")


def check_map(
    found: Array, expected: Array, error: Array | float, statistics: Array, wanted: int, positives: int = 1
) -> None:
    """Compare a native map with values (N, C, H, W), and its statistics with those of what it holds."""
    channels = expected.shape[1]
    if found.dtype != np.float16 or found.shape[3] != padded(channels):
        raise Wrong(f"a map of {channels} channels is {found.dtype} {found.shape}")
    if found[..., channels:].any():
        raise Wrong("padding channels are not zero")
    limited = np.clip(expected, -LARGEST, LARGEST)
    allowed = error + 1.01 * HALF * np.abs(limited) + 2.0**-24
    check_close(to_planar(found, channels), limited, allowed, "the map")
    if not wanted:
        if statistics.shape != (0,):
            raise Wrong(f"statistics that nobody asked for have shape {statistics.shape}")
        return
    truth = statistics_of(found, channels)
    truth[:, 1] *= positives
    magnitude = np.ones_like(truth)
    pixels = found.shape[1] * found.shape[2]
    magnitude[:, 2], magnitude[:, 3] = (
        pixels * np.abs(truth[:, 4:6]).max(axis=1),
        pixels * truth[:, 4:6].max(axis=1) ** 2,
    )
    magnitude[:, 3] = np.maximum(magnitude[:, 3], truth[:, 3])
    check_close(statistics, truth, 1e-6 * magnitude * [[[0]] * 2 + [[1]] * 2 + [[0]] * 2], "a statistic")


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


def conv(generator: np.random.Generator) -> None:
    """Conv or PlanarConv with given ranges, on maps whose values lie on no rounding boundary."""
    window, kernel, size = None, [1, 1], [1, 1]
    while window is None:
        kernel = [int(number) for number in generator.choice([1, 1, 2, 3, 3, 3, 4, 5, 7], 2)]
        size = [int(number) for number in generator.choice([1, 2, 3, 5, 8, 13, 16, 19, 33, 70], 2)]
        window = random_window(generator, kernel, size)
    images, sources = int(generator.integers(1, 3)), int(generator.choice([1, 1, 1, 2, 3]))
    counts = [channels_of(generator) for _ in range(sources)]
    firsts = [int(generator.choice([0, 0, 1, 5, 16])) for _ in range(sources)]
    inputs, blocksize = sum(counts), int(generator.choice([1, 1, 1, 2, 3]))
    outputs = blocksize**2 * int(generator.choice([1, 3, 4, 5])) if blocksize > 1 else channels_of(generator)
    mixed, exact, planar = generator.random() < 0.2, int(generator.integers(2)), generator.random() < 0.3
    bits = generator.integers(2, 9, inputs if mixed else 1)
    activation = str(generator.choice(ACTIVATIONS))
    operand_kind = str(generator.choice(["none", "add", "multiply"])) if blocksize == 1 else "none"
    attributes: Attributes = window | {
        "bits": bits.tolist(), "first_channel": firsts, "channels": counts, "mid_rise": int(generator.integers(2)),
        "activation": activation, "operand": operand_kind, "operand_first": int(generator.integers(2)),
        "blocksize": blocksize, "mode": str(generator.choice(["CRD", "DCR"])), "exact": exact,
    }  # fmt: skip
    if not planar:
        attributes |= {"statistics": int(generator.integers(2)), "positives": int(generator.integers(2))}
    companded = generator.random() < 0.3
    attributes["companded"] = int(companded)
    fed_back = generator.random() < 0.3
    ranges = (images if generator.random() < 0.5 and not fed_back else 1, inputs)
    step = (10.0 ** generator.uniform(-3, 1, ranges)).astype(np.float32)
    lo = (step * generator.uniform(-20, 3, ranges)).astype(np.float32)
    origin = origins(generator, np.broadcast_to(bits, inputs), ranges[0], companded)
    last = np.broadcast_to(2.0**bits - 1, inputs).reshape(1, -1, 1, 1)
    position = generator.integers(-1, 2**8 + 1, (images, inputs, *size)) % (last + 2)
    if companded:
        centre = origin[:, :, None, None].astype(np.float64)
        levels = position_of(position - nearest_level(np.maximum(centre, 0))) + centre
        position = np.where(centre < 0, position, levels)
        last = highest_position(bits, origin).max(axis=0).reshape(1, -1, 1, 1)
    rest = generator.uniform(-0.4, 0.4, position.shape)
    values = lo[:, :, None, None] + (position + rest) * step[:, :, None, None]
    feedback = np.zeros(0, np.float32)
    attributes["feedback_order"] = [0]
    if fed_back:
        attributes["feedback_order"], feedback = feedback_for(generator, step)
        levels = np.clip(
            position,
            0,
            highest_position(
                np.broadcast_to(bits, inputs),
                np.broadcast_to(origin, step.shape) if companded else np.full_like(step, EVEN),
            )[:, :, None, None],
        )
        lost = (levels - position - rest) * step[:, :, None, None]
        before = np.roll(lost, 1, axis=3) * (np.arange(size[1]) % RUN > 0)
        values -= np.einsum("oi,nihw->nohw", feedback, np.concatenate([before, lost], axis=1))
    maps = {}
    for index, (first, count) in enumerate(zip(firsts, counts, strict=True)):
        start = sum(counts[:index])
        whole = generator.normal(size=(images, first + count + int(generator.choice([0, 0, 3])), *size))
        whole[:, first : first + count] = values[:, start : start + count]
        maps[f"X{index}"] = to_map(whole)
    low = int(generator.choice([-2, -8, -128]))
    codes = generator.integers(low, -low, (outputs, inputs, *kernel)).astype(np.int8)
    arrays = {
        "lo": lo, "step": step, "origin": origin, "feedback": feedback, "codes": codes,
        "weight_step": generator.uniform(0.001, 0.05, outputs).astype(np.float32),
        "bias": (generator.normal(size=outputs) * generator.choice([0, 10])).astype(np.float32),
        "slope": slope_for(generator, activation, outputs),
    }  # fmt: skip
    given = [arrays[name] for name in ("codes", "weight_step", "bias")]
    sums = quantized_sum(attributes, (lo, step, origin, feedback), *given, *maps.values())
    arrays["operand"] = np.zeros(0, np.float16)
    if operand_kind != "none":
        arrays["operand"] = to_map(generator.normal(size=sums.shape) * 2)
    expected = finish(sums, arrays["slope"], arrays["operand"], attributes)
    error = folding_error(attributes, arrays, last)
    if activation == "slope":
        error = error * np.maximum(1, np.abs(arrays["slope"])).reshape(1, -1, 1, 1)
    if operand_kind == "multiply":
        error = error * np.abs(to_planar(arrays["operand"], outputs))
    error = error + 2e-6 * (np.abs(expected) + np.abs(sums)) + 1e-7
    expected, error = (depth_to_space(array, attributes) for array in (expected, error))
    found = run(
        "PlanarConv" if planar else "Conv",
        attributes,
        1 if planar else 2,
        int(generator.choice([1, 2])),
        **arrays,
        **maps,
    )
    if planar:
        check_close(found[0], expected, error, "the planar map")
    else:
        check_map(found[0], expected, error, found[1], attributes["statistics"], attributes["positives"])


def feedback_for(generator: np.random.Generator, step: Array) -> tuple[list[int], Array]:
    """An order of rounding, and coefficients (C, 2 C) that move channels by fractions of their steps."""
    channels = step.shape[1]
    order = generator.permutation(-(-channels // GROUP))
    rank = np.argsort(order)[np.arange(channels) // GROUP]
    coefficients = generator.normal(size=(channels, 2 * channels)) * 0.2 / np.sqrt(channels)
    coefficients *= step[0][:, None] / np.tile(step[0], 2)
    coefficients[:, channels:] *= rank[:, None] > rank[None, :]
    coefficients[:, :channels] *= generator.integers(2)
    return order.tolist(), coefficients.astype(np.float16).astype(np.float32)


def origins(generator: np.random.Generator, bits: Array, images: int, companded: bool) -> Array:
    """Codes at which companded steps are finest, (images, C), -1 where there are too many bits; empty if levels are even."""
    found = np.full((images if companded else 0, len(bits)), EVEN, np.float32)
    for image, channel in np.ndindex(found.shape):
        if bits[channel] <= MOST_BITS:
            allowed = np.flatnonzero(least_units(int(bits[channel])) == 0).astype(np.float64)
            found[image, channel] = position_of(generator.choice(allowed, 1))[0]
    return found


def folding_error(attributes: Attributes, arrays: Mapping[str, Array], last: Array) -> Array:
    """What folding the steps into weights of 8 or 16 bits may change, (N or 1, O, 1, 1): 10 standard deviations."""
    weight = np.abs(arrays["codes"].astype(np.float64) + (0.5 if attributes["mid_rise"] else 0))
    weight = weight.max(axis=(2, 3)) * arrays["weight_step"][:, None]
    folded = weight[None] * arrays["step"][:, None, :]  # (N or 1, O, I)
    products = np.prod(arrays["codes"].shape[1:])
    room = 2**31 / (2 * products * last.max())  # sums of 32 bits must hold the largest weights, or twice them
    levels = min(32767 // 3 if attributes["exact"] else 127, room)
    power = np.square(np.broadcast_to(last.reshape(-1), folded.shape[2])).sum() * np.prod(arrays["codes"].shape[2:])
    error: Array = 3 * folded.max(axis=2) / levels * np.sqrt(power)
    lowest = np.abs(weight[None] * np.abs(arrays["lo"])[:, None, :]).sum(axis=2) * np.prod(arrays["codes"].shape[2:])
    return (error + 1e-6 * lowest)[:, :, None, None]


def codes_of_real_maps(generator: np.random.Generator) -> None:
    """Range and PlanarConv together: a kernel that copies its input gives the levels, and so the codes, of every rule."""
    images, channels = int(generator.integers(1, 3)), channels_of(generator)
    size = [int(number) for number in generator.choice([1, 2, 7, 16, 31, 64], 2)]
    signed, bits = bool(generator.integers(2)), int(generator.integers(2, 9))
    rule, tail = str(generator.choice(["paper", "reference", "deploy"])), float(np.float32(generator.uniform(0, 1)))
    range_bits, companded = int(generator.choice([0, 0, 4, 8])), rule == "deploy" and bool(generator.integers(2))
    values = generator.normal(size=(images, channels, *size)) * 10.0 ** generator.uniform(-2, 2, (1, channels, 1, 1))
    values += generator.normal(size=(1, channels, 1, 1))
    if not signed:
        values = np.maximum(values, 0)
    kind = generator.random()
    if kind < 0.3:
        values[:, int(generator.integers(channels))] = generator.choice([0.0, 3.25])  # a constant channel
    native = to_map(values)
    stored = to_planar(native, channels)
    attributes = {
        "rule": rule, "signed": int(signed), "range_bits": range_bits, "bits": [bits], "tail": [tail],
        "first_channel": [0], "channels": [channels], "companded": int(companded),
    }  # fmt: skip
    lo, step, origin = run("Range", attributes, 3, S=statistics_of(native, channels))
    truth = channel_range(ChannelStatistics.of(stored), bits, rule, signed, range_bits or None, tail, companded)
    expected_origin = origin[:0] if truth.origin is None else truth.origin
    check_close(origin, expected_origin, 0, "origin")
    check_close(step, truth.step, 1e-5 * truth.step, "step")
    check_close(lo, truth.lo, 1e-5 * (np.abs(truth.lo) + 2**bits * truth.step), "lo")
    eye = np.eye(channels, dtype=np.int8).reshape(channels, channels, 1, 1)
    nothing = np.zeros(channels, np.float32)
    copy: Attributes = {
        "bits": [bits], "first_channel": [0], "channels": [channels], "mid_rise": 0, "strides": [1, 1], "pads": [0] * 4,
        "dilations": [1, 1], "activation": "none", "operand": "none", "operand_first": 0, "blocksize": 1, "mode": "CRD",
        "exact": int(generator.integers(2)), "companded": int(companded), "feedback_order": [0],
    }  # fmt: skip
    (found,) = run(
        "PlanarConv", copy, 1, lo=truth.lo, step=truth.step, origin=origin, feedback=nothing[:0], codes=eye,
        weight_step=nothing + 1, bias=nothing, slope=np.zeros(0, np.float32), operand=np.zeros(0, np.float16), X=native,
    )  # fmt: skip
    codes = quantize(stored, truth, bits)
    steps = truth.step[:, :, None, None].astype(np.float64)
    position = (stored.astype(np.float64) - truth.lo[:, :, None, None]) / steps
    near = 1e-4 + 4 * np.finfo(np.float32).eps * np.abs(truth.lo[:, :, None, None]) / steps
    centre = truth.origins[:, :, None, None]
    number = np.where(centre < 0, position, fractional_level(position - centre))
    tie = np.abs(number - np.floor(number) - 0.5) <= near
    gap = np.where(centre < 0, 1, np.abs(number) + 3)  # units from a level to the next
    allowed = (0.3 + gap * tie) * steps + 1e-5 * np.abs(truth.lo[:, :, None, None])
    check_close(found, dequantize(codes, truth).astype(np.float64), allowed, "a level")


def native_range(generator: np.random.Generator) -> None:
    """Channels of several statistics side by side, with bits and tails of their own."""
    images, sources = int(generator.integers(1, 4)), int(generator.integers(1, 4))
    counts = [channels_of(generator) for _ in range(sources)]
    firsts = [int(generator.choice([0, 0, 3])) for _ in range(sources)]
    total = sum(counts)
    size = [int(number) for number in generator.choice([1, 4, 9], 2)]
    statistics = {
        f"S{index}": statistics_of(
            to_map(generator.normal(1, 3, (images, first + count + 1, *size))), first + count + 1
        )
        for index, (first, count) in enumerate(zip(firsts, counts, strict=True))
    }
    mixed = bool(generator.integers(2))
    attributes: Attributes = {
        "rule": str(generator.choice(["paper", "reference", "deploy"])), "signed": 1,
        "range_bits": int(generator.choice([0, 4, 8])),
        "bits": generator.integers(2, 9, total if mixed else 1).tolist(),
        "tail": generator.uniform(0, 1, total if mixed else 1).astype(np.float32).tolist(),
        "first_channel": firsts, "channels": counts,
    }  # fmt: skip
    attributes["companded"] = int(attributes["rule"] == "deploy" and generator.random() < 0.5)
    lo, step, origin = run("Range", attributes, 3, **statistics)
    expected = OPERATORS["Range"](attributes, *statistics.values())
    check_close(step, expected[1], 1e-5 * np.abs(expected[1]), "step")
    check_close(lo, expected[0], 1e-5 * (np.abs(expected[0]) + 256 * expected[1]), "lo")
    check_close(origin, expected[2], 0, "origin")


def float_conv(generator: np.random.Generator) -> None:
    window, kernel, size = None, [1, 1], [1, 1]
    while window is None:
        kernel = [int(number) for number in generator.choice([1, 2, 3, 3, 5, 9], 2)]
        size = [int(number) for number in generator.choice([1, 3, 8, 17, 33], 2)]
        window = random_window(generator, kernel, size)
    images, inputs, outputs = int(generator.integers(1, 3)), int(generator.integers(1, 5)), channels_of(generator)
    activation = str(generator.choice(ACTIVATIONS))
    attributes = window | {"activation": activation, "statistics": int(generator.integers(2))}
    planar = generator.uniform(0, 255, (images, inputs, *size)).astype(np.float32)
    weight = generator.normal(0, 0.3, (outputs, inputs, *kernel)).astype(np.float32)
    bias = generator.normal(size=outputs).astype(np.float32)
    slope = slope_for(generator, activation, outputs)
    sums = convolve(planar, weight, bias, attributes)
    error = 1e-5 * convolve(np.abs(planar), np.abs(weight), np.abs(bias), attributes)
    if activation == "slope":
        error = error * np.maximum(1, np.abs(slope)).reshape(1, -1, 1, 1)
    found, statistics = run("FloatConv", attributes, 2, X=planar, weight=weight, bias=bias, slope=slope)
    check_map(found, activate(sums, slope, attributes), error + 1e-7, statistics, attributes["statistics"])


def elementwise(generator: np.random.Generator) -> None:
    images, channels = int(generator.integers(1, 3)), channels_of(generator)
    size = [int(number) for number in generator.choice([1, 3, 8, 17], 2)]
    activation = str(generator.choice(ACTIVATIONS))
    attributes = {
        "channels": channels, "activation": activation, "operand": str(generator.choice(["none", "add", "multiply"])),
        "operand_first": int(generator.integers(2)), "statistics": int(generator.integers(2)),
    }  # fmt: skip
    native = to_map(generator.normal(0, generator.choice([1, 300]), (images, channels, *size)))
    operand = np.zeros(0, np.float16)
    if attributes["operand"] != "none":
        operand = to_map(generator.normal(0, generator.choice([1, 300]), (images, channels, *size)))
    slope = slope_for(generator, activation, channels)
    values = to_planar(native, channels).astype(np.float64)
    expected = finish(values, slope, operand, attributes)
    found, statistics = run("Elementwise", attributes, 2, X=native, slope=slope, operand=operand)
    check_map(found, expected, 1e-5 * np.abs(expected) + 2e-6, statistics, attributes["statistics"])


def borders(generator: np.random.Generator) -> None:
    images, channels = int(generator.integers(1, 3)), channels_of(generator)
    size = [int(number) for number in generator.choice([1, 2, 7, 16, 31], 2)]
    scale = generator.choice([1e-6, 1, 3e4])
    planar = (generator.normal(size=(images, channels, *size)) * scale).astype(np.float32)
    wanted = int(generator.integers(2))
    found, statistics = run("ToNative", {"statistics": wanted}, 2, X=planar)
    if not np.array_equal(found, to_map(planar)):
        raise Wrong("ToNative rounds otherwise than numpy")
    check_map(found, planar.astype(np.float64), 0.0, statistics, wanted)
    (back,) = run("ToPlanar", {"channels": channels}, 1, X=found)
    if not np.array_equal(back, to_planar(found, channels)):
        raise Wrong("ToPlanar changes values")


def broken_pictures(generator: np.random.Generator) -> None:
    """A picture of a batch that is not finite leaves the others as they are."""
    channels = channels_of(generator)
    values = generator.normal(size=(2, channels, 5, 6)).astype(np.float32)
    values[0, int(generator.integers(channels)), 2, 3] = generator.choice([np.nan, np.inf, -np.inf])
    both, statistics = run("ToNative", {"statistics": 1}, 2, X=values)
    alone, alone_statistics = run("ToNative", {"statistics": 1}, 2, X=values[1:])
    attributes = {
        "rule": str(generator.choice(["paper", "deploy"])), "signed": 1, "range_bits": 0, "bits": [4], "tail": [0.5],
        "first_channel": [0], "channels": [channels],
    }  # fmt: skip
    attributes["companded"] = int(attributes["rule"] == "deploy" and generator.random() < 0.5)
    copy: Attributes = {
        "bits": [4], "first_channel": [0], "channels": [channels], "mid_rise": 0, "strides": [1, 1], "pads": [1] * 4,
        "dilations": [1, 1], "activation": "none", "operand": "none", "operand_first": 0, "blocksize": 1, "mode": "CRD",
        "exact": 0, "companded": attributes["companded"],
    }  # fmt: skip
    copy["feedback_order"], feedback = feedback_for(generator, np.ones((1, channels)))
    arrays = {
        "feedback": feedback[: channels if generator.integers(2) else 0],
        "codes": generator.integers(-8, 8, (7, channels, 3, 3)).astype(np.int8),
        "weight_step": np.ones(7, np.float32), "bias": np.zeros(7, np.float32), "slope": np.zeros(0, np.float32),
        "operand": np.zeros(0, np.float16),
    }  # fmt: skip

    def whole(native: Array, gathered: Array) -> Array:
        lo, step, origin = run("Range", attributes, 3, S=gathered)
        return run("PlanarConv", copy, 1, lo=lo, step=step, origin=origin, **arrays, X=native)[0]

    if not np.array_equal(whole(both, statistics)[1:], whole(alone, alone_statistics)):
        raise Wrong("a picture that is not finite changes the one beside it")


CASES: Mapping[str, tuple[Callable[[np.random.Generator], None], int]] = {
    "convolution": (conv, 6),
    "codes": (codes_of_real_maps, 2),
    "range": (native_range, 1),
    "float convolution": (float_conv, 1),
    "elementwise": (elementwise, 1),
    "borders": (borders, 1),
    "broken pictures": (broken_pictures, 1),
}
"""What is tested, and how often in a round."""


def main(rounds: int, seed: int) -> None:
    library = load_library()
    assert library is not None
    done: Counter[str] = Counter()
    problems = []
    for index in range(rounds):
        for name, (case, times) in CASES.items():
            for number in range(times):
                key = [seed, index, number]
                done[name] += 1
                try:
                    with np.errstate(all="ignore"):
                        case(np.random.default_rng([*key, *name.encode()]))
                except Wrong as error:
                    problems.append(f"{name} {key}: {error}")
                except Exception:
                    problems.append(f"{name} {key}: {traceback.format_exc(limit=2).splitlines()[-1]}")
    print(json.dumps({"isa": library.isa, "cases": done, "problems": problems}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
