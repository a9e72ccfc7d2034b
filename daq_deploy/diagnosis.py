"""Which layers of a DAQ file cost how much: each one quantized alone in the float network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .calibration import Progress
from .calibration.calibration import quantized_map
from .calibration.lockstep import Array, Executor
from .calibration.sensitivity import OutputSensitivity
from .config import FLOAT_BITS, DaqConfig
from .errors import ModelError
from .metrics.psnr import PEAK, psnr
from .passes.blocks import layers_of
from .passes.graph import constant_bias, convolutions, dequantized_weights, float_constant
from .passes.plan import LayerReport
from .quantization import fold
from .runner import Runner
from .validation.fidelity import sqnr
from .validation.report import json_ready
from .validation.validate import Picture


@dataclass(frozen=True)
class LayerDiagnosis:
    """What one quantized convolution costs where every other layer is float."""

    report: LayerReport
    activation_sqnr: float | None
    """Signal over quantization noise, in dB, of the feature map that it reads in the float network; None where that is
    left float."""
    weight_sqnr: float | None
    """The same of its weights."""
    output_error: float
    """Mean squared error of the network's output, pixel values as in 0..255."""
    share: float
    """Of the sum of all layers' output errors, 0 to 1."""

    @property
    def output_psnr(self) -> float:
        """PSNR in dB between the output with this layer quantized and the float output."""
        return psnr_of(self.output_error)

    def to_dict(self) -> dict[str, object]:
        """Return the diagnosis as JSON-ready values; what is infinite or not a number is None."""
        report = self.report
        values: dict[str, object] = json_ready(
            {
                "name": report.name,
                "role": report.role,
                "weight_bits": report.weight_bits,
                "activation_bits": report.activation_bits,
                "channel_bits": report.channel_bits,
                "activation_sqnr": self.activation_sqnr,
                "weight_sqnr": self.weight_sqnr,
                "output_error": self.output_error,
                "output_psnr": self.output_psnr,
                "share": self.share,
            }
        )
        return values


@dataclass(frozen=True)
class Diagnosis:
    """What `daq-deploy inspect --errors` shows."""

    image: str
    """The picture that the networks ran on."""
    output_psnr: float
    """PSNR in dB between the outputs of the DAQ file and of the float network."""
    added_psnr: float
    """The same where the mean squared errors of the layers alone are added up."""
    layers: tuple[LayerDiagnosis, ...]
    """Worst first."""

    def to_dict(self) -> dict[str, object]:
        """Return everything as JSON-ready values; what is infinite or not a number is None."""
        figures = {"image": self.image, "output_psnr": self.output_psnr, "added_psnr": self.added_psnr}
        values: dict[str, object] = json_ready(figures) | {"layers": [layer.to_dict() for layer in self.layers]}
        return values


def psnr_of(error: float) -> float:
    """Return the PSNR in dB of a mean squared error of pixel values 0..255."""
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def output_psnr(runner: Runner, reference: Runner, image: npt.NDArray[np.float32]) -> float:
    """Return the PSNR in dB between the outputs of two networks of one value range, not rounded to whole pixel values."""
    to_pixels = np.float32(PEAK / reference.value_range)
    return psnr(runner.run(image) * to_pixels, reference.run(image) * to_pixels)


def diagnose(
    model: ir.Model,
    reference: ir.Model,
    image: npt.NDArray[np.float32],
    execute: Executor,
    progress: Progress = lambda title, share: None,
) -> tuple[LayerDiagnosis, ...]:
    """Return what each quantized convolution of a DAQ graph costs, worst first.

    The layer reads the float network's own feature map, quantized as the DAQ file does it, and has the weights and the bias
    of the DAQ file, so that errors of other layers do not count.

    Args:
        model: the DAQ graph.
        reference: the float network it was made from; left as it is.
        image: float32 (N, C, H, W) in the value range of the network.
        execute: computes a node of the float network.
        progress: told what is being done, and the share that is done.

    Raises:
        ModelError: the metadata are damaged, the two are not the same network, or a node cannot be run.
    """
    metadata = model.metadata_props
    try:
        config = DaqConfig.from_json(metadata["daq.config"])
        layers = layers_of(model)
        to_pixels = PEAK / float(metadata["daq.value_range"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the DAQ file's metadata are missing or damaged: {error}") from error
    folded = reference.clone()
    fold(folded)
    pairs = _pairs(model, folded, layers)
    sensitivity = OutputSensitivity(folded.graph, image, execute)
    found: list[LayerDiagnosis] = []
    for index, (layer, node, float_node) in enumerate(pairs):
        progress("Running layers one by one", index / len(pairs))
        replaced: dict[int, Array] = {}
        activation_sqnr = weight_sqnr = None
        feature_map, weights = float_node.inputs[0], dequantized_weights(node)
        if layer.activation_bits != FLOAT_BITS and feature_map is not None:
            signal = sensitivity.value(feature_map)
            replaced[0] = quantized = quantized_map(signal, layer, config)
            activation_sqnr = sqnr(signal, quantized)
        if weights is not None:
            replaced[1] = weights
            truth, bias = float_constant(float_node.inputs[1]), constant_bias(node)
            weight_sqnr = None if truth is None else sqnr(truth, weights)
            if bias is not None:
                replaced[2] = bias
        if replaced:
            output_error = sensitivity.output_error({float_node: replaced}) * to_pixels**2
            found.append(LayerDiagnosis(layer, activation_sqnr, weight_sqnr, output_error, share=0))
    return _with_shares(found)


def diagnose_file(
    model: ir.Model,
    reference: ir.Model,
    runners: tuple[Runner, Runner],
    picture: Picture,
    execute: Executor,
    progress: Progress = lambda title, share: None,
) -> Diagnosis:
    """Return what each layer costs, and what the DAQ graph and the float one, opened as `runners`, differ by as a whole.

    Raises:
        ModelError: as `diagnose`, or the outputs differ in size.
    """
    layers = diagnose(model, reference, picture.pixels, execute, progress)
    together = output_psnr(*runners, picture.pixels)
    added = psnr_of(sum(layer.output_error for layer in layers))
    return Diagnosis(picture.description, together, added, layers)


def _pairs(
    model: ir.Model, folded: ir.Model, layers: tuple[LayerReport, ...]
) -> list[tuple[LayerReport, ir.Node, ir.Node]]:
    """Return every layer with its node in the DAQ graph and in the folded float graph."""
    nodes, float_nodes = convolutions(model.graph), convolutions(folded.graph)
    shapes = [_shape(node) for node in float_nodes]
    if len(nodes) != len(layers) or shapes != [layer.weight_shape for layer in layers]:
        raise ModelError(
            f"the float network has {len(float_nodes)} convolutions, the DAQ file tells of {len(layers)}, or their "
            "weights differ in shape: give the network that the file was made from"
        )
    return list(zip(layers, nodes, float_nodes, strict=True))


def _shape(node: ir.Node) -> tuple[int, ...]:
    weight = float_constant(node.inputs[1])
    return () if weight is None else tuple(weight.shape)


def _with_shares(found: list[LayerDiagnosis]) -> tuple[LayerDiagnosis, ...]:
    """Return the layers worst first, those whose output is not a number before all."""
    total = sum(layer.output_error for layer in found)
    shared = [replace(layer, share=layer.output_error / total if total else 0.0) for layer in found]
    return tuple(
        sorted(
            shared, key=lambda layer: math.inf if math.isnan(layer.output_error) else layer.output_error, reverse=True
        )
    )


__all__ = ["Diagnosis", "LayerDiagnosis", "diagnose", "diagnose_file", "output_psnr", "psnr_of"]
