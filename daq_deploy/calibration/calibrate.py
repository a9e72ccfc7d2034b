"""Round weights by running the network on a few pictures: training-free, no gradients.

Layer by layer, a float and a quantized run side by side. For each convolution with weights W, float input x and quantized
input q (its own activations quantized, all layers before it quantized already):

1. the least squares answer to the quantization so far:  T = argmin E|T q - W x|^2 = W E[x q'] E[q q']^-1  (moments centred)
2. error-compensated rounding of T under E[q q']
3. the bias that keeps the mean of the output

The tails of the range rule are chosen before that (`tails.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import QuantizedWeights, quantize_weights
from daq_deploy.numerics.rounding import round_with_compensation
from daq_deploy.numerics.statistics import Float64Array
from daq_deploy.passes.graph import float_constant
from daq_deploy.passes.plan import LayerReport

from .calibration import CalibratedLayer, Calibration, quantized_map
from .lockstep import Stream
from .moments import Moments, moments

MOST_READ = 2304
"""Weights that read more values an output (256 channels of 3x3) are rounded to the nearest: moments grow as the square."""

RIDGE = 0.03
"""Pull of the least squares answer towards the float weights, as a fraction of the mean power of what is read."""


def calibrate(
    graph: ir.Graph, plan: Mapping[ir.Node, LayerReport], config: DaqConfig, calibration: Calibration
) -> dict[ir.Node, CalibratedLayer]:
    """Return weights and bias of every layer whose weights the plan quantizes."""
    floating, quantized = (Stream(graph, calibration.images, calibration.execute) for _ in range(2))
    results: dict[ir.Node, CalibratedLayer] = {}
    for node in graph:
        layer = plan.get(node)
        if layer is None or layer.weight_bits == FLOAT_BITS:
            floating.run(node)
            quantized.run(node)
            continue
        calibration.progress("Rounding weights", len(results) / len(plan))
        float_input, quantized_input = (
            np.asarray(stream.read(node.inputs[0]), dtype=np.float32) for stream in (floating, quantized)
        )
        quantized_input = quantized_map(quantized_input, layer, config)
        floating.run(node)
        output_mean = np.asarray(floating.read(node.outputs[0])).mean(axis=(0, 2, 3), dtype=np.float64)
        rounded = _rounded(node, layer, float_input, quantized_input)
        weights = rounded.dequantize()
        (biasless,) = calibration.execute(node, [quantized_input, weights])
        bias = (output_mean - np.asarray(biasless).mean(axis=(0, 2, 3), dtype=np.float64)).astype(np.float32)
        results[node] = CalibratedLayer(rounded, bias)
        quantized.run(node, {0: quantized_input, 1: weights, 2: bias})
    return results


def _rounded(
    node: ir.Node,
    layer: LayerReport,
    float_input: npt.NDArray[np.float32],
    quantized_input: npt.NDArray[np.float32],
) -> QuantizedWeights:
    weight = float_constant(node.inputs[1])
    assert weight is not None
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    if node.attributes.get_int("group", 1) != 1 or rows.shape[1] > MOST_READ:
        return quantize_weights(weight, layer.weight_bits, "nearest")
    seen = moments(node, float_input, quantized_input, (weight.shape[2], weight.shape[3]))
    return round_with_compensation(_least_squares(rows, seen), seen.covariance, layer.weight_bits, weight.shape)


def _least_squares(rows: Float64Array, seen: Moments) -> Float64Array:
    """Return the weights (O, K) that answer best to what the quantized convolution reads."""
    ridge = RIDGE * np.diagonal(seen.covariance).mean() * np.eye(rows.shape[1])
    answer: Float64Array = np.linalg.solve(seen.covariance + ridge, (rows @ (seen.cross + ridge)).T).T
    return answer


__all__ = ["MOST_READ", "RIDGE", "calibrate"]
