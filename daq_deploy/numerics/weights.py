"""Weight quantizers.

`paper`   one step a layer, unit_step(b) * standard deviation; mid-rise levels (code + 1/2) * step     DAQ, WACV 2022
`deploy`  one step an output channel, chosen for the least squared error; levels code * step
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .steps import TINY, UNIT_STEP


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
    """Quantize the weights of a convolution (O, I, kH, kW) to 2..8 bits by `paper` or `deploy`."""
    if rule == "paper":
        return _one_step_a_layer(weights, bits)
    return _least_squares(weights, bits)


def _one_step_a_layer(weights: npt.NDArray[np.float32], bits: int) -> QuantizedWeights:
    half = 2 ** (bits - 1)
    step = np.float32(max(UNIT_STEP[bits] * weights.std(dtype=np.float64), TINY))
    codes = np.clip(np.floor(weights / step), -half, half - 1).astype(np.int8)
    return QuantizedWeights(codes, np.full(weights.shape[0], step, np.float32), mid_rise=True, bits=bits)


def _least_squares(weights: npt.NDArray[np.float32], bits: int) -> QuantizedWeights:
    rows = weights.reshape(weights.shape[0], -1).astype(np.float64)
    half = 2 ** (bits - 1)
    largest = np.abs(rows).max(axis=1, keepdims=True) / (half - 0.5)
    best_step, best_error = largest, np.full((len(rows), 1), np.inf)
    for fraction in np.linspace(1.0, 0.2, 81):
        step = np.maximum(largest * fraction, TINY)
        error = np.square(np.clip(np.rint(rows / step), -half, half - 1) * step - rows).sum(axis=1, keepdims=True)
        better = error < best_error
        best_step, best_error = np.where(better, step, best_step), np.where(better, error, best_error)
    step32 = best_step.astype(np.float32)
    codes = np.clip(np.rint(rows / step32), -half, half - 1).astype(np.int8).reshape(weights.shape)
    return QuantizedWeights(codes, step32[:, 0], mid_rise=False, bits=bits)


__all__ = ["QuantizedWeights", "quantize_weights"]
