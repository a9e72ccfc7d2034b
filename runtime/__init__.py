"""Run, upscale and benchmark DAQ files under ONNX Runtime."""

from .images import Picture, read_picture, write_picture
from .session import Session, SessionDescription
from .upscaler import Upscaler

__all__ = ["Picture", "Session", "SessionDescription", "Upscaler", "read_picture", "write_picture"]
