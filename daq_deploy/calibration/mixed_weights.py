"""Give the weights of each layer their own bits: layers that matter most get more, at a given average, without training.

What a layer costs at b bits is estimated as  gain * error(b):

error   mean squared error of what the layer gives with error-compensated weights of b bits and the bias put right
gain    error of the network's output when the layer's weights alone have the average bits, over error(average)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.passes.plan import LayerReport, has_body_bits
from daq_deploy.passes.roles import reads_pooled_map

from .bit_budget import LEAST_BITS, WIDTHS, Claim, hand_out
from .calibration import Progress
from .layer_weights import rounding
from .sensitivity import OutputSensitivity


def mix_weight_bits(
    sensitivity: OutputSensitivity, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, progress: Progress
) -> dict[ir.Node, LayerReport]:
    """Return the plan with bits for the weights of each layer that has `weight_bits`, which is the average.

    Layers that read a 1x1 map keep theirs: a few pictures give them too few values to tell what they cost.
    """
    nodes = [
        node
        for node, layer in plan.items()
        if has_body_bits(layer.role, config) and layer.weight_bits == config.weight_bits and not reads_pooled_map(node)
    ]
    claims = []
    for index, node in enumerate(nodes):
        progress("Weighing layers", index / len(nodes))
        claims.append(_claim(sensitivity, node, plan[node]))
    mixed = dict(plan)
    for node, (bits,) in zip(nodes, hand_out(claims, config.weight_bits), strict=True):
        mixed[node] = replace(plan[node], weight_bits=bits)
    return mixed


def _claim(sensitivity: OutputSensitivity, node: ir.Node, layer: LayerReport) -> Claim:
    feature_map = node.inputs[0]
    assert feature_map is not None
    values, exact = sensitivity.value(feature_map), sensitivity.value(node.outputs[0])
    round_to = rounding(node, values, exact, ridge=1.0)
    errors, measured = [], 0.0
    for bits in WIDTHS:
        weights = round_to(bits).dequantize()
        (biasless,) = sensitivity.execute(node, [values, weights])
        missing = exact - np.asarray(biasless)
        errors.append(float(missing.var(axis=(0, 2, 3), dtype=np.float64).sum()))
        if bits == layer.weight_bits:
            bias = missing.mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
            measured = sensitivity.output_error({node: {1: weights, 2: bias}})
    at_average = errors[layer.weight_bits - LEAST_BITS]
    gain = measured / at_average if at_average > 0 else 0.0
    return Claim(math.prod(layer.weight_shape), gain * np.array(errors)[:, None])


__all__ = ["mix_weight_bits"]
