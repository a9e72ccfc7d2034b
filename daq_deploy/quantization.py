"""Float super-resolution graph in, DAQ graph out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from .calibration import (
    PICTURES,
    CalibratedLayer,
    Calibration,
    FeltErrors,
    OutputSensitivity,
    Progress,
    calibrate,
    choose_feedback,
    choose_tails,
    choose_tails_with_feedback,
    mix_channel_bits,
    mix_weight_bits,
    without_outliers,
)
from .config import DaqConfig
from .errors import ModelError, OptionError
from .files import sha256_of
from .model_file import load_float_model, model_bytes, save_model
from .passes.fold_batch_norm import FoldBatchNorm
from .passes.fold_mean_shift import FoldMeanShift
from .passes.fold_pointwise import FoldPointwise
from .passes.fold_residual_scale import FoldResidualScale
from .passes.inline_functions import InlineFunctions
from .passes.plan import LayerReport, plan_layers
from .passes.quantize_activations import QuantizeActivations
from .passes.quantize_weights import QuantizeWeights
from .passes.single_image import SingleImage
from .passes.strip_metadata import StripMetadata
from .trained_quantizers import TrainedQuantizers

OPSET = 21
INT2_OPSET = 25


@dataclass(frozen=True)
class Quantized:
    """A DAQ graph and what became of each convolution, in execution order."""

    model: ir.Model
    layers: tuple[LayerReport, ...]
    calibrated: Mapping[str, CalibratedLayer] = field(default_factory=dict)
    """By layer, weights that were chosen on pictures (weight rule `deploy`) or learned (`trained`); other rules have none."""

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return model_bytes(self.model)

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the file.

        Raises:
            OutputExistsError: it exists and `force` is false.
        """
        save_model(self.model, Path(path), force)


def quantize(
    model: str | Path | ir.Model,
    config: DaqConfig,
    value_range: float | None = None,
    inline: bool = False,
    calibration: Calibration | None = None,
    trained: TrainedQuantizers | None = None,
) -> Quantized:
    """Quantize a float super-resolution network.

    Args:
        model: an ONNX file, or a model in memory, which is left as it is.
        config: what is asked.
        value_range: largest pixel value of input and output, 255 or 1; None takes what the file says, else 255.
        inline: write the functions of domain `daq` out where they are called.
        calibration: pictures, and what runs the network on them; weight rule `deploy` needs it, and range rule `deploy`
            chooses its tail with it.
        trained: the quantizers with which the network was fine-tuned; weight rule `trained` needs them, and no calibration.

    Raises:
        OptionError: the weight rule needs a calibration or trained quantizers and there are none, or the value range is not
            positive.
        CheckpointError: the trained quantizers are not those of this network.
        ModelError: the model is invalid, quantized already, or has no convolution that can be quantized as asked.
    """
    opset = INT2_OPSET if config.int2 else OPSET
    if isinstance(model, ir.Model):
        source, graph_model = "the model", model.clone()
        if graph_model.opset_imports.get("") != opset:
            raise ModelError(
                f"the model has opset {graph_model.opset_imports.get('')}; {opset} is needed: export it again"
            )
    else:
        source, graph_model = str(model), load_float_model(Path(model), opset)
        graph_model.metadata_props["daq.source_sha256"] = sha256_of(Path(model))
    fold(graph_model)
    plan = plan_layers(graph_model.graph, config)
    if not any(layer.quantized for layer in plan.values()):
        raise ModelError(f"{source}: no layer is quantized: {_common_reasons(tuple(plan.values()))}")
    _set_value_range(graph_model, value_range)
    if config.weight_rule == "trained":
        if trained is None:
            raise OptionError("weight rule trained comes with a fine-tuned checkpoint: export that, or choose nearest")
        plan = trained.plan(plan)
        calibrated = trained.weights(plan)
    else:
        plan, calibrated = _calibrate(graph_model, plan, config, calibration)
    layers = tuple(plan.values())
    if not config.dynamic_batch:
        SingleImage()(graph_model)
    QuantizeActivations(plan, config)(graph_model)
    QuantizeWeights(plan, config, calibrated)(graph_model)
    if inline:
        InlineFunctions()(graph_model)
    for finish in (RemoveUnusedNodesPass(), RemoveUnusedOpsetsPass(), NameFixPass(), StripMetadata()):
        finish(graph_model)
    _describe(graph_model, config, layers)
    return Quantized(graph_model, layers, {plan[node].name: weights for node, weights in calibrated.items()})


