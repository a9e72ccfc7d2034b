"""Concat, Split and Slice of channels: convolutions read the channels where they are, and nothing is copied."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from daq_deploy.passes.graph import constant_array

from .shapes import Shapes


class ChannelSlice(NamedTuple):
    """Some channels of a value."""

    value: ir.Value
    first: int
    number: int


def channel_slices(node: ir.Node, shapes: Shapes) -> dict[ir.Value, list[ChannelSlice]]:
    """Return of which channels each output of a Concat, Split or Slice of channels is made; nothing for other nodes."""
    if node.domain != "" or node.op_type not in ("Concat", "Split", "Slice"):
        return {}
    if any(
        len(shapes.get(value.name or "", ())) != 4 for value in (node.inputs[0], *node.outputs) if value is not None
    ):
        return {}
    if node.op_type == "Concat":
        values = [value for value in node.inputs if value is not None]
        if node.attributes["axis"].as_int() % 4 != 1 or any(value.name not in shapes for value in values):
            return {}
        return {node.outputs[0]: [ChannelSlice(value, 0, shapes[str(value.name)][1]) for value in values]}
    source, starts = node.inputs[0], _first_channels(node, shapes)
    if source is None or starts is None:
        return {}
    return {
        value: [ChannelSlice(source, start, shapes[str(value.name)][1])]
        for value, start in zip(node.outputs, starts, strict=True)
    }


def _first_channels(node: ir.Node, shapes: Shapes) -> list[int] | None:
    """Return the first channel of each output of a Split or Slice, None where it is of something else."""
    if node.op_type == "Split":
        if node.attributes.get_int("axis", 0) % 4 != 1:
            return None
        sizes = [shapes[str(value.name)][1] for value in node.outputs]
        return [sum(sizes[:index]) for index in range(len(sizes))]
    lists = [constant_array(value) for value in node.inputs[1:]]
    if len(lists) < 3 or any(numbers is None or numbers.size != 1 for numbers in lists):
        return None
    start, _, axis, step = (*(int(numbers.item()) for numbers in lists if numbers is not None), 1)[:4]
    total = shapes[str(node.inputs[0].name)][1] if node.inputs[0] is not None else 0
    return [min(start % total if start < 0 else start, total)] if axis % 4 == 1 and step == 1 else None


__all__ = ["ChannelSlice", "channel_slices"]
