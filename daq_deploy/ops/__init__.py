"""The custom operators of domain `daq`, as ONNX functions that any ONNX Runtime from 1.20 executes."""

from .channel_range import channel_range_function

DOMAIN = "daq"
DOMAIN_VERSION = 1

__all__ = ["DOMAIN", "DOMAIN_VERSION", "channel_range_function"]
