"""What native nodes read and give, while a graph is fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from .epilogue import Epilogue
from .selection import NativeConvolution

Attribute = int | str | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class NativeMap:
    """A value in the native layout."""

    value: ir.Value
    statistics: ir.Value
    channels: int


@dataclass(frozen=True)
class Source:
    """Some channels of a native map."""

    map: NativeMap
    first: int
    count: int


@dataclass(frozen=True)
class Ranges:
    """Lowest level, step and origin of every channel, float32 (N, C), or (1, C) for all pictures."""

    lo: ir.Value
    step: ir.Value
    origin: ir.Value | None
    """Code at which companded steps are finest, or -1 for even levels; None where all levels are even."""


@dataclass(frozen=True)
class QuantizedConvolution:
    """Everything that a quantized convolution is built of."""

    name: str
    convolution: NativeConvolution
    ranges: Ranges
    sources: Sequence[Source]
    """The channels that it reads, one source after the other."""
    epilogue: Epilogue
    operand: NativeMap | None
    exact: bool


__all__ = ["Attribute", "NativeMap", "QuantizedConvolution", "Ranges", "Source"]
