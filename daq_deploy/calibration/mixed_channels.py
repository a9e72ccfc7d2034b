"""Give each channel its own bits: those that matter most get more, at a given average, without training.

What a channel costs at b bits is estimated as  gain * power * error(b):

error   mean squared error of the channel's values at b bits
power   sum of the squares of the weights that read it
gain    of the layer: error of the network's output when the layer alone is quantized, over the sum of error * power
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.numerics import ChannelStatistics
from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.passes.graph import float_constant
from daq_deploy.passes.plan import LayerReport, has_body_bits

from .bit_budget import LEAST_BITS, WIDTHS, Claim, hand_out
from .calibration import Progress, quantized_map
from .sensitivity import OutputSensitivity, by_feature_map


def mix_channel_bits(
    sensitivity: OutputSensitivity, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, progress: Progress
) -> dict[ir.Node, LayerReport]:
    """Return the plan with bits for each channel of the maps that have `activation_bits`, which is the average."""
    readers = by_feature_map(
        node
        for node, layer in plan.items()
        if has_body_bits(layer.role, config) and layer.activation_bits == config.activation_bits
    )
    claims = []
    for index, (feature_map, nodes) in enumerate(readers.items()):
        progress("Weighing channels", index / len(readers))
        claims.append(_claim(sensitivity, feature_map, nodes, plan, config))
    mixed = dict(plan)
    for nodes, bits in zip(readers.values(), hand_out(claims, config.activation_bits), strict=True):
        for node in nodes:
            mixed[node] = replace(plan[node], channel_bits=bits)
    return mixed


def _claim(
    sensitivity: OutputSensitivity,
    feature_map: ir.Value,
    readers: Sequence[ir.Node],
    plan: Mapping[ir.Node, LayerReport],
    config: DaqConfig,
) -> Claim:
    values, layer = sensitivity.value(feature_map), plan[readers[0]]
    channels, statistics = values.shape[1], ChannelStatistics.of(values)
    errors = np.stack(
        [
            np.square(
                quantized_map(values, replace(layer, channel_bits=(bits,) * channels), config, statistics) - values
            ).mean(axis=(0, 2, 3), dtype=np.float64)
            for bits in WIDTHS
        ]
    )
    power = sum((_power(node, channels) for node in readers), np.zeros(channels))
    at_layer_bits = float((errors[layer.activation_bits - LEAST_BITS] * power).sum())
    measured = sensitivity.output_error(
        {node: {0: quantized_map(values, plan[node], config, statistics)} for node in readers}
    )
    gain = measured / at_layer_bits if at_layer_bits > 0 else 0.0
    return Claim(values[0, 0].size, gain * errors * power)


def _power(node: ir.Node, channels: int) -> Float64Array:
    """Return the sum of the squares of the weights that read each input channel (C,)."""
    weight = float_constant(node.inputs[1])
    assert weight is not None
    groups = node.attributes.get_int("group", 1)
    squares = np.square(weight, dtype=np.float64).sum(axis=(2, 3))
    each: npt.NDArray[np.float64] = squares.reshape(groups, -1, squares.shape[1]).sum(axis=1).reshape(channels)
    return each


__all__ = ["mix_channel_bits"]
