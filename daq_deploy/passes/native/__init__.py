"""The native graph: what the native library of `runtime/native` computes in place of ONNX Runtime's operators."""

from .fuse import FuseNative
from .nodes import NATIVE_DOMAIN
from .report import METADATA_KEY, FusedLayer, Fusion

__all__ = ["METADATA_KEY", "NATIVE_DOMAIN", "FuseNative", "FusedLayer", "Fusion"]
