"""Error feedback in PyTorch, straight from its definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from daq_deploy.numerics import ErrorFeedback


def moved_by_errors(
    feature_map: Tensor, lo: Tensor, step: Tensor, nearest_codes: Callable[[Tensor], Tensor], feedback: ErrorFeedback
) -> Tensor:
    """Return a feature map (N, C, H, W) whose channels make good what those rounded before them lost.

    Args:
        feature_map: float32.
        lo, step: of each channel (N, C, 1, 1).
        nearest_codes: from values (N, C, H, W) to their codes.
        feedback: order and coefficients.
    """
    coefficients = torch.from_numpy(feedback.coefficients).float()
    errors = torch.zeros_like(feature_map)
    moved = feature_map
    for group in feedback.groups:
        moved = feature_map + torch.einsum("oi,nihw->nohw", coefficients, errors)
        levels = nearest_codes(moved) * step + lo
        errors[:, group] = (levels - moved)[:, group]
    # A channel is moved by channels before it alone, so that every one of them has its final value here.
    return moved


__all__ = ["moved_by_errors"]
