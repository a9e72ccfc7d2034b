"""`daq.ErrorFeedback<G>(offset, step, span, coefficients, channels, places, sizes) -> moved`: feedback among G groups.

offset is X - lo, (N, C, H, W), step (N * C,) and span (N, C, 1, 1) what `daq.MixedChannelRange` gives. Channels are rounded
in the order `channels` (C,), in groups of `sizes` (G,): those of a group are moved by the errors of the groups before it,
weighted by coefficients (C, C), whose rows and columns have the order of rounding. What comes out, in the order of the map
again (`places`, the inverse of `channels`), is to be quantized in place of offset.

`daq.RunErrorFeedback<G>` takes the errors of the pixel to the left, too: coefficients are (C, 2 C), its columns first. Rows
are cut into runs of RUN pixels, through which a Scan goes, all runs at once.

`daq.CompandedErrorFeedback<G>(offset, step, span, origin, ...)` and `daq.CompandedRunErrorFeedback<G>` are the same for
companded levels, of which `daq.CompandedRange` gives the origin (N, C, 1, 1). The numbers are those of
daq_deploy/numerics/error_feedback.py.
"""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir

from daq_deploy.numerics.error_feedback import RUN


def error_feedback_name(groups: int, companded: bool, from_left: bool) -> str:
    """Return the name of the function for so many groups."""
    return f"{'Companded' if companded else ''}{'Run' if from_left else ''}ErrorFeedback{groups}"


def error_feedback_function(groups: int, companded: bool, from_left: bool, opset: int) -> ir.Function:
    """Build the function for so many groups, 2 or more, and the model's opset, which it must share."""
    arguments = f"offset, step, span, {'origin, ' if companded else ''}coefficients, channels, places, sizes"
    levels = ["span", "step", *(["origin"] if companded else [])]
    levels_of_groups = "\n    ".join(
        f"""{name}_in_order = Gather <axis = 1> ({"step_map" if name == "step" else name}, channels)
    {name}_rows = Squeeze ({name}_in_order, last_axis)
    {_each(name, groups)} = Split <axis = 1> ({name}_rows, sizes)"""
        for name in levels
    )
    # A group is moved by the errors of the pixel to the left and of the groups before it.
    known = "\n    ".join(
        f"""coefficients_{index} = Slice (weights_{index}, zero, known_{index}, one)
    known_{index + 1} = Add (known_{index}, size_{index})"""
        for index in range(groups)
    )
    rounding = "\n    ".join(_group(index, groups, companded, from_left) for index in range(groups))
    text = f"""
<opset_import: ["" : {opset}, "daq" : 1], domain: "daq">
{error_feedback_name(groups, companded, from_left)} ({arguments}) => (moved)
{{
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    last_axis = Constant <value_ints = [3]> ()
    lowest = Constant <value_float = 0.0> ()
    level_shape = Shape (span)
    step_map = Reshape (step, level_shape)
    {levels_of_groups}
    {_each("size", groups)} = Split <axis = 0, num_outputs = {groups}> (sizes)
    {_each("weights", groups)} = Split <axis = 0> (coefficients, sizes)
    known_0 = {"Shape (channels)" if from_left else "Identity (zero)"}
    {known}
    {_runs(groups, rounding) if from_left else _pixels(groups, rounding)}
}}
"""
    function: ir.Function = ir.from_proto(onnx.parser.parse_function(text))  # type: ignore[assignment]
    return function


def _pixels(groups: int, rounding: str) -> str:
    """Return the nodes from `offset` to `moved` where all pixels are computed at once."""
    return f"""
    rows_of_pixels = Constant <value_ints = [0, 0, -1]> ()
    rows = Reshape (offset, rows_of_pixels)
    values = Gather <axis = 1> (rows, channels)
    {_each("value", groups)} = Split <axis = 1> (values, sizes)
    {rounding}
    moved_in_order = Concat <axis = 1> ({_each("moved", groups)})
    moved_rows = Gather <axis = 1> (moved_in_order, places)
    shape = Shape (offset)
    moved = Reshape (moved_rows, shape)"""


def _runs(groups: int, rounding: str) -> str:
    """Return these nodes where a pixel is moved by the errors of the one to its left."""
    # Without dimensions: ONNX Runtime takes those of one name for equal in all the calls of a function.
    pixel = "float[?, ?, ?] errors_before, float[?, ?, ?] values) => (float[?, ?, ?] errors, float[?, ?, ?] moved_pixel"
    return f"""
    run = Constant <value_ints = [{RUN}]> ()
    before_pads = Constant <value_ints = [0, 0, 0, 0, 0, 0, 0]> ()
    runs_of_pixels = Constant <value_ints = [0, 0, -1, {RUN}]> ()
    width = Shape <start = 3> (offset)
    negative_width = Neg (width)
    missing = Mod (negative_width, run)
    pads = Concat <axis = 0> (before_pads, missing)
    whole_runs = Pad (offset, pads)
    runs = Reshape (whole_runs, runs_of_pixels)
    pixels = Transpose <perm = [3, 0, 1, 2]> (runs)
    pixels_in_order = Gather <axis = 2> (pixels, channels)
    shape_of_pixels = Shape <end = 3> (runs)
    no_errors = ConstantOfShape (shape_of_pixels)
    last_errors, moved_in_order = Scan <num_scan_inputs = 1, body = pixel ({pixel})
    {{
    {_each("value", groups)} = Split <axis = 1> (values, sizes)
    errors_0 = Identity (errors_before)
    {rounding}
    errors = Concat <axis = 1> ({_each("error", groups)})
    moved_pixel = Concat <axis = 1> ({_each("moved", groups)})
    }}> (no_errors, pixels_in_order)
    moved_pixels = Gather <axis = 2> (moved_in_order, places)
    moved_runs = Transpose <perm = [1, 2, 3, 0]> (moved_pixels)
    whole_shape = Shape (whole_runs)
    moved_whole_runs = Reshape (moved_runs, whole_shape)
    moved = Slice (moved_whole_runs, zero, width, last_axis)"""


def _each(name: str, groups: int) -> str:
    return ", ".join(f"{name}_{index}" for index in range(groups))


def _group(index: int, groups: int, companded: bool, from_left: bool) -> str:
    """Move and round one group: from `value_<index>` and the `errors_<index>` before it to `moved_<index>` and all errors.

    What the last group loses is asked for by the pixel to the right alone.
    """
    begins, ends = index == 0 and not from_left, index == groups - 1
    clipped = f"clipped_{index}"
    lines = [
        f"moved_{index} = Identity (value_{index})"
        if begins
        else f"""made_good_{index} = MatMul (coefficients_{index}, errors_{index})
    moved_{index} = Add (value_{index}, made_good_{index})"""
    ]
    if ends and not from_left:
        return lines[0]
    lines.append(f"{clipped} = Min (moved_{index}, span_{index})")
    if companded:
        lines.append(f"snapped_{index} = daq.NearestLevel ({clipped}, step_{index}, origin_{index})")
        clipped = f"snapped_{index}"
    lines += [
        f"reached_{index} = Max ({clipped}, lowest)",
        f"position_{index} = Div (reached_{index}, step_{index})",
        f"code_{index} = Round (position_{index})",
        f"level_{index} = Mul (code_{index}, step_{index})",
        f"error_{index} = Sub (level_{index}, moved_{index})",
    ]
    if not ends:
        joined = f"Identity (error_{index})" if begins else f"Concat <axis = 1> (errors_{index}, error_{index})"
        lines.append(f"errors_{index + 1} = {joined}")
    return "\n    ".join(lines)


__all__ = ["error_feedback_function", "error_feedback_name"]
