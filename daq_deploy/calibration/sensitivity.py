"""What a change inside a network does to its output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .downstream import Downstream, Replaced, downstream
from .linear_end import linear_end
from .lockstep import Array, Executor, constants

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
        execute: computes nodes.
    """

    def __init__(self, graph: ir.Graph, image: npt.NDArray[np.float32], execute: Executor) -> None:
        self._graph, self._execute = graph, execute
        self._values: dict[ir.Value, Array] = {**constants(graph), graph.inputs[0]: image}
        for node in graph:
            inputs = [None if value is None else self._values[value] for value in node.inputs]
            self._values.update(zip(node.outputs, execute(node, inputs), strict=True))
        self._linear_end = linear_end(graph, self._values, execute)
        self._at: tuple[frozenset[tuple[ir.Node, int]], ir.Value] | None = None
        self._downstream: Downstream | None = None

    @property
    def graph(self) -> ir.Graph:
        """The float network."""
        return self._graph

    @property
    def execute(self) -> Executor:
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

    def output_error(self, replaced: Replaced) -> float:
        """Return the mean squared error of the output where some inputs of some nodes are replaced.

        That of a change before the network's linear end is told by one convolution, which at the border is not exact.
        Input 0 of a convolution is the feature map that it reads, 1 its weights, 2 its bias.
        """
        end = self._linear_end
        if end is not None and replaced.keys().isdisjoint(end.nodes):
            changed = self._changed(replaced, end.start)
            return 0.0 if changed is None else end.squared_error(self._error(changed, end.start))
        output = self._graph.outputs[0]
        changed = self._changed(replaced, output)
        return 0.0 if changed is None else float(np.square(self._error(changed, output), dtype=np.float64).mean())

    def _changed(self, replaced: Replaced, target: ir.Value) -> Array | None:
        """Return a value where inputs are replaced, None where they do not reach it."""
        places = frozenset((node, index) for node, arrays in replaced.items() for index in arrays)
        if (places, target) != self._at:
            # One is kept: the same inputs are replaced several times in a row.
            self._downstream = downstream(self._graph, self._values, self._execute, replaced, target)
            self._at = places, target
        return None if self._downstream is None else self._downstream(replaced)

    def _error(self, changed: Array, value: ir.Value) -> npt.NDArray[np.float32]:
        return changed.astype(np.float32, copy=False) - self.value(value)


__all__ = ["PICTURES", "OutputSensitivity", "by_feature_map"]
