"""Which parts of a large picture to look at for its ranges.

Moments of feature maps (mean and spread) are those of parts spread evenly over the picture. Their extremes are not to be
found that way; but they lie where the picture itself is extreme: brightest, darkest, most saturated, at its sharpest edges
and finest lines, and at its borders, where zero padding makes an edge of its own. Parts are chosen for that too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .shared_ranges import Window

SIDE = 64
"""Height and width of a part in pixels."""
LEAST = 12
_CANDIDATES = 2
"""Parts in which each measure of extremes is largest that are looked at."""


@dataclass(frozen=True)
class RangeSample:
    """Parts of a picture, none twice."""

    even: tuple[Window, ...]
    """Spread evenly: give moments and extremes."""
    extreme: tuple[Window, ...]
    """Give extremes only."""


def choose_sample(picture: npt.NDArray[np.unsignedinteger], share: float) -> RangeSample:
    """Choose parts of a picture (H, W, 3).

    Args:
        picture: uint8 or uint16.
        share: of the picture's area to be spread evenly, 0 to 1; at least LEAST parts are.
    """
    rows, columns = (_starts(size) for size in picture.shape[:2])
    cells = [(top, left) for top in rows for left in columns]
    number = min(len(cells), max(LEAST, round(share * len(cells))))
    even = _spread(len(rows), len(columns), number)
    ranked = np.argsort(-_extremes(picture, rows, columns), axis=1, kind="stable")
    chosen = set(even)
    extreme = [index for index in _border(len(rows), len(columns)) if index not in chosen]
    chosen.update(extreme)
    for order in ranked:
        for index in order[:_CANDIDATES]:
            if int(index) not in chosen:
                chosen.add(int(index))
                extreme.append(int(index))

    def window(index: int) -> Window:
        top, left = cells[index]
        return Window(top, left, min(top + SIDE, picture.shape[0]), min(left + SIDE, picture.shape[1]))

    return RangeSample(tuple(map(window, even)), tuple(map(window, extreme)))


def _starts(size: int) -> list[int]:
    """Return where parts begin along a side; the last may overlap the one before."""
    return [*range(0, max(size - SIDE, 0), SIDE), max(size - SIDE, 0)]


def _spread(rows: int, columns: int, number: int) -> list[int]:
    """Return indices of cells spread evenly: each the centre of an equal share, in an order that winds row by row."""
    down = min(rows, max(1, round((number * rows / columns) ** 0.5)))
    chosen: dict[int, None] = {}
    for band in range(down):
        row = int((band + 0.5) * rows / down)
        across = round(number * (band + 1) / down) - round(number * band / down)
        shift = 0.5 if band % 2 == 0 else 0.0  # neighbouring bands look at different columns
        for place in range(min(across, columns)):
            chosen[row * columns + int((place + 0.25 + shift / 2) * columns / min(across, columns))] = None
    return list(chosen)


def _border(rows: int, columns: int) -> list[int]:
    """Return the corners and the middles of the sides."""
    middle, centre = rows // 2, columns // 2
    places = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    places += [(0, centre), (rows - 1, centre), (middle, 0), (middle, columns - 1)]
    return list(dict.fromkeys(row * columns + column for row, column in places))


def _extremes(picture: npt.NDArray[np.unsignedinteger], rows: list[int], columns: list[int]) -> npt.NDArray[np.float32]:
    """Return the largest value of each measure in each cell, (measures, cells)."""
    measures = []
    for top in rows:  # row by row of cells: the picture may be large
        strip = picture[top : top + SIDE].astype(np.float32)
        luma = strip.mean(axis=2)
        across = np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
        down = np.abs(np.diff(luma, axis=0, append=luma[-1:]))
        line = np.abs(4 * luma - _shifted(luma, 0) - _shifted(luma, 1))
        planes = [strip[..., 0], strip[..., 1], strip[..., 2], luma, -luma, across, down, line]
        planes += [-strip[..., 0], -strip[..., 1], -strip[..., 2]]
        measures.append([[plane[:, left : left + SIDE].max() for left in columns] for plane in planes])
    stacked: npt.NDArray[np.float32] = np.array(measures, np.float32).transpose(1, 0, 2).reshape(len(measures[0]), -1)
    return stacked


def _shifted(luma: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Return the sum of both neighbours along an axis, the border repeated."""
    padded = np.pad(luma, [(1, 1) if own == axis else (0, 0) for own in (0, 1)], mode="edge")
    sums: npt.NDArray[np.float32] = padded[2:] + padded[:-2] if axis == 0 else padded[:, 2:] + padded[:, :-2]
    return sums


__all__ = ["SIDE", "RangeSample", "choose_sample"]
