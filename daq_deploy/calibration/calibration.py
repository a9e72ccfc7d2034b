"""What calibrating needs, and what its parts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import ChannelStatistics, QuantizedWeights, fake_quantize
from daq_deploy.passes.plan import LayerReport

from .images import held_out_pictures
from .lockstep import Executor

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""


@dataclass(frozen=True)
class Calibration:
    """Pictures, and what runs a network on them."""

    images: npt.NDArray[np.float32]
    """On which ranges and bits are chosen, float32 (N, C, H, W) in 0..255."""
    execute: Executor
    """Computes nodes."""
    progress: Progress = lambda title, share: None
    held_out: npt.NDArray[np.float32] = field(default_factory=held_out_pictures)
    """Pictures on which results are compared that were made on the others."""
    images_of_weights: npt.NDArray[np.float32] | None = None
    """On which weights are rounded; None takes `images`."""


@dataclass(frozen=True)
class CalibratedLayer:
    """What a convolution gets in place of its float weights."""

    weights: QuantizedWeights
    bias: npt.NDArray[np.float32] | None
    """(O,); None keeps the one it has."""


def quantized_map(
    feature_map: npt.NDArray[np.float32],
    layer: LayerReport,
    config: DaqConfig,
    statistics: ChannelStatistics | None = None,
) -> npt.NDArray[np.float32]:
    """Return what a layer of the plan reads in place of a feature map (N, C, H, W), whose statistics may be known already."""
    if layer.activation_bits == FLOAT_BITS:
        return feature_map
    assert layer.feedback is not None or not layer.error_feedback, "the coefficients are in the graph: see layers_of"
    return fake_quantize(
        feature_map,
        layer.bits_of_channels,
        config.range_rule,
        layer.signed,
        config.range_bits,
        layer.tail_of_channels,
        layer.companded,
        layer.feedback,
        statistics,
    )


__all__ = ["CalibratedLayer", "Calibration", "Progress", "quantized_map"]
