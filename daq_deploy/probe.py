"""The picture that `validate`, `inspect`, `reduce` and `report` run networks on to compare them layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .metrics.pixels import Pixels
    from .runner import Runner
    from .runtime.session import Session
    from .validation import Picture

SIDE = 96
"""Height and width of the picture; larger ones are cut to their centre."""


def picture_for(session: Session, path: str | Path | None) -> Picture:
    """Return the centre of a picture, or a synthetic one, as a network wants it.

    Raises:
        ImageError: the picture cannot be read.
    """
    from .runtime.images import read_rgb
    from .validation import Picture, gradients_and_edges

    if path is None:
        pixels = gradients_and_edges(SIDE, SIDE, session.value_range, session.channels)
        return Picture(pixels, f"synthetic, gradients and edges, {SIDE}x{SIDE}")
    return part_of(session, read_rgb(Path(path)), str(path))


def part_of(runner: Runner, rgb: Pixels, name: str, centre: tuple[float, float] | None = None) -> Picture:
    """Return a part of SIDE x SIDE pixels, or all where a side is shorter, of a picture (H, W, 3) as a network wants it.

    Args:
        runner: the network.
        rgb: the picture.
        name: what it is called.
        centre: row and column around which the part lies, as far as the picture's borders allow; None is its centre.
    """
    from .metrics import to_network
    from .validation import Picture

    wanted = (rgb.shape[0] / 2, rgb.shape[1] / 2) if centre is None else centre
    top, left = (
        max(0, min(int(middle) - SIDE // 2, size - SIDE)) for middle, size in zip(wanted, rgb.shape[:2], strict=True)
    )
    part = rgb[top : top + SIDE, left : left + SIDE]
    where = "at its centre" if centre is None else f"from column {left}, row {top}"
    return Picture(to_network(part, runner.value_range), f"{name}, {part.shape[1]}x{part.shape[0]} {where}")


__all__ = ["SIDE", "part_of", "picture_for"]
