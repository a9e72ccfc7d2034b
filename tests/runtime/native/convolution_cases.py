"""Random quantized convolutions, and the codes that they read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from kernel_calls import (
    ACTIVATIONS,
    Array,
    Attributes,
    Wrong,
    channels_of,
    check_close,
    check_map,
    check_statistics,
    random_window,
    run,
    slope_for,
)
from native_reference import (
    depth_to_space,
    finish,
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


def conv(generator: np.random.Generator) -> None:
    """Conv or PlanarConv with given ranges, on maps whose values lie on no rounding boundary."""
    window, kernel, size = None, [1, 1], [1, 1]
    while window is None:
        kernel = [int(number) for number in generator.choice([1, 1, 2, 3, 3, 3, 4, 5, 7], 2)]
        size = [int(number) for number in generator.choice([1, 2, 3, 5, 8, 13, 16, 19, 33, 70], 2)]
        if generator.random() < 0.05:  # rows of several chunks
            size = [int(generator.choice([1, 3, 5])), 335]
        window = random_window(generator, kernel, size)
    images, sources = int(generator.integers(1, 3)), int(generator.choice([1, 1, 1, 2, 3]))
    counts = [channels_of(generator) for _ in range(sources)]
    firsts = [int(generator.choice([0, 0, 1, 5, 16])) for _ in range(sources)]
    inputs, blocksize = sum(counts), int(generator.choice([1, 1, 1, 2, 3, 4, 5]))
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
        over="operand" if operand_kind != "none" and not planar and generator.random() < 0.5 else "",
        **arrays,
        **maps,
    )
    if planar:
        check_close(found[0], expected, error, "the planar map")
    else:
        check_map(found[0], expected, error)
        values = before_rounding(attributes, arrays, maps)
        if not np.array_equal(found[0], to_map(values)):
            raise Wrong("a map is not what the planar map is, rounded")
        check_statistics(found[1], found[0], values, attributes["statistics"], positives=attributes["positives"])


def before_rounding(attributes: Attributes, arrays: Mapping[str, Array], maps: Mapping[str, Array]) -> Array:
    """The values of a Conv as PlanarConv gives them, which has no half precision at its end."""
    outputs = len(arrays["bias"])
    copies = -(-17 // outputs)  # PlanarConv has a way of its own with 16 channels and fewer
    many = {name: np.concatenate([arrays[name]] * copies) for name in ("codes", "weight_step", "bias", "slope")}
    many["operand"] = arrays["operand"]
    if attributes["operand"] != "none":
        many["operand"] = to_map(np.concatenate([to_planar(arrays["operand"], outputs)] * copies, axis=1))
    plain = {name: value for name, value in attributes.items() if name not in ("statistics", "positives")}
    (found,) = run("PlanarConv", plain | {"blocksize": 1}, 1, **{**arrays, **many}, **maps)
    return depth_to_space(found[:, :outputs], attributes)


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
    if generator.random() < 0.3:  # tiers may quantize so many at once
        channels = int(generator.choice([50, 64]))
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
    lo, step, origin = run("Range", attributes, 3, S=statistics_of(stored))
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
