"""What a change inside a network does to its output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .linear_end import linear_end
from .lockstep import Array, NodeExecutor, constants

PICTURES = 2
"""How many of a calibration's pictures are run to choose tails and bits: the network is run some times for each layer."""


def by_feature_map(nodes: Iterable[ir.Node]) -> dict[ir.Value, list[ir.Node]]:
    """Return convolutions by the feature map that they read: what is chosen for it is chosen for all of them."""
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        feature_map = node.inputs[0]
        assert feature_map is not None
        readers.setdefault(feature_map, []).append(node)
    return readers


class OutputSensitivity:
    """Runs a network once and keeps every value, to tell what a change inside does to the output.

    Args:
        graph: of one image input.
        image: float32 (N, C, H, W).
        execute: computes a node.
    """

    def __init__(self, graph: ir.Graph, image: npt.NDArray[np.float32], execute: NodeExecutor) -> None:
        self._graph, self._execute = graph, execute
        self._values: dict[ir.Value, Array] = {**constants(graph), graph.inputs[0]: image}
        for node in graph:
            inputs = [self._read(value, self._values) for value in node.inputs]
            self._values.update(zip(node.outputs, execute(node, inputs), strict=True))
        self._linear_end = linear_end(graph, self._values, execute)

    @property
    def graph(self) -> ir.Graph:
        """The float network."""
        return self._graph

    @property
    def execute(self) -> NodeExecutor:
        """What computes a node."""
        return self._execute

    @property
    def values(self) -> Mapping[ir.Value, Array]:
        """Every value of the float network."""
        return self._values

    def value(self, value: ir.Value) -> npt.NDArray[np.float32]:
        """Return a feature map of the float network."""
        return self._values[value].astype(np.float32, copy=False)

    def weights(self, convolution: ir.Node) -> npt.NDArray[np.float32]:
        """Return the weights of a convolution (O, I, kH, kW)."""
        assert convolution.inputs[1] is not None
        return self.value(convolution.inputs[1])

    def output_error(self, replaced: Mapping[ir.Node, Mapping[int, Array]]) -> float:
        """Return the mean squared error of the output where some inputs of some nodes, by index, are replaced.

        That of a change before the network's linear end is told by one convolution, which at the border is not exact.
        Input 0 of a convolution is the feature map that it reads, 1 its weights, 2 its bias, which it need not have had.
        """
        changed: dict[ir.Value, Array] = {}
        end = self._linear_end
        skipped = set() if end is None or not replaced.keys().isdisjoint(end.nodes) else set(end.nodes)
        for node in self._graph:
            if node in skipped:
                continue
            own = replaced.get(node, {})
            if not own and not any(value in changed for value in node.inputs):
                continue
            inputs = [self._read(value, changed) for value in node.inputs]
            for index, array in own.items():
                inputs += [None] * (index + 1 - len(inputs))
                inputs[index] = array
            changed.update(zip(node.outputs, self._execute(node, inputs), strict=True))
        if end is not None and skipped:
            return end.squared_error(self._error(changed, end.start)) if end.start in changed else 0.0
        output = self._graph.outputs[0]
        if output not in changed:
            return 0.0
        return float(np.square(self._error(changed, output), dtype=np.float64).mean())

    def _error(self, changed: Mapping[ir.Value, Array], value: ir.Value) -> npt.NDArray[np.float32]:
        return changed[value].astype(np.float32, copy=False) - self.value(value)

    def _read(self, value: ir.Value | None, changed: Mapping[ir.Value, Array]) -> Array | None:
        if value is None:
            return None
        return changed[value] if value in changed else self._values[value]


__all__ = ["PICTURES", "OutputSensitivity", "by_feature_map"]
