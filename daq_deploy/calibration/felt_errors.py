"""What errors of a feature map's channels ask of the values after them.

What an error e of the channels of two neighbouring pixels costs at the output is e' M e, with M = J' J in the mean over
pixels (adjoint.py). Once the channels r are left and the others have the error e, the best that those left can do is to move
by -inverse(M_rr) M_r e. The channels of the right neighbour are always left. Groups are rounded in the order in which most is
made good: the last one, for which no channel of its own pixel is left, is the one whose error costs least, the one before it
that which costs least given the last, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.numerics import TINY, ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.numerics.statistics import Float64Array

from .adjoint import Float32Array, convolved_back
from .lockstep import Executor

RIDGE = 0.01
"""Pull of the coefficients towards zero, as a fraction of the mean cost of an error as large as the channel's spread."""


@dataclass(frozen=True)
class FeltErrors:
    """How the output feels errors of a feature map, by way of the convolutions that read it."""

    readers: Sequence[ir.Node]
    draws: Sequence[Mapping[ir.Node, Float32Array]]
    """Gradients at what readers give, for each draw of signs at the output; those of which none is known are left out."""
    weights: Mapping[ir.Node, npt.NDArray[np.float32]]
    """Float weights of the readers."""
    shape: tuple[int, ...]
    """Of the feature map."""
    spread: Float64Array
    """Of each channel (C,)."""
    execute: Executor
    from_left: bool = True
    """Whether a pixel is moved by the errors of the one to its left, too."""

    def cost(self, rounded: Mapping[ir.Node, npt.NDArray[np.float32]]) -> Float64Array:
        """Return M (2 C, 2 C), what errors of a pixel and its right neighbour cost, where some weights are rounded."""
        weights = {**self.weights, **rounded}
        moments = []
        for draw in self.draws:
            gradients = [
                convolved_back(node, self.shape, weights[node], given, self.execute) for node, given in draw.items()
            ]
            moments.append(_moment_of_neighbours(np.sum(gradients, axis=0)))
        return np.asarray(np.sum(moments, axis=0), dtype=np.float64)

    def feedback(self, rounded: Mapping[ir.Node, npt.NDArray[np.float32]]) -> ErrorFeedback:
        """Return the feedback that suits weights of which some are rounded: what these make of errors is what is felt."""
        return feedback_of(self.cost(rounded), self.spread, self.from_left)


def feedback_of(cost: Float64Array, spread: Float64Array, from_left: bool) -> ErrorFeedback:
    """Return the feedback that makes errors cost least.

    Args:
        cost: M, what errors of channels and pairs of channels cost, (2 C, 2 C): those of a pixel and of its right neighbour.
        spread: of each channel (C,): errors are thought to be in proportion.
        from_left: whether the right neighbour is moved, too.
    """
    channels = len(spread)
    measure: Float64Array = np.maximum(spread, 1e-6 * float(spread.max()) + TINY)
    of_both = np.tile(measure, 2)
    unpulled = cost * np.outer(of_both, of_both)
    weighted = unpulled + (RIDGE * float(np.diagonal(unpulled).mean()) + TINY) * np.eye(2 * channels)
    groups = [np.arange(first, min(first + GROUP, channels)) for first in range(0, channels, GROUP)]
    later = np.arange(channels, 2 * channels if from_left else channels)
    order = _order_of_rounding(weighted, groups, later)
    # What is rounded later comes first: a group is moved by none of those before it here.
    backwards = np.concatenate([later, *(groups[group] for group in reversed(order))])
    factor = np.linalg.cholesky(weighted[np.ix_(backwards, backwards)])
    inverse = np.linalg.inv(factor)
    made_good: Float64Array = np.zeros((2 * channels, channels))
    end = len(later)
    for group in reversed(order):
        own = slice(end, end + len(groups[group]))
        made_good[np.ix_(backwards[:end], groups[group])] = -inverse[:end, :end].T @ factor[own, :end].T
        end = own.stop
    largest = float(np.finfo(np.float16).max)
    scaled = np.clip(made_good * np.outer(of_both, 1 / measure), -largest, largest)
    own_pixel, right_neighbour = np.split(scaled, 2)
    return ErrorFeedback(tuple(order), np.concatenate([right_neighbour, own_pixel], axis=1).astype(np.float16))


def _order_of_rounding(
    weighted: Float64Array, groups: Sequence[npt.NDArray[np.int64]], later: npt.NDArray[np.int64]
) -> list[int]:
    """Return the groups of a pixel's channels, first rounded first, where `later` are the channels rounded after them."""
    own = np.concatenate(groups)
    # What an error costs when all that is rounded later does its best: the Schur complement.
    made_good = np.linalg.solve(weighted[np.ix_(later, later)], weighted[np.ix_(later, own)])
    remaining = weighted[np.ix_(own, own)] - weighted[np.ix_(own, later)] @ made_good
    order: list[int] = []
    left = dict(enumerate(groups))
    while left:
        last = min(left, key=lambda group: float(np.diagonal(remaining)[left[group]].sum()))
        order.insert(0, last)
        part = left.pop(last)
        remaining = remaining - remaining[:, part] @ np.linalg.solve(remaining[np.ix_(part, part)], remaining[part])
    return order


def what_is_left(cost: Float64Array, feedback: ErrorFeedback) -> Float64Array:
    """Return what an error of each channel (C,) costs together with what it moves."""
    right_neighbour, own_pixel = np.split(feedback.coefficients.astype(np.float64), 2, axis=1)
    moved = np.concatenate([np.eye(len(own_pixel)) + own_pixel, right_neighbour])
    return np.asarray(np.sum(moved * (cost @ moved), axis=0), dtype=np.float64)


def _moment_of_neighbours(gradient: npt.NDArray[np.float32]) -> Float64Array:
    """Return the second moment of what is felt in a pixel and its right neighbour (2 C, 2 C)."""
    padded = np.pad(gradient, ((0, 0), (0, 0), (0, 0), (0, 1)))  # the last pixel of a row has none
    both = np.concatenate([gradient, padded[..., 1:]], axis=1)
    rows = both.transpose(1, 0, 2, 3).reshape(both.shape[1], -1)
    moment: Float64Array = (rows @ rows.T).astype(np.float64) / rows.shape[1]
    return moment


__all__ = ["RIDGE", "FeltErrors", "feedback_of", "what_is_left"]
