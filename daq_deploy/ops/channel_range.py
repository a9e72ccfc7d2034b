"""`daq.ChannelRange<bits, rule, signed, range_bits, tail>(X) -> lo, step`: the range of every channel, at run time.

X is a feature map (N, C, H, W); lo is (N, C, 1, 1) and step (N * C,), as QuantizeLinear wants it on axis 1 of one image, or
of a batch laid out as (1, N * C, H, W). The body is that of the file's one rule; `signed` and `bits` select at run time and
fold to constants when the session is created.

`daq.MixedChannelRange<rule, signed, range_bits>(X, bits, tail) -> lo, step, span` is the same with bits and tail of each
channel, both (C,), or (1,) for all of them; span (N, C, 1, 1) is how far the levels go above lo.

`daq.CompandedRange<rule, signed, range_bits>(X, bits, tail) -> lo, step, span, origin` is that of companded levels
(daq_deploy/numerics/companding.py): step is their unit, and origin (N, C, 1, 1) the position of the finest of them, or
-1 in a channel of more than 4 bits, whose levels are even.

Sums run along W first and along H after: the error of a float32 sum then grows with the square root of one side, not of
the area, and codes agree with the oracle's float64 statistics on large pictures.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx.parser
import onnx_ir as ir

from daq_deploy.numerics.companding import EVEN, FAR, MOST_BITS, least_units, reach_above, reach_below
from daq_deploy.numerics.steps import LARGEST_SPREAD, TINY, UNIT_STEP

RangeKind = Literal["ChannelRange", "MixedChannelRange", "CompandedRange"]
"""Names of the functions."""


def channel_range_function(
    rule: str, range_bits: int | None, opset: int, kind: RangeKind = "ChannelRange"
) -> ir.Function:
    """Build the function for one rule.

    Args:
        rule: `paper`, `reference` or `deploy`.
        range_bits: bits of the quantized spreads, or None.
        opset: the model's opset, which the function must share (ONNX Runtime inlines nodes under it).
        kind: which of the functions.
    """
    companded = kind == "CompandedRange"
    if kind != "ChannelRange":
        results = "lo, step, span, origin" if companded else "lo, step, span"
        head = f"{kind} <rule, signed, range_bits> (X, bits, tail) => ({results})"
        parameters = """across = Constant <value_ints = [1, -1, 1, 1]> ()
    bits_index = Reshape (bits, across)
    tail_weight = Reshape (tail, across)"""
        last = "span = Mul (step_map, last_position)" if companded else "span = Mul (step_map, last_level)"
    else:
        head = "ChannelRange <bits, rule, signed, range_bits, tail> (X) => (lo, step)"
        parameters = """bits_index = Constant <value_int: int = @bits> ()
    tail_weight = Constant <value_float: float = @tail> ()"""
        last = ""
    signed = _signed_branch(rule, range_bits, companded)
    non_negative = _non_negative_branch(rule, range_bits, companded)
    found = ["centre", "below", "above"] if companded else ["lo", "step"]
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
    {", ".join(found) if companded else "lo, step_map"} = If (is_signed) <
        then_branch = signed_range () => ({_branch_results("signed", found)}) {{
            {signed}
        }},
        else_branch = non_negative_range () => ({_branch_results("positive", found)}) {{
            {non_negative}
        }}
    >
    {_companded_levels() if companded else ""}
    flat = Constant <value_ints = [-1]> ()
    step = Reshape (step_map, flat)
    {last}
}}
"""
    function: ir.Function = ir.from_proto(onnx.parser.parse_function(text))  # type: ignore[assignment]
    return function


def _position(side: str) -> str:
    """From `index_<side>` to `position_<side>`."""
    return f"""larger_{side} = Add (index_{side}, five)
    product_{side} = Mul (index_{side}, larger_{side})
    position_{side} = Mul (product_{side}, half)"""


def _branch_results(branch: str, found: list[str]) -> str:
    return ", ".join(f"float[n, c, 1, 1] {branch}_{name}" for name in found)


def _companded_levels() -> str:
    """From `centre`, `below` and `above` to `lo`, `step_map`, `origin` and `last_position`."""
    levels = 2**MOST_BITS
    below, above, least = (np.full((9, levels), FAR) for _ in range(3))
    for bits in range(2, MOST_BITS + 1):
        below[bits, : 2**bits], least[bits, : 2**bits] = reach_below(bits), least_units(bits)
        above[bits, : 2**bits] = reach_above(bits)
    return f"""last_axis = Constant <value_ints = [4]> ()
    table_shape = Constant <value_ints = [9, {levels}]> ()
    flat_reach_below = {_constant(below.ravel().tolist())}
    table_below = Reshape (flat_reach_below, table_shape)
    reach_below = Gather (table_below, bits_index)
    flat_reach_above = {_constant(above.ravel().tolist())}
    table_above = Reshape (flat_reach_above, table_shape)
    reach_above = Gather (table_above, bits_index)
    flat_least = {_constant(least.ravel().tolist())}
    table_least = Reshape (flat_least, table_shape)
    least_units = Gather (table_least, bits_index)
    below_column = Unsqueeze (below, last_axis)
    above_column = Unsqueeze (above, last_axis)
    units_below = Mul (below_column, reach_below)
    units_above = Mul (above_column, reach_above)
    units = Max (units_below, units_above, least_units)
    finest = ReduceMin <keepdims = 0> (units, last_axis)
    unit = Max (finest, tiny)
    number_below = ArgMin <axis = 4, keepdims = 0> (units)
    index_below = Cast <to = 1> (number_below)
    index_above = Sub (last_level, index_below)
    five = Constant <value_float = 5.0> ()
    half = Constant <value_float = 0.5> ()
    {_position("below")}
    {_position("above")}
    highest = Add (position_below, position_above)
    whole_range = Add (below, above)
    wide_step = Div (whole_range, last_level)
    even_step = Max (wide_step, tiny)
    most_levels = Constant <value_float = {float(levels)}> ()
    is_even = Greater (levels, most_levels)
    even = Constant <value_float = {EVEN}> ()
    step_map = Where (is_even, even_step, unit)
    origin = Where (is_even, even, position_below)
    last_position = Where (is_even, last_level, highest)
    reached_below = Mul (position_below, unit)
    lo_distance = Where (is_even, below, reached_below)
    lo = Sub (centre, lo_distance)"""


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


def _signed_branch(rule: str, range_bits: int | None, companded: bool) -> str:
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
    body += f"""
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
            {_clip_side("below")}"""
    if companded:
        return f"""{body}
            signed_centre = Identity (mean)
            signed_below = Identity (below)
            signed_above = Identity (above)"""
    return f"""{body}
            whole_range = Add (below, above)
            even_step = Div (whole_range, last_level)
            signed_step = Max (even_step, tiny)
            signed_lo = Sub (mean, below)"""


def _non_negative_branch(rule: str, range_bits: int | None, companded: bool) -> str:
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
            {_clip_side("above")}"""
        if companded:
            return f"""{body}
            positive_above = Identity (above)
            positive_below = Mul (above, zero)
            positive_centre = Identity (positive_below)"""
        body += """
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


__all__ = ["RangeKind", "channel_range_function"]
