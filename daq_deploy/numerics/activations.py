"""The activation quantizer: feature map to codes and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .companding import highest_position, nearest_level, position_of
from .ranges import Bits, ChannelRange


def quantize(feature_map: npt.NDArray[np.float32], channels: ChannelRange, bits: Bits) -> npt.NDArray[np.uint8]:
    """Return the codes (N, C, H, W) of a float32 feature map of the same shape, rounding half to even.

    `bits` is one number or one a channel (C,). The arithmetic is float32 with a true division, as QuantizeLinear does it.
    """
    lo, step = channels.lo[:, :, None, None], channels.step[:, :, None, None]
    highest = highest_position(bits, channels.origins)[:, :, None, None]
    position = feature_map - lo
    position /= step
    if channels.origin is not None:
        origin = channels.origin[:, :, None, None]
        companded = position_of(nearest_level(position - origin))
        companded += origin
        position = np.where(origin < 0, position, companded)
    np.rint(position, out=position)
    np.clip(position, 0, highest, out=position)
    codes: npt.NDArray[np.uint8] = position.astype(np.uint8)
    return codes


def dequantize(codes: npt.NDArray[np.uint8], channels: ChannelRange) -> npt.NDArray[np.float32]:
    """Return the levels (N, C, H, W) that codes stand for."""
    levels = codes.astype(np.float32)
    levels *= channels.step[:, :, None, None]
    levels += channels.lo[:, :, None, None]
    return levels


__all__ = ["dequantize", "quantize"]
