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

_STEP_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0)
"""Steps that are tried for each output channel, as factors on the one that suits rounding to the nearest."""

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
    factor, order = _inverse_factor(second_moment)
    moment = second_moment[np.ix_(order, order)]
    wanted = target[:, order]
    # Rows do not interact: all steps of all rows are tried at once, as more rows.
    steps = np.outer(_STEP_FACTORS, least_squares_step(target, bits)).astype(np.float32).astype(np.float64)
    codes = _round_rows(np.tile(wanted, (len(_STEP_FACTORS), 1)), steps.reshape(-1), factor, bits)
    codes = codes.reshape(*steps.shape, -1)
    errors = np.stack(
        [_error(level_of(c, s[:, None], bits) - wanted, moment) for c, s in zip(codes, steps, strict=True)]
    )
    best = errors.argmin(axis=0), np.arange(len(target))
    in_place = np.empty_like(target)
    in_place[:, order] = codes[best]
    step = steps[best].astype(np.float32)
    return QuantizedWeights(in_place.astype(np.int8).reshape(shape), step, is_mid_rise(bits), bits)


def _round_rows(remaining: Float64Array, step: Float64Array, factor: Float64Array, bits: int) -> Float64Array:
    """Round rows (O, K) column by column, passing each error on; return the codes. `remaining` is overwritten."""
    codes = np.empty_like(remaining)
    for start in range(0, codes.shape[1], _BLOCK):
        stop = min(start + _BLOCK, codes.shape[1])
        errors = np.empty((len(codes), stop - start))
        for column in range(start, stop):
            wanted = remaining[:, column]
            codes[:, column] = nearest_codes(wanted, step, bits)
            error = (wanted - level_of(codes[:, column], step, bits)) / factor[column, column]
            remaining[:, column:stop] -= error[:, None] * factor[column, column:stop]
            errors[:, column - start] = error
        remaining[:, stop:] -= errors @ factor[start:stop, stop:]
    return codes


def _error(difference: Float64Array, moment: Float64Array) -> Float64Array:
    """Return the power of the output error that each row's difference (O, K) causes (O,)."""
    power: Float64Array = np.einsum("ok,ok->o", difference @ moment, difference)
    return power


def _inverse_factor(second_moment: Float64Array) -> tuple[Float64Array, np.typing.NDArray[np.intp]]:
    """Return the upper Cholesky factor of the inverse of the damped, reordered moment, and the order."""
    power = np.diagonal(second_moment)
    damped = second_moment + (DAMPING * power.mean() + TINY) * np.eye(len(power))
    order = np.argsort(-power, kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    factor: Float64Array = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
    return factor, order


__all__ = ["DAMPING", "round_with_compensation"]
