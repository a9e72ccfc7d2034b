"""One HTML page that shows what quantization did to a picture: everything in one file, nothing loaded from elsewhere."""

from .content import ChannelRanges, DaqNetwork, Measured, ReportContent, Version
from .page import render

__all__ = ["ChannelRanges", "DaqNetwork", "Measured", "ReportContent", "Version", "render"]
