"""Round weights by running the network on a few pictures: training-free, no gradients.

Layer by layer, a float and a quantized run side by side. For each convolution with weights W, float output y and quantized
input q (its own activations quantized, all layers before it quantized already):

1. the least squares answer to the quantization so far:  T = argmin E|T q - y|^2 = E[y q'] E[q q']^-1  (moments centred),
   pulled towards W
2. error-compensated rounding of T under E[q q']
3. error feedback in what it reads, where there is any, that suits the rounded weights: errors that float weights do not feel
   these may
4. the bias that keeps the mean of the output

The tails of the range rule, and which maps get feedback, are chosen before that (`tails.py`, `feedback.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics.steps import TINY
from daq_deploy.passes.plan import LayerReport

from .calibration import CalibratedLayer, Calibration, quantized_map
from .felt_errors import FeltErrors
from .layer_weights import rounding
from .lockstep import Array, Executor, Stream
from .outliers import without_outliers

RIDGES = (0.03, 3.0)
"""Weak and strong pull of the least squares answer to the float weights, as fractions of the mean power of what is read."""

EXPLOSION = 4.0
"""An error more than this many times another is an explosion.

The strong pull is tried where the weak one's error on the pictures held out explodes against that on the calibration's, and
taken where it explodes against the strong one's.
"""


def calibrate(
    graph: ir.Graph,
    plan: Mapping[ir.Node, LayerReport],
    config: DaqConfig,
    calibration: Calibration,
    felt_errors: Mapping[ir.Node, FeltErrors],
) -> tuple[dict[ir.Node, LayerReport], dict[ir.Node, CalibratedLayer]]:
    """Return the plan, and weights and bias of every layer whose weights it quantizes.

    A weak pull is better where it holds; at few bits a network can answer with it to the pictures it was made for, and
    explode on others. Where it errs much more on those, a strong pull is tried too. Where that explodes as well, both are
    tried without error feedback, which is left out if the pictures held out are better for it. Of these, too, those on which
    the float network explodes are left out.
    """
    held_out = _HeldOut(*without_outliers(graph, calibration.held_out, calibration.execute))

    def with_usual_pull(plan: Mapping[ir.Node, LayerReport]) -> _Rounded:
        weak_pull, strong_pull = RIDGES
        weak = _with_pull(graph, plan, config, calibration, held_out, felt_errors, weak_pull, "Rounding weights")
        if not weak.explodes:
            return weak
        strong = _with_pull(
            graph, plan, config, calibration, held_out, felt_errors, strong_pull, "Rounding weights again"
        )
        return strong if weak.unseen > EXPLOSION * strong.unseen else weak

    found = with_usual_pull(plan)
    if found.explodes and any(layer.error_feedback for layer in plan.values()):
        plain = {node: replace(layer, error_feedback=False, feedback=None) for node, layer in plan.items()}
        found = min(found, with_usual_pull(plain), key=lambda rounded: rounded.unseen)
    return dict(found.plan), found.layers


@dataclass(frozen=True)
class _HeldOut:
    images: npt.NDArray[np.float32]
    outputs: Array
    """What the float network makes of them."""


@dataclass(frozen=True)
class _Rounded:
    plan: Mapping[ir.Node, LayerReport]
    layers: dict[ir.Node, CalibratedLayer]
    seen: float
    """Error of the output on the pictures that the weights were found on."""
    unseen: float
    """And on the pictures held out."""

    @property
    def explodes(self) -> bool:
        return self.unseen > EXPLOSION * self.seen


def _error_held_out(
    graph: ir.Graph,
    plan: Mapping[ir.Node, LayerReport],
    config: DaqConfig,
    execute: Executor,
    held_out: _HeldOut,
    layers: Mapping[ir.Node, CalibratedLayer],
) -> float:
    """Return the error of the output on the pictures held out."""
    quantized = Stream(graph, held_out.images, execute)
    for node in graph:
        replaced: dict[int, Array] = {}
        if node in plan:
            read = np.asarray(quantized.read(node.inputs[0]), dtype=np.float32)
            replaced[0] = quantized_map(read, plan[node], config)
        if node in layers:
            replaced[1] = layers[node].weights.dequantize()
            replaced[2] = np.asarray(layers[node].bias)
        quantized.run(node, replaced)
    return _error(held_out.outputs, quantized.read(graph.outputs[0]))


def _error(output: Array | None, quantized: Array | None) -> float:
    """Return the geometric mean, over pictures (N, C, H, W), of the mean squared error."""
    difference = np.asarray(output, dtype=np.float64) - np.asarray(quantized, dtype=np.float64)
    errors = np.square(difference).mean(axis=(1, 2, 3))
    return float(np.exp(np.log(errors + TINY).mean()))


def _with_pull(
    graph: ir.Graph,
    before: Mapping[ir.Node, LayerReport],
    config: DaqConfig,
    calibration: Calibration,
    held_out: _HeldOut,
    felt_errors: Mapping[ir.Node, FeltErrors],
    ridge: float,
    title: str,
) -> _Rounded:
    plan = dict(before)
    floating, quantized = (Stream(graph, calibration.images, calibration.execute) for _ in range(2))
    results: dict[ir.Node, CalibratedLayer] = {}
    rounded: dict[ir.Node, npt.NDArray[np.float32]] = {}
    for node in graph:
        layer = plan.get(node)
        if layer is None or layer.weight_bits == FLOAT_BITS:
            floating.run(node)
            quantized.run(node)
            continue
        calibration.progress(title, len(results) / len(plan))
        feature_map = np.asarray(quantized.read(node.inputs[0]), dtype=np.float32)
        quantized_input = quantized_map(feature_map, layer, config)
        floating.run(node)
        output = np.asarray(floating.read(node.outputs[0]), dtype=np.float32)
        output_mean = output.mean(axis=(0, 2, 3), dtype=np.float64)
        codes = rounding(node, quantized_input, output, ridge)(layer.weight_bits)
        rounded[node] = weights = codes.dequantize()
        if layer.error_feedback:
            feedback = felt_errors[node].feedback(rounded)
            # A map has one feedback: that which suits all its readers, as far as their weights are rounded.
            for reader in felt_errors[node].readers:
                plan[reader] = replace(plan[reader], feedback=feedback)
            quantized_input = quantized_map(feature_map, plan[node], config)
        (biasless,) = calibration.execute(node, [quantized_input, weights])
        bias = (output_mean - np.asarray(biasless).mean(axis=(0, 2, 3), dtype=np.float64)).astype(np.float32)
        results[node] = CalibratedLayer(codes, bias)
        quantized.give(node, [np.asarray(biasless) + bias[:, None, None]])
    seen = _error(floating.read(graph.outputs[0]), quantized.read(graph.outputs[0]))
    unseen = _error_held_out(graph, plan, config, calibration.execute, held_out, results)
    return _Rounded(plan, results, seen, unseen)


__all__ = ["EXPLOSION", "RIDGES", "calibrate"]
