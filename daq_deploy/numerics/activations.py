"""The activation quantizer: feature map to codes and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .ranges import Bits, ChannelRange, Tail, channel_range
from .statistics import ChannelStatistics


def quantize(feature_map: npt.NDArray[np.float32], channels: ChannelRange, bits: Bits) -> npt.NDArray[np.uint8]:
    """Return the codes (N, C, H, W) of a float32 feature map of the same shape: 0 to 2^bits - 1, rounding half to even.

    `bits` is one number or one a channel (C,). The arithmetic is float32 with a true division, as QuantizeLinear does it.
    """
    lo, step = channels.lo[:, :, None, None], channels.step[:, :, None, None]
    highest = np.float32(2) ** np.asarray(bits, dtype=np.float32) - np.float32(1)
    position: npt.NDArray[np.float32] = np.clip(np.rint((feature_map - lo) / step), 0, highest.reshape(-1, 1, 1))
    return position.astype(np.uint8)


def dequantize(codes: npt.NDArray[np.uint8], channels: ChannelRange) -> npt.NDArray[np.float32]:
    """Return the levels (N, C, H, W) that codes stand for."""
    return codes.astype(np.float32) * channels.step[:, :, None, None] + channels.lo[:, :, None, None]


def fake_quantize(
    feature_map: npt.NDArray[np.float32],
    bits: Bits,
    rule: str,
    signed: bool,
    range_bits: int | None = None,
    tail: Tail | None = None,
) -> npt.NDArray[np.float32]:
    """Quantize and dequantize a feature map (N, C, H, W) by its own ranges: what a quantized convolution reads."""
    channels = channel_range(ChannelStatistics.of(feature_map), bits, rule, signed, range_bits, tail)
    return dequantize(quantize(feature_map, channels, bits), channels)


__all__ = ["dequantize", "fake_quantize", "quantize"]
