"""Give each channel its own bits: those that matter most get more, at a given average, without training.

What a channel costs at b bits is estimated as  gain * power * error(b):

error   mean squared error of the channel's values at b bits
power   sum of the squares of the weights that read it
gain    of the layer: error of the network's output when the layer alone is quantized, over the sum of error * power

Bits are then handed out one by one, each to the channel whose cost it lowers most.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.passes.graph import float_constant
from daq_deploy.passes.plan import LayerReport

from .calibration import Calibration, quantized_map
from .sensitivity import PICTURES, OutputSensitivity

LEAST_BITS, MOST_BITS = 2, 8


@dataclass(frozen=True)
class _Map:
    """A feature map whose channels are to get bits."""

    readers: tuple[ir.Node, ...]
    values: int
    """Values a channel."""
    costs: Float64Array
    """Estimated error of the output, (MOST_BITS - LEAST_BITS + 1, C)."""


def mix_bits(
    graph: ir.Graph, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, calibration: Calibration
) -> dict[ir.Node, LayerReport]:
    """Return the plan with bits for each channel of the maps that have `activation_bits`, which is the average."""
    sensitivity = OutputSensitivity(graph, calibration.images[:PICTURES], calibration.execute)
    groups: dict[ir.Value, list[ir.Node]] = {}
    for node, layer in plan.items():
        feature_map = node.inputs[0]
        body = layer.role not in config.edges and layer.role != "attention"
        if body and layer.activation_bits == config.activation_bits and feature_map is not None:
            groups.setdefault(feature_map, []).append(node)
    maps = []
    for index, (feature_map, readers) in enumerate(groups.items()):
        calibration.progress("Weighing channels", index / len(groups))
        maps.append(_weigh(sensitivity, feature_map, readers, plan, config))
    mixed = dict(plan)
    for item, bits in zip(maps, _hand_out(maps, config.activation_bits), strict=True):
        for node in item.readers:
            mixed[node] = replace(plan[node], channel_bits=bits)
    return mixed


def _weigh(
    sensitivity: OutputSensitivity,
    feature_map: ir.Value,
    readers: Sequence[ir.Node],
    plan: Mapping[ir.Node, LayerReport],
    config: DaqConfig,
) -> _Map:
    values, layer = sensitivity.value(feature_map), plan[readers[0]]
    channels = values.shape[1]
    errors = np.stack(
        [
            np.square(quantized_map(values, replace(layer, channel_bits=(bits,) * channels), config) - values).mean(
                axis=(0, 2, 3), dtype=np.float64
            )
            for bits in range(LEAST_BITS, MOST_BITS + 1)
        ]
    )
    power = sum((_power(node, channels) for node in readers), np.zeros(channels))
    at_layer_bits = float((errors[layer.activation_bits - LEAST_BITS] * power).sum())
    measured = sensitivity.output_error({node: {0: quantized_map(values, plan[node], config)} for node in readers})
    gain = measured / at_layer_bits if at_layer_bits > 0 else 0.0
    return _Map(tuple(readers), values[0, 0].size, gain * errors * power)


def _power(node: ir.Node, channels: int) -> Float64Array:
    """Return the sum of the squares of the weights that read each input channel (C,)."""
    weight = float_constant(node.inputs[1])
    assert weight is not None
    groups = node.attributes.get_int("group", 1)
    squares = np.square(weight, dtype=np.float64).sum(axis=(2, 3))
    each: npt.NDArray[np.float64] = squares.reshape(groups, -1, squares.shape[1]).sum(axis=1).reshape(channels)
    return each


def _hand_out(maps: Sequence[_Map], average: int) -> list[tuple[int, ...]]:
    """Return the bits of each map's channels; weighted by their values they are at most `average` on average."""
    bits = [np.full(item.costs.shape[1], LEAST_BITS) for item in maps]
    budget = sum(item.values * item.costs.shape[1] for item in maps) * (average - LEAST_BITS)
    queue: list[tuple[float, int, int]] = []

    def offer(index: int, channel: int) -> None:
        """Queue a channel's next bit; its gain is the best average over the bits to come, so that no step hides a better."""
        item, at = maps[index], int(bits[index][channel]) - LEAST_BITS
        costs = item.costs[at:, channel]
        if len(costs) > 1:
            falls = (costs[0] - costs[1:]) / np.arange(1, len(costs))
            heapq.heappush(queue, (-float(falls.max()) / item.values, index, channel))

    for index, item in enumerate(maps):
        for channel in range(item.costs.shape[1]):
            offer(index, channel)
    while queue:
        _, index, channel = heapq.heappop(queue)
        if maps[index].values <= budget:
            budget -= maps[index].values
            bits[index][channel] += 1
            offer(index, channel)
    return [tuple(int(number) for number in some) for some in bits]


__all__ = ["mix_bits"]
