"""The numpy oracle: what every other implementation of DAQ is tested against."""

from .activations import dequantize, fake_quantize, quantize
from .ranges import ChannelRange, channel_range
from .statistics import ChannelStatistics
from .steps import TINY, UNIT_STEP
from .weights import QuantizedWeights, quantize_weights

__all__ = [
    "TINY",
    "UNIT_STEP",
    "ChannelRange",
    "ChannelStatistics",
    "QuantizedWeights",
    "channel_range",
    "dequantize",
    "fake_quantize",
    "quantize",
    "quantize_weights",
]
