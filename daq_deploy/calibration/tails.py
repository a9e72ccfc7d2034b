"""Choose each range's tail and levels by what they do to the network's output.

What clipping costs is not told by the squared error of the feature map: clipped values lie together at edges, add up in the
next convolution, and weigh by where they go. So each feature map is quantized alone, with several tails, and the rest of the
network is run on it: the tail whose output is nearest to float wins. Errors of different layers hardly interact, so that
the best tail of each alone is the best of all. Companded levels or even ones are taken by their error at the
tail that is usual for them.

Where a smaller tail does as well it is taken: on a picture unlike those of the calibration, feature maps that grow from block
to block are then held back by the clip, and do not need levels that no other picture uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.passes.plan import LayerReport, with_even_levels

from .calibration import Calibration, quantized_map
from .sensitivity import PICTURES, OutputSensitivity, by_feature_map

TAILS = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Tails that are tried: from the paper's clip to min-max."""

TOLERANCE = 0.5
"""A smaller tail is taken where it adds less than this to the output's error, as a fraction of what a map adds on average,"""

INVISIBLE = 4e-5
"""and where all of them together add less than this, as a fraction of the output's variance: some 0.03 dB at 35 dB."""


def choose_tails(
    graph: ir.Graph, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, calibration: Calibration
) -> dict[ir.Node, LayerReport]:
    """Return the plan with the tail of every layer whose activations are quantized by the `deploy` rule."""
    sensitivity = OutputSensitivity(graph, calibration.images[:PICTURES], calibration.execute)
    readers = by_feature_map(node for node, layer in plan.items() if layer.tail is not None)
    searches: list[Search] = []
    for index, (feature_map, nodes) in enumerate(readers.items()):
        calibration.progress("Choosing ranges", index / len(readers))

        def searched(layer: LayerReport, nodes: list[ir.Node] = nodes, feature_map: ir.Value = feature_map) -> Search:
            def error_with(tail: float) -> float:
                values = quantized_map(sensitivity.value(feature_map), replace(layer, tail=tail), config)
                return sensitivity.output_error({node: {0: values} for node in nodes})

            return Search(layer, error_with)

        found = searched(plan[nodes[0]])
        if found.layer.companded:
            even = searched(with_even_levels(found.layer))
            found = min(found, even, key=lambda one: one.first_error)
        searches.append(found)
    variance = float(sensitivity.value(graph.outputs[0]).var(dtype=np.float64))
    errors = sum(search.least_error for search in searches)
    allowed = min(TOLERANCE * errors, INVISIBLE * variance) / max(len(searches), 1)
    chosen = dict(plan)
    for search, nodes in zip(searches, readers.values(), strict=True):
        tail, companded = search.smallest_tail(allowed), search.layer.companded
        for node in nodes:
            chosen[node] = replace(plan[node], tail=tail, companded=companded)
    return chosen


class Search:
    """Walks from the entry of TAILS nearest to the tail of `layer` to one from which neither neighbour is better."""

    def __init__(self, layer: LayerReport, error_with: Callable[[float], float]) -> None:
        self.layer = layer
        self._error_with, self._errors = error_with, dict[int, float]()
        self._start = int(np.argmin(np.abs(np.array(TAILS) - (layer.tail or 0.0))))

    @property
    def first_error(self) -> float:
        """Error at the tail where the walk begins."""
        return self._error_at(self._start)

    @cached_property
    def _best(self) -> int:
        at = self._start
        while (better := min((at, at + 1, at - 1), key=self._error_at)) != at:
            at = better
        return at

    @property
    def least_error(self) -> float:
        """Error at the best tail."""
        return self._error_at(self._best)

    def smallest_tail(self, allowed: float) -> float:
        """Return the tail as far below the best one as the error stays within `allowed` of the least."""
        at = self._best
        while self._error_at(at - 1) < self.least_error + allowed:
            at -= 1
        return TAILS[at]

    def _error_at(self, index: int) -> float:
        if index not in self._errors:
            self._errors[index] = self._error_with(TAILS[index]) if 0 <= index < len(TAILS) else np.inf
        return self._errors[index]


__all__ = ["INVISIBLE", "TAILS", "TOLERANCE", "Search", "choose_tails"]
