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
from daq_deploy.numerics import ChannelStatistics
from daq_deploy.passes.plan import LayerReport, with_even_levels

from .calibration import Progress, quantized_map
from .feedback import FEW_BITS
from .sensitivity import OutputSensitivity, by_feature_map

TAILS = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Tails that are tried: from the paper's clip to min-max."""

TOLERANCE = 0.5
"""A smaller tail is taken where it adds less than this to the output's error, as a fraction of what a map adds on average,"""

INVISIBLE = 4e-5
"""and where all of them together add less than this, as a fraction of the output's variance: some 0.03 dB at 35 dB."""


def choose_tails(
    sensitivity: OutputSensitivity, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, progress: Progress
) -> dict[ir.Node, LayerReport]:
    """Return the plan with the tail of every layer whose activations are quantized by the `deploy` rule."""
    readers = by_feature_map(node for node, layer in plan.items() if layer.tail is not None)
    searches: list[tuple[Mapping[ir.Node, LayerReport], Search]] = []
    for index, (feature_map, nodes) in enumerate(readers.items()):
        progress("Choosing ranges", index / len(readers))
        searches.append(_search(sensitivity, feature_map, {node: plan[node] for node in nodes}, config))
    variance = float(sensitivity.value(sensitivity.graph.outputs[0]).var(dtype=np.float64))
    errors = sum(found.least_error for _, found in searches)
    allowed = min(TOLERANCE * errors, INVISIBLE * variance) / max(len(searches), 1)
    chosen = dict(plan)
    for layers, found in searches:
        tail = found.smallest_tail(allowed)
        chosen.update({node: replace(layer, tail=tail) for node, layer in layers.items()})
    return chosen


def choose_tails_with_feedback(
    sensitivity: OutputSensitivity,
    usual: Mapping[ir.Node, LayerReport],
    plan: Mapping[ir.Node, LayerReport],
    config: DaqConfig,
    progress: Progress,
) -> dict[ir.Node, LayerReport]:
    """Return the plan with tails and levels of few bits chosen once more where there is error feedback, with it in place.

    `usual` is the plan before any choice: what this search begins with, too.
    """
    fed_back = {
        node: replace(usual[node], error_feedback=True, feedback=layer.feedback)
        for node, layer in plan.items()
        if layer.error_feedback and layer.activation_bits <= FEW_BITS
    }
    return {**plan, **choose_tails(sensitivity, fed_back, config, progress)}


def _search(
    sensitivity: OutputSensitivity, feature_map: ir.Value, layers: Mapping[ir.Node, LayerReport], config: DaqConfig
) -> tuple[Mapping[ir.Node, LayerReport], Search]:
    """Return the layers that read a feature map, with the levels that suit it, and the search of their tail."""
    values = sensitivity.value(feature_map)
    statistics = ChannelStatistics.of(values)

    def search(layers: Mapping[ir.Node, LayerReport]) -> tuple[Mapping[ir.Node, LayerReport], Search]:
        def error_with(tail: float) -> float:
            return sensitivity.output_error(
                {
                    node: {0: quantized_map(values, replace(of, tail=tail), config, statistics)}
                    for node, of in layers.items()
                }
            )

        return layers, Search(error_with, next(iter(layers.values())).tail or 0.0)

    candidates = [search(layers)]
    if any(layer.companded for layer in layers.values()):
        candidates.append(search({node: with_even_levels(layer) for node, layer in layers.items()}))
    return min(candidates, key=lambda candidate: candidate[1].first_error)


class Search:
    """Walks from the entry of TAILS nearest to `start` to one from which neither neighbour is better."""

    def __init__(self, error_with: Callable[[float], float], start: float) -> None:
        self._error_with, self._errors = error_with, dict[int, float]()
        self._start = int(np.argmin(np.abs(np.array(TAILS) - start)))

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


__all__ = ["INVISIBLE", "TAILS", "TOLERANCE", "Search", "choose_tails", "choose_tails_with_feedback"]
