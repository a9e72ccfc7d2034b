"""Error feedback: channels that are quantized later make good what those before them lost.

Channels are rounded in groups of GROUP. What rounding a group adds to its values, e, moves the network's output by J e; the
channels that come after are moved before they are rounded themselves, by A e, such that the two nearly cancel there: of all
A, the one that leaves least of J e in the mean (calibration/error_feedback.py). It is how error-compensated
rounding treats weights, applied to each pixel of a feature map, and noise shaping from channel to channel. Codes keep their
levels and bits: what changes is which level a value gets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .activations import dequantize, quantize
from .ranges import Bits, ChannelRange

GROUP = 8
"""Channels that are rounded together."""


@dataclass(frozen=True)
class ErrorFeedback:
    """What the errors of a feature map's channels do to channels that are rounded later."""

    order: tuple[int, ...]
    """Groups, first rounded first: group g has channels g * GROUP to (g + 1) * GROUP - 1, as far as there are."""
    coefficients: npt.NDArray[np.float16]
    """A (C, C): row of the channel that is moved, column of that whose error it is.

    Zero but for channels that are moved by groups rounded before theirs.
    """

    @property
    def groups(self) -> list[npt.NDArray[np.int64]]:
        """Channels of each group, first rounded first."""
        channels = np.arange(len(self.coefficients))
        return [channels[group * GROUP : (group + 1) * GROUP] for group in self.order]


def with_feedback(
    feature_map: npt.NDArray[np.float32],
    channels: ChannelRange,
    bits: Bits,
    feedback: ErrorFeedback,
    codes: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.float32]:
    """Return what to quantize in place of a feature map (N, C, H, W): each channel moved by the errors of those before it.

    Args:
        feature_map: float32.
        channels: its levels.
        bits: one number, or one a channel (C,).
        feedback: of this many channels.
        codes: what the channels were rounded to, (N, C, H, W); None rounds them to the nearest level.
    """
    moved, coefficients = feature_map.copy(), feedback.coefficients.astype(np.float32)
    for part in feedback.groups:
        own = replace(
            channels,
            lo=channels.lo[:, part],
            step=channels.step[:, part],
            origin=None if channels.origin is None else channels.origin[:, part],
        )
        own_bits = bits if isinstance(bits, int) else bits[part]
        values = moved[:, part]
        rounded = quantize(values, own, own_bits) if codes is None else codes[:, part]
        error = dequantize(rounded, own) - values
        moved += np.einsum("oi,nihw->nohw", coefficients[:, part], error, optimize=True)
    return moved


__all__ = ["GROUP", "ErrorFeedback", "with_feedback"]
