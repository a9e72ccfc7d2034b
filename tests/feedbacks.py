"""Random error feedback, and networks that have it."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from daq_deploy import quantization
from daq_deploy.config import DaqConfig
from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.passes.plan import LayerReport


def random_feedback(
    generator: np.random.Generator, channels: int, size: float = 0.2, from_left: bool = True
) -> ErrorFeedback:
    """Any order, and coefficients from groups to those after them, and perhaps from the pixel to the left."""
    order = generator.permutation(-(-channels // GROUP))
    rank = np.argsort(order)[np.arange(channels) // GROUP]
    coefficients = generator.normal(0, size, (channels, 2 * channels))
    coefficients[:, :channels] *= from_left
    coefficients[:, channels:] *= rank[:, None] > rank[None, :]
    return ErrorFeedback(tuple(order.tolist()), coefficients.astype(np.float16))


def fed_back(model: onnx.ModelProto, config: DaqConfig, inline: bool = False) -> ir.Model:
    """A DAQ graph in which every feature map of fewer than 8 bits has random error feedback."""

    def plan_layers(graph: ir.Graph, config: DaqConfig) -> dict[ir.Node, LayerReport]:
        plan = dict(quantization_plan(graph, config))
        for node, layer in plan.items():
            if layer.activation_bits < 8:
                channels = layer.weight_shape[1] * node.attributes.get_int("group", 1)
                generator = np.random.default_rng(zlib.crc32(str(node.inputs[0].name).encode()))
                feedback = random_feedback(generator, channels, 0.2 / channels**0.5, bool(generator.integers(2)))
                plan[node] = replace(layer, error_feedback=True, feedback=feedback)
        return plan

    quantization_plan = quantization.plan_layers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "plan_layers", plan_layers)
        return quantization.quantize(ir.from_proto(model), config, inline=inline).model
