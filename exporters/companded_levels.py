"""Companded levels in PyTorch: 3, 7, 12, 18 ... units away from an origin on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

COMPANDED_BITS = 4
"""Channels of more bits have even levels."""

LARGEST_POSITION = 127
"""Of a level, in units above the lowest."""

FAR = 1e20
"""A unit so large that there is always a smaller one."""


HAIR = 1.0001
"""How much more what lies above the origin counts, so that rounding does not decide where a symmetric channel has it."""


@dataclass(frozen=True)
class CompandedLevels:
    """The levels of one channel."""

    positions: Tensor
    """Of each level, in units above the lowest, float32 (2^bits,)."""
    unit: Tensor
    """float64 ()."""
    origin: float
    """Position of the level around which steps are finest."""


def companded_levels(bits: int, below: Tensor, above: Tensor) -> CompandedLevels:
    """Return the finest levels that reach so far below and above their origin, float64 () each."""
    best: CompandedLevels | None = None
    for levels_below in range(2**bits):
        index = torch.arange(2**bits) - levels_below
        distances = (index * (index.abs() + 5) / 2).float()
        lowest, highest = float(distances[0]), float(distances[-1])
        if highest - lowest > LARGEST_POSITION:
            continue
        unit = torch.maximum(below / max(-lowest, 1 / FAR), HAIR * above / max(highest, 1 / FAR))
        if best is None or unit < best.unit:
            best = CompandedLevels(distances - lowest, unit, -lowest)
    assert best is not None
    return best


__all__ = ["COMPANDED_BITS", "CompandedLevels", "companded_levels"]
