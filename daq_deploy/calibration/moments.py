"""Second moments of what one output of a convolution reads, and of that with what it is to give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.numerics.steps import TINY
from daq_deploy.passes.padding import pads_of

ROUNDING = 1e-5
"""Error of the moments, as a fraction of the mean square of what is read."""


@dataclass(frozen=True)
class Moments:
    """Moments over all outputs of a convolution; K = I * kH * kW values are read for each, zero padding included."""

    covariance: Float64Array
    """Covariance of what is read (K, K), positive definite."""
    cross: Float64Array
    """Covariance of what is to be given with what is read (O, K)."""


def unfold(node: ir.Node, feature_map: npt.NDArray[np.float32], kernel: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return what each output position of a Conv (ONNX Conv-11, one group) reads: (I * kH * kW, positions).

    Args:
        node: the convolution; its pads, strides and dilations count.
        feature_map: of one image (I, H, W).
        kernel: (kH, kW).
    """
    top, left, bottom, right = pads_of(node, feature_map.shape[1:], kernel)
    strides = node.attributes.get_ints("strides", [1, 1])
    dilations = node.attributes.get_ints("dilations", [1, 1])
    padded = np.pad(feature_map, ((0, 0), (top, bottom), (left, right)))
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
    taps = windows[:, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return np.ascontiguousarray(taps.transpose(0, 3, 4, 1, 2)).reshape(feature_map.shape[0] * kernel[0] * kernel[1], -1)


def moments(
    node: ir.Node, feature_map: npt.NDArray[np.float32], output: npt.NDArray[np.float32], kernel: tuple[int, int]
) -> Moments:
    """Gather the moments over a batch.

    Args:
        node: a Conv of one group.
        feature_map: what it reads (N, I, H, W).
        output: what it is to give (N, O, H', W').
        kernel: (kH, kW).
    """
    size, outputs = feature_map.shape[1] * kernel[0] * kernel[1], output.shape[1]
    mean, output_mean = np.zeros(size), np.zeros(outputs)
    second, cross, count = np.zeros((size, size)), np.zeros((outputs, size)), 0
    # Image by image: unfolded maps are kH * kW times as large as the maps.
    for image, wanted in zip(feature_map, output.reshape(len(output), outputs, -1), strict=True):
        read = unfold(node, image, kernel)
        mean += read.sum(axis=1, dtype=np.float64)
        output_mean += wanted.sum(axis=1, dtype=np.float64)
        second += read @ read.T
        cross += wanted @ read.T
        count += read.shape[1]
    mean, output_mean = mean / count, output_mean / count
    second, cross = second / count, cross / count
    # What subtracting the means leaves of float32 sums is no better than this, and must stay positive definite.
    rounding = (ROUNDING * np.diagonal(second).mean() + TINY) * np.eye(size)
    return Moments(second - np.outer(mean, mean) + rounding, cross - np.outer(output_mean, mean))


__all__ = ["ROUNDING", "Moments", "moments", "unfold"]
