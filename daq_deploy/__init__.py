"""daq-deploy: channel-wise distribution-aware quantization of super-resolution networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import quantize
    from .config import DaqConfig
    from .quantization import Quantized

_HOME = {"DaqConfig": "config", "Quantized": "quantization", "quantize": "api"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that `daq-deploy --help` does not wait for onnx."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


__all__ = ["DaqConfig", "Quantized", "quantize"]
