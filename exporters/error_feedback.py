"""Error feedback in PyTorch, straight from its definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.error_feedback import RUN


def moved_by_errors(
    feature_map: Tensor, lo: Tensor, step: Tensor, nearest_codes: Callable[[Tensor], Tensor], feedback: ErrorFeedback
) -> Tensor:
    """Return a feature map (N, C, H, W) moved by what was lost to the left and in channels that are rounded before.

    Args:
        feature_map: float32.
        lo, step: of each channel (N, C, 1, 1).
        nearest_codes: from values (N, C, H, W) to their codes.
        feedback: order and coefficients.
    """
    coefficients = torch.from_numpy(feedback.coefficients).float()
    errors = torch.zeros_like(feature_map)
    moved = feature_map
    in_run = torch.arange(feature_map.shape[3]) % RUN
    for x in range(RUN):
        for group in feedback.groups:
            before = torch.roll(errors, 1, dims=3) * (in_run > 0)
            moved = feature_map + torch.einsum("oi,nihw->nohw", coefficients, torch.cat([before, errors], dim=1))
            found = (nearest_codes(moved) * step + lo - moved)[:, group]
            errors[:, group] = torch.where(in_run == x, found, errors[:, group])
    # A value is moved by those before it alone, so that every one of them is final here.
    return moved


__all__ = ["moved_by_errors"]
