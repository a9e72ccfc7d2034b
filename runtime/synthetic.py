"""A picture to measure with where none is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def smooth_image(height: int, width: int, value_range: float = 255.0, channels: int = 3) -> npt.NDArray[np.float32]:
    """Return a deterministic picture of slow waves, float32 (1, channels, height, width) in 0..value_range.

    Smooth on purpose: on noise some super-resolution networks give values many times the range of a picture.
    """
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    waves = [
        np.sin(2 * np.pi * ((1 + channel) * rows + 2 * columns)) * np.cos(2 * np.pi * (columns - channel * rows))
        for channel in range(channels)
    ]
    image: npt.NDArray[np.float32] = (value_range * (0.5 + 0.5 * np.stack(waves))).astype(np.float32)
    return image[None]


__all__ = ["smooth_image"]
