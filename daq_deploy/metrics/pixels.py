"""Between pictures of 8 or 16 bits and what a network reads and writes, and the part of a picture that is measured."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from daq_deploy.errors import ModelError

Pixels = npt.NDArray[np.uint8]
Unsigned = TypeVar("Unsigned", np.uint8, np.uint16)
"""Pixels of 8 or 16 bits a channel."""
Float64Array = npt.NDArray[np.float64]


def to_network(picture: npt.NDArray[Unsigned], value_range: float) -> npt.NDArray[np.float32]:
    """Turn a uint8 or uint16 picture (H, W, C) into float32 (1, C, H, W) in 0..value_range."""
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
    return planes * np.float32(value_range / np.iinfo(picture.dtype).max)


def to_uint8(output: npt.NDArray[np.float32], value_range: float) -> Pixels:
    """Turn a network's output (1, 3, H, W), 0..value_range and somewhat beyond, into a uint8 picture (H, W, 3).

    Values are clipped, then rounded, halves to even.

    Raises:
        ModelError: some values are NaN or infinite.
    """
    pixels: Pixels = to_pixels(output, value_range, np.dtype(np.uint8))
    return pixels


def to_pixels(output: npt.NDArray[np.float32], value_range: float, dtype: np.dtype[Unsigned]) -> npt.NDArray[Unsigned]:
    """Turn a network's output (1, C, H, W) into a picture (H, W, C) of `dtype`, uint8 or uint16, as `to_uint8` does.

    Raises:
        ModelError: some values are NaN or infinite.
    """
    if not np.isfinite(output).all():
        raise ModelError("the network gives values that are NaN or infinite")
    highest = np.iinfo(dtype).max
    values = np.rint(np.clip(output[0] * np.float32(highest / value_range), 0, highest))
    return np.ascontiguousarray(values.astype(dtype).transpose(1, 2, 0))


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


__all__ = ["Float64Array", "Pixels", "Unsigned", "shave", "to_network", "to_pixels", "to_uint8", "y_channel"]
