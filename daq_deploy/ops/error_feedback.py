"""`daq.ErrorFeedback<G>(offset, step, span, coefficients, channels, places, sizes) -> moved`: feedback among G groups.

offset is X - lo, (N, C, H, W), step (N * C,) and span (N, C, 1, 1) what `daq.MixedChannelRange` gives. Channels are rounded
in the order `channels` (C,), in groups of `sizes` (G,): those of a group are moved by the errors of the groups before
it, weighted by coefficients (C, C), whose rows and columns have the order of rounding. What comes out, in the order of
the map again (`places`, the inverse of `channels`), is to be quantized in place of offset.

`daq.CompandedErrorFeedback<G>(offset, step, span, origin, ...)` is the same for companded levels, of which
`daq.CompandedRange` gives the origin (N, C, 1, 1). The numbers are those of daq_deploy/numerics/error_feedback.py.
"""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir


def error_feedback_name(groups: int, companded: bool) -> str:
    """Return the name of the function for so many groups."""
    return f"{'Companded' if companded else ''}ErrorFeedback{groups}"


def error_feedback_function(groups: int, companded: bool, opset: int) -> ir.Function:
    """Build the function for so many groups, 2 or more, and the model's opset, which it must share."""
    levels = "offset, step, span, origin" if companded else "offset, step, span"
    sources = {"offset": "offset", "span": "span", "step": "step_map"} | ({"origin": "origin"} if companded else {})
    gathered = [
        f"{name}_rows = Reshape ({source}, rows_of_pixels)\n    {name}_in_order = Gather <axis = 1> ({name}_rows, channels)"
        for name, source in sources.items()
    ]
    parts = [_split(name, f"{name}_in_order", groups) for name in sources]
    splits = "\n    ".join([*gathered, *parts, _split("weights", "coefficients", groups, axis=0)])
    rounding = "\n    ".join(_group(index, groups, companded) for index in range(groups))
    moved = ", ".join(f"moved_{index}" for index in range(groups))
    text = f"""
<opset_import: ["" : {opset}, "daq" : 1], domain: "daq">
{error_feedback_name(groups, companded)} ({levels}, coefficients, channels, places, sizes) => (moved)
{{
    rows_of_pixels = Constant <value_ints = [0, 0, -1]> ()
    map_shape = Shape (offset)
    level_shape = Shape (span)
    step_map = Reshape (step, level_shape)
    zero = Constant <value_float = 0.0> ()
    columns = Constant <value_ints = [1]> ()
    first_column = Constant <value_ints = [0]> ()
    flat = Constant <value_ints = [-1]> ()
    {splits}
    {rounding}
    moved_in_order = Concat <axis = 1> ({moved})
    moved_rows = Gather <axis = 1> (moved_in_order, places)
    moved = Reshape (moved_rows, map_shape)
}}
"""
    function: ir.Function = ir.from_proto(onnx.parser.parse_function(text))  # type: ignore[assignment]
    return function


def _split(name: str, value: str, groups: int, axis: int = 1) -> str:
    """Cut a value into `<name>_0`, `<name>_1` and so on."""
    return f"{', '.join(f'{name}_{index}' for index in range(groups))} = Split <axis = {axis}> ({value}, sizes)"


def _group(index: int, groups: int, companded: bool) -> str:
    """Move and round one group: from `offset_<index>` to `moved_<index>` and, unless it is the last, `errors_<index>`."""
    lines = [f"moved_{index} = Identity (offset_{index})"]
    if index > 0:
        lines = [
            f"end_{index} = Shape <start = 1, end = 2> (errors_{index - 1})",
            f"coefficients_{index} = Slice (weights_{index}, first_column, end_{index}, columns)",
            f"made_good_{index} = MatMul (coefficients_{index}, errors_{index - 1})",
            f"moved_{index} = Add (offset_{index}, made_good_{index})",
        ]
    if index == groups - 1:
        return "\n    ".join(lines)
    clipped = f"clipped_{index}"
    lines.append(f"{clipped} = Min (moved_{index}, span_{index})")
    if companded:
        lines.append(f"flat_step_{index} = Reshape (step_{index}, flat)")
        lines.append(f"snapped_{index} = daq.NearestLevel ({clipped}, flat_step_{index}, origin_{index})")
        clipped = f"snapped_{index}"
    lines += [
        f"reached_{index} = Max ({clipped}, zero)",
        f"position_{index} = Div (reached_{index}, step_{index})",
        f"code_{index} = Round (position_{index})",
        f"level_{index} = Mul (code_{index}, step_{index})",
        f"error_{index} = Sub (level_{index}, moved_{index})",
    ]
    before = f"errors_{index - 1}, " if index > 0 else ""
    lines.append(f"errors_{index} = Concat <axis = 1> ({before}error_{index})")
    return "\n    ".join(lines)


__all__ = ["error_feedback_function", "error_feedback_name"]
