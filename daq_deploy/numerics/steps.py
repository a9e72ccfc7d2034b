"""Constants of the quantizer."""

from __future__ import annotations

import numpy as np

UNIT_STEP = np.array([np.nan, 1.5958, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308])
"""Step of the optimal uniform mid-rise quantizer of a unit Gaussian, indexed by bits 1..8 (Max 1960, table II)."""

TINY = 1e-15
"""Smallest step; a constant channel gets it. Squares of spreads above it do not underflow in float32."""

LARGEST_SPREAD = 2.0**50
"""Spreads end here. Squares of what has a smaller one add up in float32 without overflow, over 2^27 values; those of a larger
one may, to infinity: both give this spread, whatever the order of the sums."""

__all__ = ["LARGEST_SPREAD", "TINY", "UNIT_STEP"]
