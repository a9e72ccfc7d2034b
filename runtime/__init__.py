"""Run, upscale and benchmark DAQ files under ONNX Runtime."""

from .images import Picture, read_picture, write_picture
from .session import Session, SessionDescription

__all__ = ["Picture", "Session", "SessionDescription", "read_picture", "write_picture"]
