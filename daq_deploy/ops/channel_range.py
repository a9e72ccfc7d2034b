"""`daq.ChannelRange<bits, rule, signed, range_bits, tail>(X) -> lo, step`: the range of every channel, at run time.

X is a feature map (N, C, H, W); lo is (N, C, 1, 1) and step (N * C,), as QuantizeLinear wants it on axis 1 of one image, or
of a batch laid out as (1, N * C, H, W). The body is that of the file's one rule; `signed` and `bits` select at run time and
fold to constants when the session is created.

`daq.MixedChannelRange<rule, signed, range_bits>(X, bits, tail) -> lo, step, span` is the same with bits and tail of each
channel, both (C,); span (N, C, 1, 1) is how far the levels go above lo.

Sums run along W first and along H after: the error of a float32 sum then grows with the square root of one side, not of
the area, and codes agree with the oracle's float64 statistics on large pictures.
"""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir

from daq_deploy.numerics.steps import LARGEST_SPREAD, TINY, UNIT_STEP


def channel_range_function(rule: str, range_bits: int | None, opset: int, mixed: bool = False) -> ir.Function:
    """Build the function for one rule.

    Args:
        rule: `paper`, `reference` or `deploy`.
        range_bits: bits of the quantized spreads, or None.
        opset: the model's opset, which the function must share (ONNX Runtime inlines nodes under it).
        mixed: build `daq.MixedChannelRange` instead.
    """
    if mixed:
        head = "MixedChannelRange <rule, signed, range_bits> (X, bits, tail) => (lo, step, span)"
        parameters = """across = Constant <value_ints = [1, -1, 1, 1]> ()
    bits_index = Reshape (bits, across)
    tail_weight = Reshape (tail, across)"""
        last = "span = Mul (step_map, last_level)"
    else:
        head = "ChannelRange <bits, rule, signed, range_bits, tail> (X) => (lo, step)"
        parameters = """bits_index = Constant <value_int: int = @bits> ()
    tail_weight = Constant <value_float: float = @tail> ()"""
        last = ""
    text = f"""
<opset_import: ["" : {opset}], domain: "daq">
{head}
{{
    columns = Constant <value_ints = [3]> ()
    rows = Constant <value_ints = [2]> ()
    tiny = Constant <value_float = {TINY}> ()
    {parameters}
    one = Constant <value_float = 1.0> ()
    {_unit_steps(rule)}
    unit_step = Gather (unit_steps, bits_index)
    all_levels = {_constant([2.0**bits for bits in range(9)])}
    levels = Gather (all_levels, bits_index)
    two = Constant <value_float = 2.0> ()
    last_level = Sub (levels, one)
    centre_level = Div (last_level, two)
    signed_number = Constant <value_int: int = @signed> ()
    is_signed = Cast <to = 9> (signed_number)
    lo, step_map = If (is_signed) <
        then_branch = signed_range () => (float[n, c, 1, 1] signed_lo, float[n, c, 1, 1] signed_step) {{
            {_signed_branch(rule, range_bits)}
        }},
        else_branch = non_negative_range () => (float[n, c, 1, 1] positive_lo, float[n, c, 1, 1] positive_step) {{
            {_non_negative_branch(rule, range_bits)}
        }}
    >
    flat = Constant <value_ints = [-1]> ()
    step = Reshape (step_map, flat)
    {last}
}}
"""
    function: ir.Function = ir.from_proto(onnx.parser.parse_function(text))  # type: ignore[assignment]
    return function


def _constant(values: list[float]) -> str:
    return f"Constant <value_floats = [{', '.join(repr(float(value)) for value in values)}]> ()"


def _unit_steps(rule: str) -> str:
    if rule == "reference":
        return f"unit_steps = {_constant([0.0, 0.0, *UNIT_STEP[1:8]])}"
    unit_steps = f"unit_steps = {_constant([0.0, *UNIT_STEP[1:]])}"
    if rule == "paper":
        return unit_steps
    return f"""{unit_steps}
    gaussian_weight = Sub (one, tail_weight)"""


