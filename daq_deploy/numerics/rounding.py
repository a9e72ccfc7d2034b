"""Error-compensated rounding: each weight's rounding error is made good by the weights not yet rounded.

Minimizes (W^ - W) H (W^ - W)^T over codes, H the second moment of what the convolution reads, one column of W after the
other in the order of falling power (Frantar et al., GPTQ, ICLR 2023, algorithm 1; Hassibi and Stork's optimal brain
surgeon before it). No gradients, one Cholesky factorization a layer.
"""

from __future__ import annotations

import numpy as np

from .statistics import Float64Array
from .steps import TINY
from .weights import QuantizedWeights, is_mid_rise, least_squares_step, level_of, nearest_codes

DAMPING = 0.01
"""Added to the diagonal of H, as a fraction of its mean: keeps the factorization of a singular H finite."""

_BLOCK = 64
"""Columns whose errors are passed on together; changes speed, not results."""


def round_with_compensation(
    target: Float64Array, second_moment: Float64Array, bits: int, shape: tuple[int, ...]
) -> QuantizedWeights:
    """Quantize weights to 2..8 bits.

    Args:
        target: the weights wanted, (O, K) with K = I * kH * kW.
        second_moment: of the K values that one output reads, (K, K), positive semi-definite.
        bits: bits a code.
        shape: (O, I, kH, kW) of the result.
    """
    step = least_squares_step(target, bits)
    column_step = step.astype(np.float64)
    factor, order = _inverse_factor(second_moment)
    remaining = target[:, order]
    codes = np.empty_like(remaining)
    for start in range(0, codes.shape[1], _BLOCK):
        stop = min(start + _BLOCK, codes.shape[1])
        errors = np.empty((len(codes), stop - start))
        for column in range(start, stop):
            wanted = remaining[:, column]
            codes[:, column] = nearest_codes(wanted, column_step, bits)
            error = (wanted - level_of(codes[:, column], column_step, bits)) / factor[column, column]
            remaining[:, column:stop] -= error[:, None] * factor[column, column:stop]
            errors[:, column - start] = error
        remaining[:, stop:] -= errors @ factor[start:stop, stop:]
    in_place = np.empty_like(codes)
    in_place[:, order] = codes
    return QuantizedWeights(in_place.astype(np.int8).reshape(shape), step, is_mid_rise(bits), bits)


def _inverse_factor(second_moment: Float64Array) -> tuple[Float64Array, np.typing.NDArray[np.intp]]:
    """Return the upper Cholesky factor of the inverse of the damped, reordered moment, and the order."""
    power = np.diagonal(second_moment)
    damped = second_moment + (DAMPING * power.mean() + TINY) * np.eye(len(power))
    order = np.argsort(-power, kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    factor: Float64Array = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
    return factor, order


__all__ = ["DAMPING", "round_with_compensation"]
