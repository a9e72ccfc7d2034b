"""Bake ranges into the graph: static quantization, for runtimes that take no scales computed at run time.

lo, step = daq.ChannelRange(X), Sub(X, lo), ...   =>   initializers lo, step, and Sub(X, lo), ...
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .blocks import DaqBlock
from .expose_ranges import replace_ranges
from .graph import add_array


class FreezeRanges(ir.passes.InPlacePass):
    """Replace the ranges of every block by constants.

    Args:
        ranges: of each range value of each block, by its name: step (C,), the others (1, C, 1, 1), float32.
    """

    def __init__(self, ranges: Mapping[str, npt.NDArray[np.float32]]) -> None:
        super().__init__()
        self._ranges = ranges

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        def as_constant(block: DaqBlock, kind: str, old: ir.Value) -> ir.Value:
            assert old.name is not None
            return add_array(model.graph, old.name, self._ranges[old.name])

        return ir.passes.PassResult(model, modified=replace_ranges(model, as_constant))


__all__ = ["FreezeRanges"]
