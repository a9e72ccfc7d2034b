"""Companded levels: steps that grow with the distance from an origin.

Values of a feature map crowd around one value and reach far at edges: levels an even step apart are too coarse where the
values lie. So the first step away from the origin, a level itself, is three units, the next four, and so on: level k lies
k * (|k| + 5) / 2 units from it. Counted from the lowest level these are whole numbers of units: the codes of companded levels
are these positions. The origin lies such that they have seven bits, with two levels or more on each side of it where
there are sixteen, so that integer kernels can multiply codes, and sums and differences of two, in bytes.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .statistics import Float64Array

MOST_BITS = 4
"""With more bits positions would not fit seven; channels that have more keep even levels."""

FEWEST_BITS = 3
"""Layers of fewer bits keep even levels, which do as well there or better (docs/accuracy.md)."""

LARGEST_POSITION = 127
"""Of a level, in units above the lowest."""

EVEN = -1.0
"""Stands for the origin of a channel whose levels are even."""

FAR = 1e20
"""A unit so large that there is always a smaller one."""

HAIR = 1.0001
"""What lies above the origin counts by this factor: how floats round must not decide where a symmetric channel has it."""

Distance = TypeVar("Distance", np.float32, np.float64)


def position_of(index: npt.NDArray[Distance]) -> npt.NDArray[Distance]:
    """Return how many units level `index`, which may be negative, lies from the origin."""
    # In place, here and below: calibration does this to many a feature map, and new memory takes longer than arithmetic.
    position: npt.NDArray[Distance] = np.abs(index)
    position += 5
    position *= index
    position /= 2
    return position


def fractional_level(distance: npt.NDArray[Distance]) -> npt.NDArray[Distance]:
    """Return what rounds to the index of the level that is nearest to a distance from the origin in units.

    Levels k and k + 1 meet at ((k + 3)^2 - 6) / 2 units.
    """
    index: npt.NDArray[Distance] = np.abs(distance)
    index *= 2
    index += 6
    np.sqrt(index, out=index)
    index -= 2.5
    np.maximum(index, 0, out=index)
    index *= np.sign(distance)
    return index


def nearest_level(distance: npt.NDArray[Distance]) -> npt.NDArray[Distance]:
    """Return the index of the level that is nearest to a distance from the origin in units, half to even."""
    index = fractional_level(distance)
    return np.rint(index, out=index)


def highest_position(bits: int | npt.NDArray[np.int64], origin: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the position of the highest level of each channel (N, C), in units or, where levels are even, in steps.

    Args:
        bits: one number, or one a channel (C,).
        origin: position of each channel's origin (N, C), or EVEN.
    """
    last = np.broadcast_to(np.float32(2) ** np.asarray(bits, np.float32) - np.float32(1), origin.shape)
    above: npt.NDArray[np.float32] = last - nearest_level(np.maximum(origin, np.float32(0)))
    return np.where(origin < 0, last, origin + position_of(above)).astype(np.float32)


def companded_range(below: Float64Array, above: Float64Array, bits: int) -> tuple[Float64Array, Float64Array]:
    """Return unit and position of the origin of every channel (N, C): those of the finest levels that reach far enough.

    Args:
        below, above: how far the levels must reach on each side of the origin, (N, C), 0 or more.
        bits: 2 to MOST_BITS.
    """
    reach, least = reach_below(bits), least_units(bits)
    units = np.maximum(np.maximum(below[..., None] * reach, above[..., None] * reach_above(bits)), least)
    levels_below = units.argmin(axis=-1)
    return units.min(axis=-1), position_of(levels_below.astype(np.float64))


def reach_below(bits: int) -> Float64Array:
    """Return what the unit must be to reach one below the origin, by the number of levels there (2^bits,)."""
    position = position_of(np.arange(2.0**bits))
    return np.where(position > 0, 1 / np.maximum(position, 1), FAR)


def reach_above(bits: int) -> Float64Array:
    """Return what the unit must be to reach one above the origin, by the number of levels below it (2^bits,)."""
    return HAIR * reach_below(bits)[::-1]


def least_units(bits: int) -> Float64Array:
    """Return zero by the number of levels below the origin (2^bits,), and FAR where positions would be too large."""
    position = position_of(np.arange(2.0**bits))
    return np.where(position + position[::-1] <= LARGEST_POSITION, 0.0, FAR)


__all__ = [
    "EVEN",
    "FAR",
    "FEWEST_BITS",
    "HAIR",
    "LARGEST_POSITION",
    "MOST_BITS",
    "companded_range",
    "fractional_level",
    "highest_position",
    "least_units",
    "nearest_level",
    "position_of",
    "reach_above",
    "reach_below",
]
