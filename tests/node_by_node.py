"""Run a float graph node by node: what faster ways are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from daq_deploy.calibration.lockstep import Executor, constants


def node_by_node(
    graph: ir.Graph,
    image: np.ndarray,
    execute: Executor,
    replaced: Mapping[ir.Node, Mapping[int, np.ndarray]] | None = None,
) -> dict[ir.Value, np.ndarray]:
    """Return every value, where some inputs of some nodes are replaced by others."""
    values = {**constants(graph), graph.inputs[0]: image}
    for node in graph:
        inputs = [None if value is None else values[value] for value in node.inputs]
        for index, array in (replaced or {}).get(node, {}).items():
            inputs += [None] * (index + 1 - len(inputs))
            inputs[index] = array
        values.update(zip(node.outputs, execute(node, inputs), strict=True))
    return values
