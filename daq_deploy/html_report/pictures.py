"""Pictures inside the page: which part is shown, and how it is stored.

Stored without loss, so that a difference seen on the page is the network's. What does not fit is cut.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from daq_deploy.metrics.pixels import Pixels

_LEAST_BYTES_A_PIXEL = 0.4
"""What even a smooth picture takes without loss: a first guess must not encode more than could fit."""
_THUMBNAIL_SIDE = 180


@dataclass(frozen=True)
class Window:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, pixels: Pixels) -> Pixels:
        """Return the part of a picture (H, W, 3)."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def encode_versions(
    versions: Sequence[Pixels], error: npt.NDArray[np.float64], budget: int
) -> tuple[Window, list[str]]:
    """Return the part that is shown, and each picture's part as a data URI of lossless WebP.

    Args:
        versions: uint8 (H, W, 3), all of one size.
        error: (H, W); where not everything fits, the part with the largest sum of it is shown.
        budget: bytes that the data URIs may take together.
    """
    height, width = error.shape
    area = min(float(height * width), budget / len(versions) / _LEAST_BYTES_A_PIXEL)
    while True:
        window = _worst_window(error, area)
        encoded = [_data_uri(window.cut(pixels), "WEBP", lossless=True, exact=True) for pixels in versions]
        size = sum(map(len, encoded))
        if size <= budget or window.width * window.height <= 1:
            return window, encoded
        area = window.width * window.height * min(0.95 * budget / size, 0.95)


def thumbnail(pixels: Pixels) -> str:
    """Return a small copy of a picture as a data URI of JPEG."""
    image = Image.fromarray(pixels)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return _data_uri(np.asarray(image), "JPEG", quality=80)


def _worst_window(error: npt.NDArray[np.float64], area: float) -> Window:
    """Return the window of about this area, in the picture's shape as far as it is not extreme, with the most error."""
    height, width = error.shape
    aspect = min(max(width / height, 0.5), 2.0)
    shown_width = min(width, max(1, int(math.sqrt(area * aspect))))
    shown_height = min(height, max(1, int(area / shown_width)))
    shown_width = min(width, max(1, int(area / shown_height)))
    sums = np.pad(error.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    boxes = (
        sums[shown_height:, shown_width:]
        - sums[:-shown_height, shown_width:]
        - sums[shown_height:, :-shown_width]
        + sums[:-shown_height, :-shown_width]
    )
    top, left = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return Window(int(left), int(top), shown_width, shown_height)


def _data_uri(pixels: Pixels, image_format: str, **options: object) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format, **options)
    return f"data:image/{image_format.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


__all__ = ["Window", "encode_versions", "thumbnail"]
