"""The range rules of other tools, run by numpy: what DAQ is compared with.

Activation ranges are dynamic, asymmetric and of 2^bits - 1 equal steps, as DAQ's; only where they end differs. Which
convolutions are quantized, at what bits, and how weights are rounded is decided as for DAQ, so that a table compares
range rules and nothing else.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.calibration.lockstep import Stream
from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import TINY, ChannelRange, dequantize, quantize, quantize_weights
from daq_deploy.passes.graph import float_constant
from daq_deploy.passes.plan import plan_layers

from .executor import OrtExecutor

Float32Array = npt.NDArray[np.float32]
Clips = tuple[Float32Array, Float32Array]
"""Where the levels of each channel begin and end, (N, C) both."""


class ClipRule(Protocol):
    """A function that says where levels begin and end."""

    __name__: str

    def __call__(self, feature_map: Float32Array, bits: int, /) -> Clips:
        """Return the clips of a feature map (N, C, H, W)."""


PERCENTILE = 99.9
"""Percentile at which `percentile_per_channel` clips above; below it clips at what is left to 100."""

_BINS = 1024
"""Bins of the histogram from which `mse_per_channel` works."""
_CLIP_FRACTIONS = np.geomspace(1, 0.05, 64, dtype=np.float32)
"""Clips that are tried, as fractions of the way from the mean to the extreme."""
_ROUNDS = 2
"""How often the upper and the lower clip are chosen in turn."""


def min_max_per_tensor(feature_map: Float32Array, bits: int) -> Clips:
    """From the smallest to the largest value of an image's feature map."""
    shape = feature_map.shape[:2]
    low, high = (reduce(feature_map, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    return np.broadcast_to(low[:, :, 0, 0], shape), np.broadcast_to(high[:, :, 0, 0], shape)


def min_max_per_channel(feature_map: Float32Array, bits: int) -> Clips:
    """From the smallest to the largest value of a channel."""
    return feature_map.min(axis=(2, 3)), feature_map.max(axis=(2, 3))


def percentile_per_channel(feature_map: Float32Array, bits: int) -> Clips:
    """A channel without the 0.1 % of its values that are smallest and the 0.1 % that are largest."""
    values = feature_map.reshape(*feature_map.shape[:2], -1)
    low, high = np.percentile(values, (100 - PERCENTILE, PERCENTILE), axis=2)
    return low.astype(np.float32), high.astype(np.float32)


def mse_per_channel(feature_map: Float32Array, bits: int) -> Clips:
    """The clips of least squared error in a channel, searched on its histogram, upper and lower in turn."""
    images, channels = feature_map.shape[:2]
    values = feature_map.reshape(images * channels, -1)
    counts, levels = _histogram(values)
    mean = values.mean(axis=1, dtype=np.float64).astype(np.float32)
    low, high = values.min(axis=1), values.max(axis=1)
    lowest, highest = low, high

    def error(begin: Float32Array, end: Float32Array) -> Float32Array:
        step = np.maximum((end - begin) / np.float32(2**bits - 1), np.float32(TINY))[:, None]
        codes = np.clip(np.rint((levels - begin[:, None]) / step), 0, 2**bits - 1)
        total: Float32Array = (counts * np.square(codes * step + begin[:, None] - levels)).sum(axis=1)
        return total

    rows = np.arange(len(values))
    for _ in range(_ROUNDS):
        ends = mean + _CLIP_FRACTIONS[:, None] * (highest - mean)
        high = ends[np.stack([error(low, end) for end in ends]).argmin(axis=0), rows]
        begins = mean - _CLIP_FRACTIONS[:, None] * (mean - lowest)
        low = begins[np.stack([error(begin, high) for begin in begins]).argmin(axis=0), rows]
    return low.reshape(images, channels), high.reshape(images, channels)


def _histogram(values: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return how many values of each row are in each bin, and the mean of those; (rows, _BINS) both."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    width = np.maximum((high - low) / np.float32(_BINS), np.float32(TINY))
    bins = np.minimum((values - low) / width, _BINS - 1).astype(np.intp)
    flat = (bins + np.arange(len(values))[:, None] * _BINS).reshape(-1)
    size = len(values) * _BINS
    counts = np.bincount(flat, minlength=size)
    totals = np.bincount(flat, weights=values.reshape(-1), minlength=size)
    shape = (len(values), _BINS)
    return counts.reshape(shape).astype(np.float32), (totals / np.maximum(counts, 1)).reshape(shape).astype(np.float32)


def clipped_and_rounded(feature_map: Float32Array, bits: int, rule: ClipRule) -> Float32Array:
    """Quantize and dequantize a feature map (N, C, H, W) by a rule: what a convolution reads."""
    low, high = rule(feature_map, bits)
    step = np.maximum((high - low) / np.float32(2**bits - 1), np.float32(TINY))
    channels = ChannelRange(low, step)
    return dequantize(quantize(feature_map, channels, bits), channels)


class BaselineRunner:
    """A network whose convolutions read feature maps quantized by a rule of another tool; a `Runner`.

    Args:
        model: float, folded; it is left as it is.
        config: which layers are quantized, at what bits, and the weight rule, `nearest` or `paper`. Its range rule
            counts only where it decides what is quantized: `deploy` leaves the picture, which has 8 bits, alone.
        rule: of the activations.
        threads: threads within a node; None leaves it to ONNX Runtime.
    """

    def __init__(self, model: ir.Model, config: DaqConfig, rule: ClipRule, threads: int | None = None) -> None:
        self.value_range = float(model.metadata_props.get("daq.value_range", "255"))
        self._graph, self._rule = model.graph, rule
        self._execute = OrtExecutor(model.opset_imports[""], threads)
        self._plan = plan_layers(model.graph, config)
        self._weights: dict[ir.Node, Float32Array] = {}
        for node, layer in self._plan.items():
            weight = float_constant(node.inputs[1])
            if layer.weight_bits != FLOAT_BITS and weight is not None:
                self._weights[node] = quantize_weights(weight, layer.weight_bits, config.weight_rule).dequantize()

    def run(self, image: Float32Array) -> Float32Array:
        """Upscale float32 (N, C, H, W) in 0..value_range to float32 (N, C, scale * H, scale * W), not clipped.

        Raises:
            ModelError: a node cannot be run by itself.
        """
        stream = Stream(self._graph, image, self._execute)
        for node in self._graph:
            stream.run(node, self._replaced(node, stream))
        return np.asarray(stream.read(self._graph.outputs[0]), dtype=np.float32)

    def _replaced(self, node: ir.Node, stream: Stream) -> dict[int, npt.NDArray[np.generic]]:
        replaced: dict[int, npt.NDArray[np.generic]] = {}
        if node in self._weights:
            replaced[1] = self._weights[node]
        layer = self._plan.get(node)
        if layer is not None and layer.activation_bits != FLOAT_BITS:
            feature_map = np.asarray(stream.read(node.inputs[0]), dtype=np.float32)
            replaced[0] = clipped_and_rounded(feature_map, layer.activation_bits, self._rule)
        return replaced


__all__ = [
    "PERCENTILE",
    "BaselineRunner",
    "ClipRule",
    "clipped_and_rounded",
    "min_max_per_channel",
    "min_max_per_tensor",
    "mse_per_channel",
    "percentile_per_channel",
]