def fold(model: ir.Model) -> None:
    """Fold batch norm, mean shift, residual scale and 1x1 convolutions into the convolutions before them, in place.

    This is the float network that quantization begins with.
    """
    for fold_pass in (FoldBatchNorm(), FoldMeanShift(), FoldResidualScale(), FoldPointwise()):
        fold_pass(model)


def _common_reasons(layers: tuple[LayerReport, ...]) -> str:
    reasons = list(dict.fromkeys(layer.reason for layer in layers))
    return "; ".join(reasons[:3]) if reasons else "the main graph has no convolution"


def _calibrate(
    model: ir.Model, plan: dict[ir.Node, LayerReport], config: DaqConfig, calibration: Calibration | None
) -> tuple[dict[ir.Node, LayerReport], dict[ir.Node, CalibratedLayer]]:
    """Choose the tail and the weights as far as the rules ask for it."""
    if calibration is None:
        if config.weight_rule == "deploy":
            raise OptionError("weight rule deploy runs the network on pictures: give a calibration, or choose nearest")
        if config.mixed:
            raise OptionError("mixed bits are found by running the network on pictures: give a calibration")
        return plan, {}
    images, _ = without_outliers(model.graph, _input(model, calibration.images), calibration.execute)
    pictures_of_weights = calibration.images if calibration.images_of_weights is None else calibration.images_of_weights
    model.metadata_props["daq.calibration"] = hashlib.sha256(
        images.tobytes() + _input(model, pictures_of_weights).tobytes()
    ).hexdigest()
    felt_errors: Mapping[ir.Node, FeltErrors] = {}
    if config.range_rule == "deploy" or config.mixed:
        # Held no longer than that: it keeps every feature map of the network.
        plan, felt_errors = _by_sensitivity(
            OutputSensitivity(model.graph, images[:PICTURES], calibration.execute),
            plan,
            config,
            calibration.progress,
        )
    if config.weight_rule != "deploy":
        return plan, {}
    if pictures_of_weights is not calibration.images:
        images, _ = without_outliers(model.graph, _input(model, pictures_of_weights), calibration.execute)
    read_by_network = replace(calibration, images=images, held_out=_input(model, calibration.held_out))
    return calibrate(model.graph, plan, config, read_by_network, felt_errors)


def _by_sensitivity(
    sensitivity: OutputSensitivity, plan: dict[ir.Node, LayerReport], config: DaqConfig, progress: Progress
) -> tuple[dict[ir.Node, LayerReport], Mapping[ir.Node, FeltErrors]]:
    """Choose what is told by what a change of one layer does to the output; return the plan, and how it feels errors."""
    felt_errors: Mapping[ir.Node, FeltErrors] = {}
    if config.range_rule == "deploy":
        usual, plan = plan, choose_tails(sensitivity, plan, config, progress)
        if config.error_feedback:
            plan, felt_errors = choose_feedback(sensitivity, plan, config, progress)
            plan = choose_tails_with_feedback(sensitivity, usual, plan, config, progress)
    if config.mixed:
        plan = mix_channel_bits(sensitivity, plan, config, progress)
        if config.weight_rule == "deploy":
            plan = mix_weight_bits(sensitivity, plan, config, progress)
    return plan, felt_errors


def _input(model: ir.Model, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return pictures (N, 3, H, W) in 0..255 as the network reads them: in its value range, grey where it has one channel."""
    values: npt.NDArray[np.float32] = pictures * np.float32(float(model.metadata_props["daq.value_range"]) / 255)
    shape = model.graph.inputs[0].shape
    return values.mean(axis=1, keepdims=True) if shape is not None and shape[1] == 1 else values


def _set_value_range(model: ir.Model, value_range: float | None) -> None:
    if value_range is not None and not 0 < value_range < math.inf:
        raise OptionError(f"--value-range {value_range:g}: give the largest pixel value, 255 or 1")
    if value_range is not None or "daq.value_range" not in model.metadata_props:
        model.metadata_props["daq.value_range"] = str(float(value_range or 255))


def _describe(model: ir.Model, config: DaqConfig, layers: tuple[LayerReport, ...]) -> None:
    """Write how the file was made into its metadata."""
    model.producer_name, model.producer_version = "daq-deploy", version("daq-deploy")
    model.ir_version = 10
    properties = model.metadata_props
    properties["daq.config"] = config.to_json()
    properties["daq.layers"] = json.dumps([layer.to_dict() for layer in layers])
    properties["daq.versions"] = json.dumps({"daq-deploy": version("daq-deploy"), "onnx": onnx.__version__})


__all__ = ["INT2_OPSET", "OPSET", "Quantized", "fold", "quantize"]
