"""The picture that networks run on where none is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def gradients_and_edges(height: int, width: int, value_range: float, channels: int = 3) -> npt.NDArray[np.float32]:
    """Return a deterministic picture of gradients, a disc and bars, float32 (1, channels, height, width), 0..value_range.

    No noise: on noise some super-resolution networks give values many times the range of a picture.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    planes = [0.15 + 0.5 * (x if channel % 2 == 0 else 1 - x) + 0.2 * y for channel in range(channels)]
    picture = np.stack(planes)
    colours = np.array([0.9, 0.25, 0.1, 0.6])[np.arange(channels) % 4].reshape(-1, 1, 1)
    disc = np.hypot(x - 0.62, y - 0.4) < 0.22
    bars = (y > 0.7) & (np.floor(12 * (x + 0.3 * y)) % 2 == 0)
    picture = np.where(disc, colours, np.where(bars, 1 - colours, picture))
    image: npt.NDArray[np.float32] = (value_range * np.clip(picture, 0, 1)).astype(np.float32)
    return image[None]


__all__ = ["gradients_and_edges"]
