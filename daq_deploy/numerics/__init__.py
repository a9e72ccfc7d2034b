"""The numpy oracle: what every other implementation of DAQ is tested against."""

from .activations import dequantize, quantize
from .error_feedback import ErrorFeedback, with_feedback
from .fake_quantization import fake_quantize
from .ranges import ChannelRange, channel_range
from .statistics import ChannelStatistics
from .steps import TINY, UNIT_STEP
from .weights import QuantizedWeights, quantize_weights

__all__ = [
    "TINY",
    "UNIT_STEP",
    "ChannelRange",
    "ChannelStatistics",
    "ErrorFeedback",
    "QuantizedWeights",
    "channel_range",
    "dequantize",
    "fake_quantize",
    "quantize",
    "quantize_weights",
    "with_feedback",
]
