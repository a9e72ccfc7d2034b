"""What the method needs from a runtime: something that turns an image into a larger one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Runner(Protocol):
    """An opened super-resolution network.

    Attributes:
        value_range: largest pixel value of input and output, 255.0 or 1.0.
    """

    value_range: float

    def run(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Upscale float32 (N, 3, H, W) in 0..value_range to float32 (N, 3, scale * H, scale * W)."""


__all__ = ["Runner"]
