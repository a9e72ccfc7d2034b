"""The custom operators of domain `daq`, as ONNX functions that any ONNX Runtime from 1.20 executes."""

from .channel_range import RangeKind, channel_range_function
from .error_feedback import error_feedback_function, error_feedback_name
from .nearest_level import nearest_level_function

DOMAIN = "daq"
DOMAIN_VERSION = 1

__all__ = [
    "DOMAIN",
    "DOMAIN_VERSION",
    "RangeKind",
    "channel_range_function",
    "error_feedback_function",
    "error_feedback_name",
    "nearest_level_function",
]
