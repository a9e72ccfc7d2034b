"""The custom operators of domain `daq`, as ONNX functions that any ONNX Runtime from 1.20 executes."""

from .channel_range import RangeKind, channel_range_function
from .nearest_level import nearest_level_function

DOMAIN = "daq"
DOMAIN_VERSION = 1

__all__ = ["DOMAIN", "DOMAIN_VERSION", "RangeKind", "channel_range_function", "nearest_level_function"]