def _signed_branch(rule: str, range_bits: int | None) -> str:
    body = f"""
            row_means = ReduceMean (X, columns)
            mean = ReduceMean (row_means, rows)
            centred = Sub (X, mean)
            squares = Mul (centred, centred)
            row_variances = ReduceMean (squares, columns)
            variance = ReduceMean (row_variances, rows)
            {_spread(range_bits)}"""
    if rule != "deploy":
        return f"""{body}
            signed_step = Max (gaussian, tiny)
            half_range = Mul (signed_step, centre_level)
            signed_lo = Sub (mean, half_range)"""
    return f"""{body}
            zero = Constant <value_float = 0.0> ()
            clip = Mul (gaussian, centre_level)
            clip_power = Pow (clip, gaussian_weight)
            row_maxima = ReduceMax (X, columns)
            maximum = ReduceMax (row_maxima, rows)
            rise = Sub (maximum, mean)
            extent_above = Max (rise, zero)
            {_clip_side("above")}
            row_minima = ReduceMin (X, columns)
            minimum = ReduceMin (row_minima, rows)
            fall = Sub (mean, minimum)
            extent_below = Max (fall, zero)
            {_clip_side("below")}
            whole_range = Add (below, above)
            even_step = Div (whole_range, last_level)
            signed_step = Max (even_step, tiny)
            signed_lo = Sub (mean, below)"""


def _non_negative_branch(rule: str, range_bits: int | None) -> str:
    body = f"""
            zero = Constant <value_float = 0.0> ()
            is_positive = Greater (X, zero)
            mask = Cast <to = 1> (is_positive)
            row_counts = ReduceSum (mask, columns)
            count = ReduceSum (row_counts, rows)
            number = Max (count, one)
            row_sums = ReduceSum (X, columns)
            total = ReduceSum (row_sums, rows)
            mean = Div (total, number)
            deviations = Sub (X, mean)
            centred = Mul (deviations, mask)
            squares = Mul (centred, centred)
            row_squares = ReduceSum (squares, columns)
            total_squares = ReduceSum (row_squares, rows)
            variance = Div (total_squares, number)
            {_spread(range_bits)}"""
    if rule == "deploy":
        body += f"""
            clip = Mul (gaussian, last_level)
            clip_power = Pow (clip, gaussian_weight)
            row_maxima = ReduceMax (X, columns)
            extent_above = ReduceMax (row_maxima, rows)
            {_clip_side("above")}
            even_step = Div (above, last_level)
            positive_step = Max (even_step, tiny)"""
    else:
        body += """
            positive_step = Max (gaussian, tiny)"""
    return f"""{body}
            positive_lo = Mul (positive_step, zero)"""


def _spread(range_bits: int | None) -> str:
    """From `variance` to `gaussian`, the Gaussian step, by way of the spread."""
    root = f"""deviation = Sqrt (variance)
            largest_spread = Constant <value_float = {LARGEST_SPREAD}> ()
            spread = Min (deviation, largest_spread)"""
    if range_bits is None:
        return f"""{root}
            gaussian = Mul (spread, unit_step)"""
    levels = 2.0**range_bits
    return f"""{root}
            channels = Constant <value_ints = [1]> ()
            spread_mean = ReduceMean (spread, channels)
            spread_centred = Sub (spread, spread_mean)
            spread_squares = Mul (spread_centred, spread_centred)
            spread_variance = ReduceMean (spread_squares, channels)
            spread_deviation = Sqrt (spread_variance)
            range_unit_step = Constant <value_float = {UNIT_STEP[range_bits]}> ()
            range_scaled = Mul (spread_deviation, range_unit_step)
            range_step = Max (range_scaled, tiny)
            range_centre = Constant <value_float = {levels / 2 - 0.5}> ()
            range_half = Mul (range_step, range_centre)
            range_lo = Sub (spread_mean, range_half)
            range_offset = Sub (spread, range_lo)
            range_position = Div (range_offset, range_step)
            range_rounded = Round (range_position)
            range_first = Constant <value_float = 0.0> ()
            range_last = Constant <value_float = {levels - 1}> ()
            range_codes = Clip (range_rounded, range_first, range_last)
            range_scaled_codes = Mul (range_codes, range_step)
            range_spread = Add (range_scaled_codes, range_lo)
            range_is_positive = Greater (range_spread, range_first)
            quantized_spread = Where (range_is_positive, range_spread, spread)
            gaussian = Mul (quantized_spread, unit_step)"""


def _clip_side(side: str) -> str:
    """From `extent_<side>` and `clip_power` to `<side>`: how far from the mean the levels go on that side."""
    return f"""power_{side} = Pow (extent_{side}, tail_weight)
            mixed_{side} = Mul (clip_power, power_{side})
            {side} = Min (mixed_{side}, extent_{side})"""


__all__ = ["channel_range_function"]
