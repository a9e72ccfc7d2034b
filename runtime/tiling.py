"""Cut a picture into tiles that overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .shared_ranges import Window


@dataclass(frozen=True)
class Tile:
    """A part of the picture, and what the network is shown to make it."""

    inner: Window
    """What is kept; the inner windows of all tiles cover the picture once."""
    outer: Window
    """What is run: the inner window and the overlap around it, as far as the picture goes. All have one size."""


def cut(height: int, width: int, side: int, overlap: int, stride: int = 1) -> list[Tile]:
    """Cut a picture into tiles, row by row.

    Args:
        height, width: of the picture.
        side: largest height and width of what is kept of a tile.
        overlap: pixels that are run around that, on each side.
        stride: tiles begin at multiples of it, so that strided layers see the pixels they would see in the whole picture.
    """
    rows, columns = (_cut_side(size, side, overlap, stride) for size in (height, width))
    return [
        Tile(Window(row[0], column[0], row[1], column[1]), Window(row[2], column[2], row[3], column[3]))
        for row in rows
        for column in columns
    ]


def _cut_side(size: int, side: int, overlap: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Return first and last of what is kept and of what is run, for each tile along one side."""
    number = math.ceil(size / side)
    kept = math.ceil(size / number)
    run = min(size, math.ceil((kept + 2 * overlap + stride - 1) / stride) * stride)
    parts = []
    for start in range(0, size, kept):
        stop = min(start + kept, size)
        # At the end of the picture the tile is moved back, not made smaller: one size for all is run fastest.
        first = min(max(0, start - overlap) // stride * stride, math.ceil((size - run) / stride) * stride)
        parts.append((start, stop, first, min(first + run, size)))
    return parts


__all__ = ["Tile", "cut"]
