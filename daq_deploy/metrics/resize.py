"""Bicubic resizing as MATLAB's `imresize` does it: the convention of super-resolution benchmarks.

Keys' cubic kernel with a = -0.5, widened by the factor when shrinking (antialiasing), symmetric borders. Height is
resized first and, for 8-bit pictures, rounded before width is: this reproduces the published LR images of Set5 and
Set14 bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .pixels import Unsigned


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -0.5 (Keys 1981, equation 15)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _taps(size: int, new_size: int, factor: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Source positions and weights of every output position: both (new_size, taps)."""
    stretch = min(factor, 1.0)
    width = 4 / stretch
    centre = (np.arange(new_size) + 0.5) / factor - 0.5
    first = np.floor(centre - width / 2).astype(np.intp)
    positions = first[:, None] + np.arange(int(np.ceil(width)) + 2)
    weights = stretch * _cubic(stretch * (centre[:, None] - positions))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    return mirrored[positions % (2 * size)], weights


def _resize_rows(image: npt.NDArray[np.float64], new_height: int, factor: float) -> npt.NDArray[np.float64]:
    positions, weights = _taps(image.shape[0], new_height, factor)
    used = np.any(weights != 0, axis=0)
    rows = np.zeros((new_height, *image.shape[1:]))
    for position, weight in zip(positions.T[used], weights.T[used], strict=True):
        rows += weight[:, None, None] * image[position]
    return rows


def resize_bicubic(image: npt.NDArray[Unsigned], factor: float) -> npt.NDArray[Unsigned]:
    """Resize a uint8 or uint16 picture (H, W, C) to (ceil(H * factor), ceil(W * factor), C)."""
    height, width = (int(np.ceil(size * factor)) for size in image.shape[:2])
    tall = _rounded(_resize_rows(image.astype(np.float64), height, factor), image.dtype)
    wide = _resize_rows(tall.astype(np.float64).transpose(1, 0, 2), width, factor)
    return _rounded(wide.transpose(1, 0, 2), image.dtype)


def crop_to_multiple(image: npt.NDArray[np.uint8], multiple: int) -> npt.NDArray[np.uint8]:
    """Cut bottom and right of a picture (H, W, C) so that both sizes divide by `multiple` (the field's "modcrop")."""
    height, width = (size - size % multiple for size in image.shape[:2])
    return image[:height, :width]


def _rounded(values: npt.NDArray[np.float64], dtype: np.dtype[Unsigned]) -> npt.NDArray[Unsigned]:
    # MATLAB rounds halves away from zero; values are non-negative after the clip.
    return np.floor(np.clip(values, 0, np.iinfo(dtype).max) + 0.5).astype(dtype)


__all__ = ["crop_to_multiple", "resize_bicubic"]
