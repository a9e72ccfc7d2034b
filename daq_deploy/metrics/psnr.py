"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

PEAK = 255.0


def psnr(found: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return 10 log10(255^2 / mean squared difference) in dB of two arrays of one shape, values 0..255.

    Over a colour picture the mean is over pixels and channels alike. Equal arrays give infinity.
    """
    difference = np.asarray(found, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    mean_square = float(np.mean(difference**2))
    return 10 * math.log10(PEAK**2 / mean_square) if mean_square > 0 else math.inf


__all__ = ["PEAK", "psnr"]
