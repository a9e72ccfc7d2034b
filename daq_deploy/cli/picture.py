"""The picture that `validate`, `inspect` and `reduce` run networks on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from daq_deploy.runtime.session import Session
    from daq_deploy.validation import Picture

SIDE = 96
"""Height and width of the picture; larger ones are cut to their centre."""

ImagePath = Annotated[
    Path | None,
    typer.Option("--image", help=f"Picture to run on, its centre of {SIDE}x{SIDE} pixels; synthetic if not given."),
]


def picture_for(session: Session, path: Path | None) -> Picture:
    """Return the centre of a picture, or a synthetic one, as a network wants it."""
    from daq_deploy.metrics import to_network
    from daq_deploy.runtime.images import read_picture
    from daq_deploy.validation import Picture, gradients_and_edges

    if path is None:
        pixels = gradients_and_edges(SIDE, SIDE, session.value_range, session.channels)
        return Picture(pixels, f"synthetic, gradients and edges, {SIDE}x{SIDE}")
    rgb = read_picture(path).rgb
    top, left = max(0, rgb.shape[0] - SIDE) // 2, max(0, rgb.shape[1] - SIDE) // 2
    centre = rgb[top : top + SIDE, left : left + SIDE]
    return Picture(
        to_network(centre, session.value_range), f"{path}, {centre.shape[1]}x{centre.shape[0]} at its centre"
    )


__all__ = ["SIDE", "ImagePath", "picture_for"]
