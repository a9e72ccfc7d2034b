"""Error feedback: what is quantized later makes good what was lost before it.

Channels are rounded in groups of GROUP, and the pixels of a row from left to right. What rounding a group of a pixel adds to
its values, e, moves the network's output by J e; the channels that come after, of this pixel and of its right neighbour, are
moved before they are rounded themselves, by A e, such that the two nearly cancel there: of all A, the one that leaves least
of J e in the mean (calibration/felt_errors.py). It is how error-compensated rounding treats weights, applied to a feature
map, and noise shaping from channel to channel and from pixel to pixel. Codes keep their levels and bits: what changes is
which level a value gets. Rows are cut into runs of RUN pixels that know nothing of each other, so that many are computed at
once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .activations import dequantize, quantize
from .ranges import Bits, ChannelRange

GROUP = 8
"""Channels that are rounded together."""

RUN = 8
"""Pixels of a row of which each is moved by the errors of the one before it; x is where a run begins if RUN divides it."""


@dataclass(frozen=True)
class ErrorFeedback:
    """What the errors of a feature map's channels do to channels that are rounded later."""

    order: tuple[int, ...]
    """Groups, first rounded first: group g has channels g * GROUP to (g + 1) * GROUP - 1, as far as there are."""
    coefficients: npt.NDArray[np.float16]
    """A (C, 2 C): row of the channel that is moved, column of that whose error it is, in the pixel to the left and, from C
    on, in its own pixel.

    The second half is zero but for channels that are moved by groups rounded before theirs.
    """

    @property
    def from_left(self) -> bool:
        """Whether a pixel is moved by the errors of the one to its left."""
        return bool(self.coefficients[:, : len(self.coefficients)].any())

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
    """Return what to quantize in place of a feature map (N, C, H, W): each value moved by the errors of those before it.

    Args:
        feature_map: float32.
        channels: its levels.
        bits: one number, or one a channel (C,).
        feedback: of this many channels.
        codes: what the channels were rounded to, (N, C, H, W); None rounds them to the nearest level.
    """
    from_left, own = np.split(feedback.coefficients.astype(np.float32), 2, axis=1)
    images, count = feature_map.shape[:2]
    moved = feature_map.copy()
    errors = np.zeros_like(moved[..., ::RUN])
    for x in range(min(RUN, feature_map.shape[3])):
        pixels = np.ascontiguousarray(moved[..., x::RUN])
        rows = pixels.reshape(images, count, -1)  # shares its memory
        # The last run may end before this pixel.
        rows += from_left @ errors[..., : pixels.shape[3]].reshape(images, count, -1)
        errors = np.empty_like(pixels)
        for part in feedback.groups:
            levels = replace(
                channels,
                lo=channels.lo[:, part],
                step=channels.step[:, part],
                origin=None if channels.origin is None else channels.origin[:, part],
            )
            values = pixels[:, part]
            if codes is None:
                rounded = quantize(values, levels, bits if isinstance(bits, int) else bits[part])
            else:
                rounded = codes[:, part, :, x::RUN]
            lost = dequantize(rounded, levels) - values
            rows += own[:, part] @ lost.reshape(images, len(part), -1)
            errors[:, part] = lost
        moved[..., x::RUN] = pixels
    return moved


__all__ = ["GROUP", "RUN", "ErrorFeedback", "with_feedback"]
