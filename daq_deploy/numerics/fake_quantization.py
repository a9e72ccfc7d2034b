"""What a quantized convolution reads in place of a float feature map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .activations import dequantize, quantize
from .error_feedback import ErrorFeedback, with_feedback
from .ranges import Bits, Tail, channel_range
from .statistics import ChannelStatistics


def fake_quantize(
    feature_map: npt.NDArray[np.float32],
    bits: Bits,
    rule: str,
    signed: bool,
    range_bits: int | None = None,
    tail: Tail | None = None,
    companded: bool = False,
    feedback: ErrorFeedback | None = None,
    statistics: ChannelStatistics | None = None,
) -> npt.NDArray[np.float32]:
    """Quantize and dequantize a feature map (N, C, H, W) by its own ranges: what a quantized convolution reads.

    Its statistics are gathered where they are not given.
    """
    channels = channel_range(
        statistics or ChannelStatistics.of(feature_map), bits, rule, signed, range_bits, tail, companded
    )
    if feedback is not None:
        feature_map = with_feedback(feature_map, channels, bits, feedback)
    return dequantize(quantize(feature_map, channels, bits), channels)


__all__ = ["fake_quantize"]
