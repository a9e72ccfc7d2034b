"""Range rules: from a channel's statistics to its lowest level and its step.

`paper`      step = unit_step(b) * spread                     DAQ, WACV 2022
`reference`  step = unit_step(b - 1) * spread                 the authors' released code
`deploy`     each side of the mean is clipped at gaussian^(1 - tail) * extent^tail, and at most at its extent; the levels
             are spread between the two clips, evenly or
             companded (companding.py)                        docs/accuracy.md

`gaussian` is where the paper's levels end, half of 2^b - 1 steps from the mean; `extent` is how far the values go on that
side. The levels of `paper` and `reference` lie mid-rise around the mean. A non-negative channel starts at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .companding import EVEN, MOST_BITS, companded_range
from .statistics import ChannelStatistics, Float64Array
from .steps import TINY, UNIT_STEP

Bits = int | npt.NDArray[np.int64]
Tail = float | npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChannelRange:
    """The levels of each channel are lo + code * step; float32 (N, C).

    Codes are 0 to 2^bits - 1, or the positions of companded levels.
    """

    lo: npt.NDArray[np.float32]
    step: npt.NDArray[np.float32]
    origin: npt.NDArray[np.float32] | None = None
    """Code of the level at which companded steps are finest, or EVEN; None where all channels have even levels."""

    @property
    def origins(self) -> npt.NDArray[np.float32]:
        """`origin` of every channel (N, C), EVEN where levels are even."""
        return np.full_like(self.lo, EVEN) if self.origin is None else self.origin


def channel_range(
    statistics: ChannelStatistics,
    bits: Bits,
    rule: str,
    signed: bool,
    range_bits: int | None = None,
    tail: Tail | None = None,
    companded: bool = False,
) -> ChannelRange:
    """Return the range of every channel.

    Args:
        statistics: of the feature map.
        bits: bits a code, 2 to 8; one number, or one a channel (C,).
        rule: `paper`, `reference` or `deploy`.
        signed: whether the map can be negative.
        range_bits: bits to which the spreads of the channels of an image are quantized, or None.
        tail: weight of a channel's full extent in the `deploy` rule, 0 to 1; one number, or one a channel (C,). None takes
            that which is usual for the bits.
        companded: whether levels of the `deploy` rule are companded, in channels of at most companding.MOST_BITS.
    """
    spread = statistics.spread(signed)
    if range_bits is not None:
        spread = quantize_spreads(spread, range_bits)
    if rule == "deploy":
        below, above = _clips(statistics, spread, bits, signed, usual_tail(bits, companded) if tail is None else tail)
        centre = statistics.mean if signed else np.zeros_like(spread)
        return _companded(centre, below, above, bits) if companded else _even(centre, below, above, bits)
    unit_step = UNIT_STEP[bits] if rule == "paper" else UNIT_STEP[bits - 1]
    step = np.maximum(unit_step * spread, TINY)
    lo = statistics.mean - (2.0**bits / 2 - 0.5) * step if signed else np.zeros_like(step)
    return ChannelRange(lo.astype(np.float32), step.astype(np.float32))


def _clips(
    statistics: ChannelStatistics, spread: Float64Array, bits: Bits, signed: bool, tail: Tail
) -> tuple[Float64Array, Float64Array]:
    """Return how far the levels go below and above the mean, or zero: between the Gaussian's clip and the extent."""
    steps = 2.0**bits - 1
    gaussian = UNIT_STEP[bits] * spread * (steps / 2 if signed else steps)

    def clip(extent: Float64Array) -> Float64Array:
        clipped: Float64Array = np.minimum(np.power(gaussian, 1 - tail) * np.power(extent, tail), extent)
        return clipped

    if not signed:
        return np.zeros_like(spread), clip(statistics.maximum)
    below = clip(np.maximum(statistics.mean - statistics.minimum, 0))
    return below, clip(np.maximum(statistics.maximum - statistics.mean, 0))


def _even(centre: Float64Array, below: Float64Array, above: Float64Array, bits: Bits) -> ChannelRange:
    step = np.maximum((below + above) / (2.0**bits - 1), TINY)
    return ChannelRange((centre - below).astype(np.float32), step.astype(np.float32))


def _companded(centre: Float64Array, below: Float64Array, above: Float64Array, bits: Bits) -> ChannelRange:
    even = _even(centre, below, above, bits)
    lo, step, origin = even.lo, even.step, np.full_like(even.lo, EVEN)
    bits_of_channels = np.broadcast_to(np.asarray(bits), lo.shape[1:])
    for width in np.unique(bits_of_channels[bits_of_channels <= MOST_BITS]):
        own = bits_of_channels == width
        unit, position = companded_range(below[:, own], above[:, own], int(width))
        unit = np.maximum(unit, TINY)
        lo[:, own], step[:, own], origin[:, own] = centre[:, own] - position * unit, unit, position
    return ChannelRange(lo, step, origin)


DEPLOY_TAIL = np.array([np.nan, np.nan, 0.15, 0.3, 0.5, 0.6, 0.75, 0.85, 0.9])
"""Weight of the full extent in the `deploy` rule where no calibration chose it and levels are even, indexed by bits."""

COMPANDED_TAIL = np.array([np.nan, np.nan, 0.3, 0.5, 0.7, *DEPLOY_TAIL[MOST_BITS + 1 :]])
"""The same for companded levels, which can reach further; even ones where there are too many bits for them."""


def usual_tail(bits: Bits, companded: bool) -> Tail:
    """Return the tail of the `deploy` rule where no calibration chose it: one number, or one for each of `bits`."""
    tail: Tail = (COMPANDED_TAIL if companded else DEPLOY_TAIL)[bits]
    return tail


def tail_at(
    bits: npt.NDArray[np.int64], layer_bits: int, layer_tail: float, companded: bool
) -> npt.NDArray[np.float64]:
    """Return the tail of channels of other bits than those for which the layer's tail was chosen."""
    shift = usual_tail(bits, companded) - usual_tail(layer_bits, companded)
    shifted: npt.NDArray[np.float64] = np.clip(layer_tail + shift, 0, 1)
    return shifted.astype(np.float32).astype(np.float64)  # the graph holds float32


def quantize_spreads(spread: Float64Array, bits: int) -> Float64Array:
    """Quantize the spreads (N, C) of each image's channels by the Gaussian quantizer of the paper across channels.

    A channel whose quantized spread is not positive keeps its own: its step must not vanish or turn negative.
    """
    levels = 2.0**bits
    step = np.maximum(UNIT_STEP[bits] * spread.std(axis=1, keepdims=True), TINY)
    lo = spread.mean(axis=1, keepdims=True) - (levels / 2 - 0.5) * step
    quantized = np.clip(np.rint((spread - lo) / step), 0, levels - 1) * step + lo
    return np.where(quantized > 0, quantized, spread)


__all__ = [
    "COMPANDED_TAIL",
    "DEPLOY_TAIL",
    "Bits",
    "ChannelRange",
    "Tail",
    "channel_range",
    "quantize_spreads",
    "tail_at",
    "usual_tail",
]
