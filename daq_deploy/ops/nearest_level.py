"""`daq.NearestLevel(offset, step, origin) -> snapped`: move values to the nearest of their channel's companded levels.

offset is X - lo, (N, C, H, W), and step (N * C,) and origin (N, C, 1, 1) what `daq.CompandedRange` gives. What snaps to a
level is a whole number of steps, which QuantizeLinear turns into its code. Channels whose origin is negative have even
levels and are left as they are. The levels are those of daq_deploy/numerics/companding.py.

Only values beyond one and a half units have a level other than the origin, so that twice a distance, clipped to -1 and 1, is
as good as its sign.
"""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir


def nearest_level_function(opset: int) -> ir.Function:
    """Build the function for the model's opset, which it must share (ONNX Runtime inlines nodes under it)."""
    text = f"""
<opset_import: ["" : {opset}], domain: "daq">
NearestLevel (offset, step, origin) => (snapped)
{{
    shape = Shape (origin)
    step_map = Reshape (step, shape)
    origin_offset = Mul (origin, step_map)
    two = Constant <value_float = 2.0> ()
    scale = Div (two, step_map)
    half_step = Div (step_map, two)
    distance = Sub (offset, origin_offset)
    signed_double = Mul (distance, scale)
    doubled = Abs (signed_double)
    six = Constant <value_float = 6.0> ()
    square = Add (doubled, six)
    root = Sqrt (square)
    shift = Constant <value_float = 2.5> ()
    fractional_index = Sub (root, shift)
    index = Round (fractional_index)
    five = Constant <value_float = 5.0> ()
    larger = Add (index, five)
    product = Mul (index, larger)
    minus_one = Constant <value_float = -1.0> ()
    one = Constant <value_float = 1.0> ()
    sign = Clip (signed_double, minus_one, one)
    signed_product = Mul (product, sign)
    level_distance = Mul (signed_product, half_step)
    level = Add (level_distance, origin_offset)
    zero = Constant <value_float = 0.0> ()
    is_even = Less (origin, zero)
    snapped = Where (is_even, offset, level)
}}
"""
    function: ir.Function = ir.from_proto(onnx.parser.parse_function(text))  # type: ignore[assignment]
    return function


__all__ = ["nearest_level_function"]
