"""daq-deploy: channel-wise distribution-aware quantization of super-resolution networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import evaluate, fuse, quantize, report, validate
    from .config import DaqConfig
    from .errors import DaqError
    from .evaluation import Comparison
    from .fusion import Fused
    from .inspection import Inspection, inspect_file
    from .quantization import Quantized
    from .runtime.benchmark import Benchmark, measure
    from .runtime.session import Session
    from .runtime.upscaler import Upscaler
    from .validation import ValidationReport

_HOME = {
    "Benchmark": "runtime.benchmark",
    "Comparison": "evaluation",
    "DaqConfig": "config",
    "DaqError": "errors",
    "Fused": "fusion",
    "Inspection": "inspection",
    "Quantized": "quantization",
    "Session": "runtime.session",
    "Upscaler": "runtime.upscaler",
    "ValidationReport": "validation",
    "evaluate": "api",
    "fuse": "api",
    "inspect_file": "inspection",
    "measure": "runtime.benchmark",
    "quantize": "api",
    "report": "api",
    "validate": "api",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that `daq-deploy --help` does not wait for onnx."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [
    "Benchmark",
    "Comparison",
    "DaqConfig",
    "DaqError",
    "Fused",
    "Inspection",
    "Quantized",
    "Session",
    "Upscaler",
    "ValidationReport",
    "evaluate",
    "fuse",
    "inspect_file",
    "measure",
    "quantize",
    "report",
    "validate",
]
