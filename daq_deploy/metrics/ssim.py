"""Structural similarity (Wang, Bovik, Sheikh and Simoncelli, 2004), as MATLAB's original code and BasicSR compute it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_deploy.errors import ImageError

from .pixels import Float64Array
from .psnr import PEAK

WINDOW = 11
SIGMA = 1.5
_WEIGHTS = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
_WEIGHTS /= _WEIGHTS.sum()
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def ssim(found: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the mean structural similarity of two pictures (H, W) or (H, W, C) of one shape, values 0..255.

    Local moments are taken under a Gaussian window of 11x11 and standard deviation 1.5, only where the window lies
    inside the picture. Channels are averaged.

    Raises:
        ImageError: a side is shorter than the window.
    """
    x, y = np.asarray(found, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if min(x.shape[:2]) < WINDOW:
        raise ImageError(f"{x.shape[1]}x{x.shape[0]} pixels to measure: SSIM needs {WINDOW} a side at least")
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return float(np.mean(luminance * structure))


def _blur(values: Float64Array) -> Float64Array:
    """Filter height and width with the Gaussian window; the result is 10 shorter in both."""
    return _blur_rows(_blur_rows(values).swapaxes(0, 1)).swapaxes(0, 1)


def _blur_rows(values: Float64Array) -> Float64Array:
    height = values.shape[0] - WINDOW + 1
    blurred = np.zeros((height, *values.shape[1:]))
    for first, weight in enumerate(_WEIGHTS):
        blurred += weight * values[first : first + height]
    return blurred


__all__ = ["SIGMA", "WINDOW", "ssim"]
