"""Run a graph node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.graph import constant_array

Array = npt.NDArray[np.generic]

IR_VERSION = 10
"""Of models that are opened: ONNX Runtime knows it from 1.18 on."""


class Executor(Protocol):
    """Computes nodes, one by itself or all of a model's."""

    def __call__(self, node: ir.Node, inputs: Sequence[Array | None]) -> Sequence[Array]:
        """Return a node's outputs from its inputs; None stands for an input that is left out."""

    def open(self, model: ir.Model) -> Callable[[Mapping[str, Array]], Sequence[Array]]:
        """Return what computes a model's outputs from its inputs by name, as often as asked."""


class Stream:
    """The values of one run of a graph; those that no node will read again are let go."""

    def __init__(self, graph: ir.Graph, image: npt.NDArray[np.float32], execute: Executor) -> None:
        self._execute = execute
        self._values: dict[ir.Value, Array] = {**constants(graph), graph.inputs[0]: image}
        self._reads = Counter(value for node in graph for value in node.inputs if value is not None)

    def read(self, value: ir.Value | None) -> Array | None:
        """Return a value computed before, or a constant."""
        return None if value is None else self._values[value]

    def run(self, node: ir.Node, replaced: dict[int, Array] | None = None) -> None:
        """Compute a node, some of whose inputs are replaced by others."""
        inputs = [self.read(value) for value in node.inputs]
        for index, array in (replaced or {}).items():
            inputs += [None] * (index + 1 - len(inputs))
            inputs[index] = array
        self.give(node, self._execute(node, inputs))

    def give(self, node: ir.Node, outputs: Sequence[Array]) -> None:
        """Take a node's outputs as they are computed elsewhere."""
        self._values.update(zip(node.outputs, outputs, strict=True))
        for value in node.inputs:
            if value is not None:
                self._reads[value] -= 1
                if self._reads[value] == 0 and not value.is_graph_output():
                    del self._values[value]


def constants(graph: ir.Graph) -> dict[ir.Value, Array]:
    """Return the arrays of a graph's initializers."""
    arrays = {value: constant_array(value) for value in graph.initializers.values()}
    return {value: array for value, array in arrays.items() if array is not None}


__all__ = ["IR_VERSION", "Array", "Executor", "Stream", "constants"]
