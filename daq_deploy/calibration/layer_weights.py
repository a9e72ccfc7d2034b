"""Round the weights of one layer to answer to what it reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.numerics import QuantizedWeights, quantize_weights
from daq_deploy.numerics.rounding import round_with_compensation
from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.passes.graph import float_constant

from .moments import Moments, moments

MOST_READ = 2304
"""Weights that read more values an output (256 channels of 3x3) are rounded to the nearest: moments grow as the square."""


def rounding(
    node: ir.Node, feature_map: npt.NDArray[np.float32], output: npt.NDArray[np.float32], ridge: float
) -> Callable[[int], QuantizedWeights]:
    """Return what quantizes the weights of a convolution to 2..8 bits.

    They are rounded to the nearest where it has groups or reads more than MOST_READ, else error-compensated.

    Args:
        node: a Conv whose weights (O, I, kH, kW) are float constants.
        feature_map: what it is going to read, (N, I, H, W).
        output: what it gives in the float network, (N, O, H', W').
        ridge: pull towards the float weights, as a fraction of the mean power of what is read.
    """
    weight = float_constant(node.inputs[1])
    assert weight is not None
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    if node.attributes.get_int("group", 1) != 1 or rows.shape[1] > MOST_READ:
        return partial(quantize_weights, weight, rule="nearest")
    seen = moments(node, feature_map, output, (weight.shape[2], weight.shape[3]))
    target = _least_squares(rows, seen, ridge)
    return partial(round_with_compensation, target, seen.covariance, shape=weight.shape)


def _least_squares(rows: Float64Array, seen: Moments, ridge: float) -> Float64Array:
    """Return the weights (O, K) that answer best to what the quantized convolution reads."""
    pull = ridge * np.diagonal(seen.covariance).mean()
    drawn = seen.covariance + pull * np.eye(rows.shape[1])
    answer: Float64Array = np.linalg.solve(drawn, (seen.cross + pull * rows).T).T
    return answer


__all__ = ["MOST_READ", "rounding"]
