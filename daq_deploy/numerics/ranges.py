"""Range rules: from a channel's statistics to its lowest level and its step.

`paper`      step = unit_step(b) * spread                     DAQ, WACV 2022
`reference`  step = unit_step(b - 1) * spread                 the authors' released code
`deploy`     between the Gaussian step and the full range     docs/accuracy.md

Levels lie mid-rise around the mean of a signed channel and start at zero for a non-negative one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .statistics import ChannelStatistics, Float64Array
from .steps import TINY, UNIT_STEP


@dataclass(frozen=True)
class ChannelRange:
    """The levels of each channel are lo + code * step for codes 0 to 2^bits - 1; both float32 (N, C)."""

    lo: npt.NDArray[np.float32]
    step: npt.NDArray[np.float32]


def channel_range(
    statistics: ChannelStatistics, bits: int, rule: str, signed: bool, range_bits: int | None = None
) -> ChannelRange:
    """Return the range of every channel.

    Args:
        statistics: of the feature map.
        bits: bits a code, 2 to 8.
        rule: `paper`, `reference` or `deploy`.
        signed: whether the map can be negative.
        range_bits: bits to which the spreads of the channels of an image are quantized, or None.
    """
    levels = 2.0**bits
    spread = statistics.spread(signed)
    if range_bits is not None:
        spread = quantize_spreads(spread, range_bits)
    if rule == "deploy":
        return _deploy(statistics, spread, bits, signed)
    unit_step = UNIT_STEP[bits] if rule == "paper" else UNIT_STEP[bits - 1]
    step = np.maximum(unit_step * spread, TINY)
    lo = statistics.mean - (levels / 2 - 0.5) * step if signed else np.zeros_like(step)
    return ChannelRange(lo.astype(np.float32), step.astype(np.float32))


def _deploy(statistics: ChannelStatistics, spread: Float64Array, bits: int, signed: bool) -> ChannelRange:
    levels = 2.0**bits
    lowest = statistics.minimum if signed else np.zeros_like(spread)
    full = (statistics.maximum - lowest) / (levels - 1)
    exponent = DEPLOY_EXPONENT[bits]
    step = np.minimum(full, np.power(UNIT_STEP[bits] * spread, 1 - exponent) * np.power(full, exponent))
    step = np.maximum(step, TINY)
    if signed:
        centred = statistics.mean - (levels / 2 - 0.5) * step
        lowest = np.maximum(np.minimum(centred, statistics.maximum - (levels - 1) * step), lowest)
    return ChannelRange(lowest.astype(np.float32), step.astype(np.float32))


DEPLOY_EXPONENT = np.array([np.nan, np.nan, 0.0, 0.3, 0.5, 0.6, 0.8, 0.9, 1.0])


def quantize_spreads(spread: Float64Array, bits: int) -> Float64Array:
    """Quantize the spreads (N, C) of each image's channels by the Gaussian quantizer of the paper across channels.

    A channel whose quantized spread is not positive keeps its own: its step must not vanish or turn negative.
    """
    levels = 2.0**bits
    step = np.maximum(UNIT_STEP[bits] * spread.std(axis=1, keepdims=True), TINY)
    lo = spread.mean(axis=1, keepdims=True) - (levels / 2 - 0.5) * step
    quantized = np.clip(np.rint((spread - lo) / step), 0, levels - 1) * step + lo
    return np.where(quantized > 0, quantized, spread)


__all__ = ["ChannelRange", "channel_range", "quantize_spreads"]
