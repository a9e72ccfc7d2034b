"""The job itself: a picture in, a larger picture out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_deploy.errors import ModelError
from daq_deploy.metrics.resize import resize_bicubic

from .images import Picture, Pixels
from .session import Session


def upscale(session: Session, picture: Picture) -> Picture:
    """Return the picture `session.scale` times as wide and as high; opacity is resized bicubically.

    Raises:
        ImageError: the network does not read RGB, or not this size.
        ModelError: the network cannot run at this size, or gives values that are not numbers.
    """
    rgb = upscale_pixels(session, picture.rgb)
    alpha = None
    if picture.alpha is not None:
        alpha = resize_bicubic(picture.alpha[..., None], rgb.shape[0] / picture.rgb.shape[0])[..., 0]
    return Picture(rgb, alpha, picture.notes, picture.icc_profile)


def upscale_pixels(session: Session, rgb: Pixels) -> Pixels:
    """Upscale uint8 (H, W, 3) to uint8 (scale * H, scale * W, 3) in one run.

    Raises:
        ImageError, ModelError: as `upscale`.
    """
    output = session.run(to_network(rgb, session.value_range))
    if not np.isfinite(output).all():
        raise ModelError(f"{session.name}: gives values that are not finite numbers for this picture")
    return to_pixels(output, session.value_range)


def to_network(rgb: Pixels, value_range: float) -> npt.NDArray[np.float32]:
    """Turn uint8 (H, W, 3) into float32 (1, 3, H, W) in 0..value_range."""
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], dtype=np.float32)
    return planes * np.float32(value_range / 255)


def to_pixels(output: npt.NDArray[np.float32], value_range: float) -> Pixels:
    """Turn float32 (1, 3, H, W) in 0..value_range, or somewhat beyond, into uint8 (H, W, 3): clipped and rounded."""
    values = np.rint(np.clip(output[0] * np.float32(255 / value_range), 0, 255))
    return np.ascontiguousarray(values.astype(np.uint8).transpose(1, 2, 0))


__all__ = ["to_network", "to_pixels", "upscale", "upscale_pixels"]
