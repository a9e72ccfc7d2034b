"""Random error feedback."""

from __future__ import annotations

import numpy as np

from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP


def random_feedback(generator: np.random.Generator, channels: int, size: float = 0.2) -> ErrorFeedback:
    """Any order, and coefficients from groups to those after them."""
    order = generator.permutation(-(-channels // GROUP))
    rank = np.argsort(order)[np.arange(channels) // GROUP]
    coefficients = generator.normal(0, size, (channels, channels)) * (rank[:, None] > rank[None, :])
    return ErrorFeedback(tuple(order.tolist()), coefficients.astype(np.float16))
