"""Find what errors of a feature map's channels ask of the channels after them, and where that is worth its time.

What an error e of the channels of a pixel costs at the output is e' M e, with M = J' J in the mean over pixels (adjoint.py).
Once the channels r are left and the others have the error e, the best that those left can do is to move by
-inverse(M_rr) M_r e. Groups are rounded in the order in which most is made good: the last one, for which
no channel is left, is the one whose error costs least, the one before it that which costs least given the last, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.numerics import TINY, ChannelStatistics, ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.passes.plan import LayerReport

from .adjoint import output_gradients
from .calibration import Progress, quantized_map
from .sensitivity import OutputSensitivity, by_feature_map

BITS = 8
"""Feature maps of so many bits are left alone: what they lose is not seen."""

DRAWS = 2
"""Draws of signs at the output."""

RIDGE = 0.01
"""Pull of the coefficients towards zero, as a fraction of the mean cost of an error as large as the channel's spread."""

SLOWNESS = 8.0
"""How many multiplications of a quantized convolution take the time of one of feedback: it is given to maps where it takes
off a larger fraction of all maps' error than it adds to the network's time."""


def choose_feedback(
    sensitivity: OutputSensitivity, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, progress: Progress
) -> dict[ir.Node, LayerReport]:
    """Return the plan with error feedback where it is worth its time."""
    progress("Choosing error feedback", 0.0)
    readers = by_feature_map(
        node for node, layer in plan.items() if layer.tail is not None and layer.activation_bits < BITS
    )
    if not readers:
        return dict(plan)
    graph = sensitivity.graph
    all_readers = [node for nodes in readers.values() for node in nodes]
    draws = [
        output_gradients(graph, sensitivity.values, sensitivity.execute, all_readers, seed) for seed in range(DRAWS)
    ]
    multiplications = sum(_multiplications(sensitivity, node) for node in plan)
    chosen = dict(plan)
    candidates: list[_Candidate] = []
    errors: Float64Array = np.zeros(len(sensitivity.value(graph.inputs[0])))
    for feature_map, nodes in readers.items():
        felt = [[draw[node] for node in nodes if node in draw] for draw in draws]
        if not felt[0]:
            continue
        cost = np.sum([_second_moment(np.sum(gradients, axis=0)) for gradients in felt], axis=0)
        values, layer = sensitivity.value(feature_map), plan[nodes[0]]
        statistics = ChannelStatistics.of(values)
        before = _cost_of(quantized_map(values, layer, config, statistics) - values, cost)
        errors += before
        if values.shape[1] <= GROUP:
            continue
        feedback = feedback_of(cost, np.sqrt(values.var(axis=(0, 2, 3), dtype=np.float64)))
        after = _cost_of(quantized_map(values, replace(layer, feedback=feedback), config, statistics) - values, cost)
        added = values.shape[1] * values.size / 2 / multiplications
        candidates.append(_Candidate(nodes, feedback, before - after, added))
    for candidate in candidates:
        # Of each picture by itself: on one that makes maps explode all errors are larger.
        if np.mean(candidate.saved / (errors + TINY)) > candidate.added * SLOWNESS:
            for node in candidate.nodes:
                chosen[node] = replace(plan[node], error_feedback=True, feedback=candidate.feedback)
    return chosen


@dataclass(frozen=True)
class _Candidate:
    nodes: Sequence[ir.Node]
    """Those that read a map."""
    feedback: ErrorFeedback
    saved: Float64Array
    """What it takes off the output's error on each picture."""
    added: float
    """What it adds to the network's multiplications, as a fraction of them."""


def _cost_of(error: npt.NDArray[np.float32], cost: Float64Array) -> Float64Array:
    """Return what errors of a feature map (N, C, H, W) cost on each picture (N,)."""
    rows = error.reshape(*error.shape[:2], -1).astype(np.float64)
    return np.asarray(np.sum(rows * (cost @ rows), axis=(1, 2)), dtype=np.float64)


def feedback_of(cost: Float64Array, spread: Float64Array) -> ErrorFeedback:
    """Return the feedback that makes errors cost least.

    Args:
        cost: M, what errors of channels and pairs of channels cost (C, C).
        spread: of each channel (C,): errors are thought to be in proportion.
    """
    channels = len(cost)
    measure: Float64Array = np.maximum(spread, 1e-6 * float(spread.max()) + TINY)
    unpulled = cost * np.outer(measure, measure)
    weighted = unpulled + (RIDGE * float(np.diagonal(unpulled).mean()) + TINY) * np.eye(channels)
    groups = [np.arange(first, min(first + GROUP, channels)) for first in range(0, channels, GROUP)]
    coefficients: Float64Array = np.zeros((channels, channels))
    order: list[int] = []
    later = np.array([], dtype=np.int64)
    while len(order) < len(groups):
        left = {group: own for group, own in enumerate(groups) if group not in order}
        made_good = {group: _made_good(weighted, own, later) for group, own in left.items()}
        remaining = {
            group: float(np.trace(weighted[np.ix_(own, own)] + weighted[np.ix_(own, later)] @ made_good[group]))
            for group, own in left.items()
        }
        last = min(remaining, key=remaining.__getitem__)
        coefficients[np.ix_(later, groups[last])] = made_good[last]
        order.insert(0, last)
        later = np.concatenate([groups[last], later])
    largest = float(np.finfo(np.float16).max)
    scaled = np.clip(coefficients * np.outer(measure, 1 / measure), -largest, largest)
    return ErrorFeedback(tuple(order), scaled.astype(np.float16))


def _made_good(weighted: Float64Array, own: npt.NDArray[np.int64], later: npt.NDArray[np.int64]) -> Float64Array:
    """Return how channels `later` are best moved by errors of channels `own` (later, own)."""
    answer = np.linalg.solve(weighted[np.ix_(later, later)], weighted[np.ix_(later, own)])
    return np.asarray(-answer, dtype=np.float64)


def _second_moment(gradient: npt.NDArray[np.float32]) -> Float64Array:
    rows = gradient.transpose(1, 0, 2, 3).reshape(gradient.shape[1], -1)
    moment: Float64Array = (rows @ rows.T).astype(np.float64) / rows.shape[1]
    return moment


def _multiplications(sensitivity: OutputSensitivity, node: ir.Node) -> float:
    """Return how many multiplications a convolution takes for the pictures."""
    assert node.inputs[1] is not None
    weight, output = sensitivity.value(node.inputs[1]), sensitivity.value(node.outputs[0])
    return float(weight[0].size * output.size)


__all__ = ["BITS", "DRAWS", "RIDGE", "SLOWNESS", "choose_feedback", "feedback_of"]
