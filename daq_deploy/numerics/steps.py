"""Constants of the quantizer."""

from __future__ import annotations

import numpy as np

UNIT_STEP = np.array([np.nan, 1.5958, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308])
"""Step of the optimal uniform mid-rise quantizer of a unit Gaussian, indexed by bits 1..8 (Max 1960, table II)."""

TINY = 1e-15
"""Smallest step; a constant channel gets it. Squares of spreads above it do not underflow in float32."""

LARGEST_SPREAD = 2.0**63
"""Spreads end here: the square of a larger one overflows in float32."""

__all__ = ["LARGEST_SPREAD", "TINY", "UNIT_STEP"]
