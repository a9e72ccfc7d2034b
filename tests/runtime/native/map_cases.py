"""Random calls of what is no quantized convolution: ranges, float convolutions, element-wise operators, broken pictures."""

from __future__ import annotations

import numpy as np
from convolution_cases import feedback_for
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
    OPERATORS,
    activate,
    convolve,
    finish,
    statistics_of,
    to_map,
    to_planar,
)


def native_range(generator: np.random.Generator) -> None:
    """Channels of several statistics side by side, with bits and tails of their own."""
    images, sources = int(generator.integers(1, 4)), int(generator.integers(1, 4))
    counts = [channels_of(generator) for _ in range(sources)]
    firsts = [int(generator.choice([0, 0, 3])) for _ in range(sources)]
    total = sum(counts)
    size = [int(number) for number in generator.choice([1, 4, 9], 2)]
    statistics = {
        f"S{index}": statistics_of(generator.normal(1, 3, (images, first + count + 1, *size)))
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
    if attributes["statistics"]:  # of sums that are exact
        planar, weight, bias = np.round(planar), np.round(64 * weight) / 64, np.round(64 * bias) / 64
    slope = slope_for(generator, activation, outputs)
    sums = convolve(planar, weight, bias, attributes)
    error = 1e-5 * convolve(np.abs(planar), np.abs(weight), np.abs(bias), attributes)
    if activation == "slope":
        error = error * np.maximum(1, np.abs(slope)).reshape(1, -1, 1, 1)
    found, statistics = run("FloatConv", attributes, 2, X=planar, weight=weight, bias=bias, slope=slope)
    expected = activate(sums, slope, attributes)
    check_map(found, expected, error + 1e-7)
    check_statistics(statistics, found, expected, attributes["statistics"], 1e-6 * np.abs(expected) + 2e-7)


def elementwise(generator: np.random.Generator) -> None:
    images, channels = int(generator.integers(1, 3)), channels_of(generator)
    size = [int(number) for number in generator.choice([1, 3, 8, 17], 2)]
    activation = str(generator.choice(ACTIVATIONS))
    attributes = {
        "channels": channels, "activation": activation, "operand": str(generator.choice(["none", "add", "multiply"])),
        "operand_first": int(generator.integers(2)), "statistics": int(generator.integers(2)),
    }  # fmt: skip
    native = to_map(generator.normal(0, generator.choice([1, 300]), (images, channels, *size)))
    operand = gate = np.zeros(0, np.float16)
    if attributes["operand"] != "none":
        operand = to_map(generator.normal(0, generator.choice([1, 300]), (images, channels, *size)))
    slope = slope_for(generator, activation, channels)
    values = to_planar(native, channels).astype(np.float64)
    if generator.random() < 0.5:
        gate = to_map(generator.uniform(0, 1, (images, channels, 1, 1)))
        values = values * to_planar(gate, channels)
    expected = finish(values, slope, operand, attributes)
    over = str(generator.choice(["", "X", "operand"] if operand.size else ["", "X"]))
    found, statistics = run("Elementwise", attributes, 2, over=over, X=native, slope=slope, operand=operand, gate=gate)
    check_map(found, expected, 1e-5 * np.abs(expected) + 2e-6)
    check_statistics(statistics, found, expected, attributes["statistics"], 1e-6 * np.abs(expected) + 2e-7)


def resampling(generator: np.random.Generator) -> None:
    """Maps of another size, against ONNX Runtime's own Resize and MaxPool."""
    images, channels = int(generator.integers(1, 3)), channels_of(generator)
    size = [int(number) for number in generator.choice([1, 2, 7, 12, 50], 2)]
    native = to_map(generator.normal(0, generator.choice([1, 300]), (images, channels, *size)))
    attributes: Attributes = {"channels": channels, "statistics": int(generator.integers(2))}
    others = {}
    if generator.random() < 0.5:
        strides = [int(number) for number in generator.integers(1, 4, 2)]
        # A window may be larger than the map by less than a stride: ONNX Runtime takes what there is.
        kernel = [int(generator.integers(1, side + stride)) for side, stride in zip(size, strides, strict=True)]
        pads = [int(generator.integers(0, kernel[side % 2])) for side in range(4)]
        op, attributes = "MaxPool", attributes | {"kernel_shape": kernel, "strides": strides, "pads": pads}
    else:
        op = "Resize"
        attributes |= {
            "mode": str(generator.choice(["linear", "nearest"])),
            "coordinates": str(generator.choice(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])),
            "nearest": str(generator.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])),
        }
        scales = [1, 1, *(int(number) for number in generator.integers(1, 5, 2))]
        sizes = [images, channels, *(int(number) for number in generator.integers(1, 70, 2))]
        if attributes["mode"] == "nearest":  # by a fraction it may hang on the last bit which pixel is the nearest
            sizes[2:] = [side * scale for side, scale in zip(size, scales[2:], strict=True)]
        by_scale = generator.random() < 0.5
        others["scales"] = np.array(scales if by_scale else [], np.float32)
        others["sizes"] = np.array([] if by_scale else sizes, np.int64)
    found, statistics = run(op, attributes, 2, X=native, **others)
    (expected, _) = OPERATORS[op](attributes | {"storage": np.float32}, native, *others.values())
    expected = to_planar(expected, channels)
    error = 1e-6 * np.abs(to_planar(native, channels)).max()
    check_map(found, expected, error)
    check_statistics(statistics, found, expected, attributes["statistics"], error)


def borders(generator: np.random.Generator) -> None:
    images, channels = int(generator.integers(1, 3)), channels_of(generator)
    size = [int(number) for number in generator.choice([1, 2, 7, 16, 31], 2)]
    scale = generator.choice([1e-6, 1, 3e4])
    planar = (generator.normal(size=(images, channels, *size)) * scale).astype(np.float32)
    wanted = int(generator.integers(2))
    found, statistics = run("ToNative", {"statistics": wanted}, 2, X=planar)
    if not np.array_equal(found, to_map(planar)):
        raise Wrong("ToNative rounds otherwise than numpy")
    check_map(found, planar.astype(np.float64), 0.0)
    check_statistics(statistics, found, planar, wanted)
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
