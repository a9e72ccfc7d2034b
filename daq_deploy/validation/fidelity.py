"""What quantization costs each layer: signal over quantization noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.blocks import DaqBlock
from daq_deploy.passes.graph import convolutions, dequantized_weights, float_constant
from daq_deploy.quantization import fold

from .report import LayerFidelity
from .sessions import OutputRunner, batches


def sqnr(signal: npt.NDArray[np.float32], quantized: npt.NDArray[np.float32]) -> float:
    """Return 10 log10(sum of squares / sum of squared errors) in dB; infinite where both are equal."""
    noise = float(np.square(signal.astype(np.float64) - quantized).sum())
    power = float(np.square(signal.astype(np.float64)).sum())
    return math.inf if noise == 0 else 10 * math.log10(max(power, np.finfo(np.float64).tiny) / noise)


def layer_fidelity(
    runner: OutputRunner,
    image: npt.NDArray[np.float32],
    names: Mapping[ir.Node, str],
    blocks: Sequence[DaqBlock],
    reference: ir.Model,
) -> tuple[LayerFidelity, ...]:
    """Return the fidelity of every convolution, worst first.

    Args:
        runner: session of the DAQ graph with `fidelity_outputs(blocks)` as extra outputs.
        image: float32 (1, C, H, W).
        names: of the convolutions of the DAQ graph, in execution order.
        blocks: its blocks.
        reference: the float network. Where it is another network its weights are not compared.
    """
    activations = _activation_sqnr(runner, image, blocks)
    weights = _weight_sqnr(list(names), reference)
    layers = [LayerFidelity(name, activations.get(node), weights.get(node)) for node, name in names.items()]
    return tuple(sorted(layers, key=lambda layer: layer.worst))


def fidelity_outputs(blocks: Sequence[DaqBlock]) -> list[str]:
    """Return the names of the tensors that `layer_fidelity` reads."""
    values = [value for block in blocks for value in (block.feature_map, block.quantized)]
    return list(dict.fromkeys(str(value.name) for value in values if not value.is_graph_input()))


def _activation_sqnr(
    runner: OutputRunner, image: npt.NDArray[np.float32], blocks: Sequence[DaqBlock]
) -> dict[ir.Node, float]:
    found: dict[ir.Node, float] = {}
    for some in batches(blocks):
        values = runner.run_outputs(image, fidelity_outputs(some))
        for block in some:
            signal = image if block.feature_map.is_graph_input() else values[str(block.feature_map.name)]
            ratio = sqnr(signal, values[str(block.quantized.name)])
            found.update(dict.fromkeys(block.convolutions, ratio))
    return found


def _weight_sqnr(nodes: Sequence[ir.Node], reference: ir.Model) -> dict[ir.Node, float]:
    folded = reference.clone()
    fold(folded)
    truth = [float_constant(node.inputs[1]) for node in convolutions(folded.graph)]
    found = {node: dequantized_weights(node) for node in nodes}
    if len(truth) != len(found):
        return {}
    pairs = [(node, weight, quantized) for weight, (node, quantized) in zip(truth, found.items(), strict=True)]
    return {
        node: sqnr(weight, quantized)
        for node, weight, quantized in pairs
        if weight is not None and quantized is not None and weight.shape == quantized.shape
    }


__all__ = ["fidelity_outputs", "layer_fidelity", "sqnr"]
