"""Between 8-bit pictures and what a network reads and writes, and the part of a picture that is measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_deploy.errors import ModelError

Pixels = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]


def to_network(picture: Pixels, value_range: float) -> npt.NDArray[np.float32]:
    """Turn a uint8 picture (H, W, 3) into float32 (1, 3, H, W) in 0..value_range."""
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
    return planes * np.float32(value_range / 255)


def to_uint8(output: npt.NDArray[np.float32], value_range: float) -> Pixels:
    """Turn a network's output (1, 3, H, W), 0..value_range and somewhat beyond, into a uint8 picture (H, W, 3).

    Values are clipped, then rounded, halves to even.

    Raises:
        ModelError: some values are NaN or infinite.
    """
    if not np.isfinite(output).all():
        raise ModelError("the network gives values that are NaN or infinite")
    values = np.rint(np.clip(output[0] * np.float32(255 / value_range), 0, 255))
    return np.ascontiguousarray(values.astype(np.uint8).transpose(1, 2, 0))


def y_channel(picture: Pixels) -> Float64Array:
    """Return the luma (H, W), 16..235 and not rounded, of a uint8 RGB picture (H, W, 3): ITU-R BT.601, studio swing.

    The coefficients are those of EDSR's code over 256. MATLAB and BasicSR have 65.481, 128.553, 24.966 over 255: the
    same but for the last digit, at most 0.0004 of the luma.
    """
    luma: Float64Array = picture.astype(np.float64) @ np.array([65.738, 129.057, 25.064]) / 256 + 16
    return luma


def shave(picture: Pixels, border: int) -> Pixels:
    """Cut `border` pixels off each side of a picture (H, W, C)."""
    height, width = picture.shape[:2]
    return picture[border : height - border, border : width - border]


__all__ = ["Float64Array", "Pixels", "shave", "to_network", "to_uint8", "y_channel"]
