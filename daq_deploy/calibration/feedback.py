"""Find where error feedback is worth its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.numerics import TINY, ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.passes.plan import LayerReport

from .adjoint import output_gradients
from .calibration import Progress, quantized_map
from .felt_errors import FeltErrors, feedback_of, what_is_left
from .sensitivity import OutputSensitivity, by_feature_map

BITS = 8
"""Feature maps of so many bits are left alone: what they lose is not seen."""

FEW_BITS = 3
"""Up to so many bits errors are large: feedback is worth more time, and suits other tails and levels than rounding to the
nearest."""

DRAWS = 2
"""Draws of signs at the output."""

SLOWNESS = 5.0
"""How many multiplications of a quantized convolution take the time of one of feedback."""

WORTH, WORTH_OF_FEW_BITS = 2.0, 1.0
"""Feedback is given to one map after the other as long as it takes off so many times a larger fraction of what is left of all
maps' error than it adds to the network's time; the second where there are few bits."""


def choose_feedback(
    sensitivity: OutputSensitivity, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, progress: Progress
) -> tuple[dict[ir.Node, LayerReport], dict[ir.Node, FeltErrors]]:
    """Return the plan with error feedback where it is worth its time, and how errors of what these nodes read are felt."""
    progress("Choosing error feedback", 0.0)
    readers = by_feature_map(
        node for node, layer in plan.items() if layer.tail is not None and layer.activation_bits < BITS
    )
    graph = sensitivity.graph
    all_readers = [node for nodes in readers.values() for node in nodes]
    draws = [
        output_gradients(graph, sensitivity.values, sensitivity.execute, all_readers, seed)
        for seed in range(DRAWS if all_readers else 0)
    ]
    multiplications = sum(_multiplications(sensitivity, node) for node in plan)
    candidates: list[_Candidate] = []
    errors: Float64Array = np.zeros(len(sensitivity.value(graph.inputs[0])))
    for feature_map, nodes in readers.items():
        felt_by = [node for node in nodes if node in draws[0]]
        if not felt_by:
            continue
        values, layer = sensitivity.value(feature_map), plan[nodes[0]]
        channels = values.shape[1]
        felt = FeltErrors(
            nodes,
            [{node: draw[node] for node in felt_by} for draw in draws],
            {node: sensitivity.weights(node) for node in nodes},
            values.shape,
            np.sqrt(values.var(axis=(0, 2, 3), dtype=np.float64)),
            sensitivity.execute,
        )
        cost = felt.cost({})
        error = (quantized_map(values, layer, config) - values).reshape(*values.shape[:2], -1).astype(np.float64)
        before = np.sum(error * (cost[:channels, :channels] @ error), axis=(1, 2))
        errors += before
        for from_left, share in ((False, 0.5), (True, 1.5)) if channels > GROUP else ():
            felt = replace(felt, from_left=from_left)
            feedback = feedback_of(cost, felt.spread, from_left)
            after = np.square(error).sum(axis=2) @ what_is_left(cost, feedback)
            time = SLOWNESS * share * channels * values.size / multiplications
            least_worth = WORTH_OF_FEW_BITS if layer.activation_bits <= FEW_BITS else WORTH
            candidates.append(_Candidate(felt, feedback, before - after, time, least_worth))
    chosen, felt_errors = dict(plan), dict[ir.Node, FeltErrors]()
    for candidate in _worthwhile(candidates, errors):
        for node in candidate.felt.readers:
            chosen[node] = replace(plan[node], error_feedback=True, feedback=candidate.feedback)
            felt_errors[node] = candidate.felt
    return chosen, felt_errors


@dataclass(frozen=True, eq=False)
class _Candidate:
    felt: FeltErrors
    feedback: ErrorFeedback
    saved: Float64Array
    """What it takes off the output's error on each picture."""
    time: float
    """What it adds to the network's time, as a fraction."""
    least_worth: float


def _worthwhile(candidates: Sequence[_Candidate], errors: Float64Array) -> list[_Candidate]:
    """Return at most one candidate for each map, given the errors of all maps on each picture."""
    taken: dict[ir.Node, _Candidate] = {}

    def worth(candidate: _Candidate) -> float:
        """Share of the error over share of the time, of what the candidate does beyond what its map has."""
        left = errors - np.sum([other.saved for other in taken.values()], axis=0)
        saved, time = candidate.saved, candidate.time
        if (before := taken.get(candidate.felt.readers[0])) is not None:
            saved, time = saved - before.saved, time - before.time
        # Of each picture by itself: on one that makes maps explode all errors are larger.
        return float(np.mean(saved / (left + TINY))) / time if time > 0 else 0.0

    while worthwhile := [candidate for candidate in candidates if worth(candidate) > candidate.least_worth]:
        best = max(worthwhile, key=worth)
        taken[best.felt.readers[0]] = best
    return list(taken.values())


def _multiplications(sensitivity: OutputSensitivity, node: ir.Node) -> float:
    """Return how many multiplications a convolution takes for the pictures."""
    return float(sensitivity.weights(node)[0].size * sensitivity.value(node.outputs[0]).size)


__all__ = ["BITS", "DRAWS", "FEW_BITS", "SLOWNESS", "WORTH", "WORTH_OF_FEW_BITS", "choose_feedback"]
