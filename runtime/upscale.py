"""Upscale a picture that fits in memory, in one run of an opened network."""

from __future__ import annotations

import numpy.typing as npt

from daq_deploy.errors import ModelError
from daq_deploy.metrics.pixels import Unsigned, to_network, to_pixels

from .session import Session


def upscale_pixels(session: Session, pixels: npt.NDArray[Unsigned]) -> npt.NDArray[Unsigned]:
    """Upscale uint8 or uint16 (H, W, 3) to (scale * H, scale * W, 3) of the same type.

    Raises:
        ImageError: the network does not read RGB, or not this size.
        ModelError: the network cannot run at this size, or gives values that are not numbers.
        OutOfMemoryError: it needs more memory than there is.
    """
    output = session.run(to_network(pixels, session.value_range))
    try:
        return to_pixels(output, session.value_range, pixels.dtype)
    except ModelError as error:
        raise ModelError(f"{session.name}: {error}") from error


__all__ = ["upscale_pixels"]
