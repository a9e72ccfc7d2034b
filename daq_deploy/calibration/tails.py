"""Choose each range's tail by what it does to the network's output.

What clipping costs is not told by the squared error of the feature map: clipped values lie together at edges, add up in the
next convolution, and weigh by where they go. So each feature map is quantized alone, with several tails, and the rest of the
network is run on it: the tail whose output is nearest to float wins. Errors of different layers hardly interact, so that
the best tail of each alone is the best of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.passes.plan import LayerReport

from .calibration import Calibration, quantized_map
from .sensitivity import PICTURES, OutputSensitivity

TAILS = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Tails that are tried: from the paper's clip to min-max."""

SEARCHED_BITS = 7
"""Tails are chosen up to this bit-width; at eight the clip hardly matters."""


def choose_tails(
    graph: ir.Graph, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, calibration: Calibration
) -> dict[ir.Node, LayerReport]:
    """Return the plan with the tail of every layer whose activations are quantized by the `deploy` rule."""
    sensitivity = OutputSensitivity(graph, calibration.images[:PICTURES], calibration.execute)
    chosen = dict(plan)
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node, layer in plan.items():
        feature_map = node.inputs[0]
        if layer.tail is not None and layer.activation_bits <= SEARCHED_BITS and feature_map is not None:
            readers.setdefault(feature_map, []).append(node)
    for index, (feature_map, nodes) in enumerate(readers.items()):
        calibration.progress("Choosing ranges", index / len(readers))

        def error_with(tail: float, nodes: list[ir.Node] = nodes, feature_map: ir.Value = feature_map) -> float:
            values = sensitivity.value(feature_map)
            return sensitivity.output_error(
                {node: {0: quantized_map(values, replace(plan[node], tail=tail), config)} for node in nodes}
            )

        tail = _climb(error_with, plan[nodes[0]].tail or 0.0)
        for node in nodes:
            chosen[node] = replace(plan[node], tail=tail)
    return chosen


def _climb(error_with: Callable[[float], float], start: float) -> float:
    """Return the tail from which neither neighbour in TAILS is better, walking from the one nearest to `start`."""
    errors: dict[int, float] = {}

    def error_at(index: int) -> float:
        if index not in errors:
            errors[index] = error_with(TAILS[index]) if 0 <= index < len(TAILS) else np.inf
        return errors[index]

    at = int(np.argmin(np.abs(np.array(TAILS) - start)))
    while True:
        best = min((at, at + 1, at - 1), key=error_at)
        if best == at:
            return TAILS[at]
        at = best


__all__ = ["SEARCHED_BITS", "TAILS", "choose_tails"]
