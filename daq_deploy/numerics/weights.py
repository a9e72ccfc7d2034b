"""Weight quantizers.

`paper`    one step a layer, unit_step(b) * standard deviation; mid-rise levels (code + 1/2) * step    DAQ, WACV 2022
`nearest`  one step an output channel, chosen for the least squared error
`deploy`   steps as `nearest`, codes by error-compensated rounding (`rounding.py`)

Levels of the last two are mid-rise at 2 and 3 bits, where the level that mid-tread has in excess on one side costs most,
and code * step from 4 bits up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .statistics import Float64Array
from .steps import TINY, UNIT_STEP

_STEP_FRACTIONS = np.linspace(1.0, 0.2, 81)
"""Steps that are tried, as fractions of the one at which the largest weight is not clipped."""


@dataclass(frozen=True)
class QuantizedWeights:
    """Weights (O, I, kH, kW) as signed codes -2^(bits-1) to 2^(bits-1) - 1 and one step an output channel."""

    codes: npt.NDArray[np.int8]
    step: npt.NDArray[np.float32]
    """Step of each output channel (O,)."""
    mid_rise: bool
    """Whether levels lie half a step above code * step."""
    bits: int

    def dequantize(self) -> npt.NDArray[np.float32]:
        """Return the weights that the codes stand for, float32 (O, I, kH, kW)."""
        step = self.step.reshape(-1, *([1] * (self.codes.ndim - 1)))
        levels = self.codes.astype(np.float32) * step
        return levels + step / np.float32(2) if self.mid_rise else levels


def quantize_weights(weights: npt.NDArray[np.float32], bits: int, rule: str) -> QuantizedWeights:
    """Quantize the weights of a convolution (O, I, kH, kW) to 2..8 bits by `paper` or `nearest`."""
    if rule == "paper":
        half = 2 ** (bits - 1)
        layer_step = np.float32(max(UNIT_STEP[bits] * weights.std(dtype=np.float64), TINY))
        codes = np.clip(np.floor(weights / layer_step), -half, half - 1).astype(np.int8)
        return QuantizedWeights(codes, np.full(weights.shape[0], layer_step, np.float32), mid_rise=True, bits=bits)
    rows = weights.reshape(weights.shape[0], -1).astype(np.float64)
    step = least_squares_step(rows, bits)
    codes = nearest_codes(rows, step[:, None].astype(np.float64), bits).astype(np.int8).reshape(weights.shape)
    return QuantizedWeights(codes, step, mid_rise=is_mid_rise(bits), bits=bits)


def is_mid_rise(bits: int) -> bool:
    """Return whether levels of `nearest` and `deploy` are mid-rise at this bit-width."""
    return bits <= 3


def least_squares_step(rows: Float64Array, bits: int) -> npt.NDArray[np.float32]:
    """Return the step of each row (O,) of weights (O, K) for which rounding to the nearest level errs least."""
    largest = np.abs(rows).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 0.5)
    best_step, best_error = largest, np.full((len(rows), 1), np.inf)
    for fraction in _STEP_FRACTIONS:
        step = np.maximum(largest * fraction, TINY)
        levels = level_of(nearest_codes(rows, step, bits), step, bits)
        error = np.square(levels - rows).sum(axis=1, keepdims=True)
        better = error < best_error
        best_step, best_error = np.where(better, step, best_step), np.where(better, error, best_error)
    column: npt.NDArray[np.float32] = np.maximum(best_step, TINY).astype(np.float32)[:, 0]
    return column


def nearest_codes(values: Float64Array, step: Float64Array, bits: int) -> Float64Array:
    """Return the codes of the nearest levels; `step` broadcasts against `values`."""
    half = 2 ** (bits - 1)
    codes = np.floor(values / step) if is_mid_rise(bits) else np.rint(values / step)
    return np.clip(codes, -half, half - 1)


def level_of(codes: Float64Array, step: Float64Array, bits: int) -> Float64Array:
    """Return the levels that codes stand for."""
    return (codes + 0.5) * step if is_mid_rise(bits) else codes * step


__all__ = ["QuantizedWeights", "is_mid_rise", "least_squares_step", "level_of", "nearest_codes", "quantize_weights"]
