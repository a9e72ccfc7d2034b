"""The job itself: a picture in, a larger picture out."""

from __future__ import annotations

from daq_deploy.errors import ModelError
from daq_deploy.metrics.pixels import Pixels, to_network, to_uint8
from daq_deploy.metrics.resize import resize_bicubic

from .images import Picture
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
    try:
        return to_uint8(output, session.value_range)
    except ModelError as error:
        raise ModelError(f"{session.name}: {error}") from error


__all__ = ["upscale", "upscale_pixels"]
