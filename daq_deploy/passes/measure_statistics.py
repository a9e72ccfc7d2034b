"""Turn a network into one that tells the five statistics of the feature maps it quantizes, over a window of the picture.

    X   =>   count, positives, mean, variance, minimum, maximum of X[:, :, top:bottom, left:right]

The window is a further input, in pixels of the picture; a map of another size than the picture has it scaled. Windows that
do not overlap have statistics that add up to those of what they cover together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .blocks import DaqBlock, find_dynamic_blocks
from .graph import add_array, remove_unused

WINDOW = "daq.window"
"""Name of the input: int64 (4,), top, left, bottom, right in pixels of the picture that is run."""


class MeasureStatistics(ir.passes.InPlacePass):
    """Make each block's statistics outputs: count, int64 (1,), and (5, 1, C, 1, 1) of the other five, float32.

    The first output is the last map that is measured; what is computed after it is removed. Sums run along one side and
    then the other, as those of ChannelRange do, so that float32 is enough.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        blocks = find_dynamic_blocks(model)
        if not blocks:
            return ir.passes.PassResult(model, modified=False)
        graph = model.graph
        graph.outputs.clear()
        last = blocks[-1].feature_map
        last.type, last.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None] * 4)
        graph.outputs.append(last)
        window = ir.Value(name=WINDOW, shape=ir.Shape([4]), type=ir.TensorType(ir.DataType.INT64))
        graph.inputs.append(window)
        builder = _Builder(graph)
        size = builder.add("Shape", [graph.inputs[0]], start=2, end=4)
        start = builder.add("Slice", [window, builder.integers(0), builder.integers(2)])
        end = builder.add("Slice", [window, builder.integers(2), builder.integers(4)])
        for block in blocks:
            builder.measure(block, size, start, end)
        remove_unused(model)
        return ir.passes.PassResult(model, modified=True)


class _Builder:
    """Appends nodes to the end of a graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._number = 0
        self._constants: dict[tuple[int, ...], ir.Value] = {}
        self._zero = add_array(graph, "daq.zero", np.array(0, np.float32))

    def integers(self, *numbers: int) -> ir.Value:
        if numbers not in self._constants:
            name = "daq." + "_".join(["integers", *map(str, numbers)])
            self._constants[numbers] = add_array(self._graph, name, np.array(numbers, np.int64))
        return self._constants[numbers]

    def add(self, kind: str, inputs: Sequence[ir.Value], **attributes: int | Sequence[int]) -> ir.Value:
        node = ir.node(kind, inputs, attributes=attributes)
        node.outputs[0].name = node.name = f"daq.statistics.{self._number}"
        self._number += 1
        self._graph.append(node)
        return node.outputs[0]

    def measure(self, block: DaqBlock, size: ir.Value, start: ir.Value, end: ir.Value) -> None:
        """Append the statistics of a block's feature map over the window, at least one value of it."""
        one = self.integers(1)
        own_size = self.add("Shape", [block.feature_map], start=2, end=4)
        scaled = self.add("Div", [self.add("Mul", [start, own_size]), size])
        first = self.add("Min", [scaled, self.add("Sub", [own_size, one])])
        last = self.add(
            "Max", [self.add("Div", [self.add("Mul", [end, own_size]), size]), self.add("Add", [first, one])]
        )
        inner = self.add("Slice", [block.feature_map, first, last, self.integers(2, 3)])
        count = self.add("ReduceProd", [self.add("Sub", [last, first])], keepdims=1)
        positive = self.add("Cast", [self.add("Greater", [inner, self._zero])], to=int(ir.DataType.FLOAT))
        mean = self._reduce("ReduceMean", inner)
        centred = self.add("Sub", [inner, mean])
        figures = [
            self._reduce("ReduceSum", positive),
            mean,
            self._reduce("ReduceMean", self.add("Mul", [centred, centred])),
            self._reduce("ReduceMin", inner),
            self._reduce("ReduceMax", inner),
        ]
        together = self.add("Concat", [self.add("Unsqueeze", [figure, self.integers(0)]) for figure in figures], axis=0)
        count.type, count.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([1])
        together.type, together.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([5, 1, None, 1, 1])
        self._graph.outputs.extend([count, together])

    def _reduce(self, kind: str, value: ir.Value) -> ir.Value:
        return self.add(kind, [self.add(kind, [value, self.integers(3)]), self.integers(2)])


__all__ = ["WINDOW", "MeasureStatistics"]
