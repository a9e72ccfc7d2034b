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
    moved = torch.empty_like(feature_map)
    errors = torch.zeros_like(feature_map[..., ::RUN])
    for x in range(min(RUN, feature_map.shape[3])):
        pixels = feature_map[..., x::RUN]
        before = errors[..., : pixels.shape[3]]  # the last run may end before this pixel
        errors = torch.zeros_like(pixels)
        for group in feedback.groups:
            values = pixels + torch.einsum("oi,nihw->nohw", coefficients, torch.cat([before, errors], dim=1))
            errors[:, group] = (nearest_codes(values) * step + lo - values)[:, group]
        # A channel is moved by channels before it alone, so that every one of them has its final value here.
        moved[..., x::RUN] = values
    return moved


__all__ = ["moved_by_errors"]
