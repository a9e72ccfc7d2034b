"""Make the ranges of every DAQ block inputs of the graph, so that all tiles of a picture can be given the same ones.

    lo, step = daq.ChannelRange(X), Sub(X, lo), ...   =>   graph inputs lo, step, and Sub(X, lo), ...

Exact: given the ranges that ChannelRange would find, the graph gives the same output, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from .blocks import DaqBlock, find_dynamic_blocks
from .graph import remove_unused

NewRange = Callable[[DaqBlock, str, ir.Value], ir.Value]
"""Makes the value that stands for `lo`, `step`, `span` or `origin` of a block; the old one is given."""


class ExposeRanges(ir.passes.InPlacePass):
    """Replace the ranges of every block by graph inputs of the same names, in the order of the blocks."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        def as_input(block: DaqBlock, kind: str, old: ir.Value) -> ir.Value:
            shape = ir.Shape([None]) if kind == "step" else ir.Shape([1, None, 1, 1])
            value = ir.Value(name=old.name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
            model.graph.inputs.append(value)
            return value

        return ir.passes.PassResult(model, modified=replace_ranges(model, as_input))


def replace_ranges(model: ir.Model, new_range: NewRange) -> bool:
    """Replace the range of every block, remove what computed them, and say whether there were blocks."""
    blocks = find_dynamic_blocks(model)
    for block in blocks:
        for kind, old in range_values(block).items():
            new = new_range(block, kind, old)
            ir.convenience.replace_all_uses_with(old, new)
            old.name = None  # its producer goes; two values may not share the name until then
    if blocks:
        remove_unused(model)
    return bool(blocks)


def range_values(block: DaqBlock) -> dict[str, ir.Value]:
    """Return the values of a block's range by kind: `lo`, `step`, and where there are such `span` and `origin`."""
    values = {"lo": block.lo, "step": block.step, "span": block.span, "origin": block.origin}
    return {kind: value for kind, value in values.items() if value is not None}


__all__ = ["ExposeRanges", "range_values", "replace_ranges"]
