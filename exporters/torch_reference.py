"""The second implementation that `validate` compares a DAQ graph with: the checkpoint's network, quantized in PyTorch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import nn

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.errors import ModelError, OptionError
from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.passes.blocks import DaqBlock, layers_of
from daq_deploy.passes.graph import constant_bias, convolutions, dequantized_weights, layer_name
from daq_deploy.passes.plan import read_layers
from daq_deploy.quantization import fold
from daq_deploy.validation import Reference, TorchImplementation

from .export import export_float
from .fake_quantize import fake_quantize_network, plan_of
from .torch_numerics import LayerPlan, quantize_activation


def reference_of(checkpoint: Path, daq_model: ir.Model) -> Reference:
    """Return the float network of a checkpoint, exported, and its quantized form in PyTorch.

    Args:
        checkpoint: .pt, .pth or .safetensors.
        daq_model: the DAQ graph that it is the reference of. Its metadata tells how it was quantized and what the
            checkpoint does not show; calibrated weights are taken from it, since rounding them is no part of the network.

    Raises:
        CheckpointError: as `export_float`.
        ModelError: the checkpoint contradicts what the DAQ file states.
    """
    metadata = daq_model.metadata_props
    parameters = json.loads(metadata.get("daq.architecture", "{}")).get("parameters", {})
    try:
        exported = export_float(
            checkpoint, res_scale=parameters.get("res_scale", 1.0), value_range=float(metadata["daq.value_range"])
        )
    except OptionError as error:  # what the DAQ file states does not fit this checkpoint
        raise ModelError(f"{checkpoint}: is not the network that the DAQ file was made from ({error})") from error
    config = DaqConfig.from_json(metadata["daq.config"])
    layers = layers_of(daq_model)
    plan = plan_of(layers, config)
    shapes = {
        name: tuple(layer.weight.shape)
        for name, layer in exported.module.named_modules()
        if isinstance(layer, nn.Conv2d)
    }
    if not set(plan) <= set(shapes):
        reason = (
            f"the checkpoint has no convolution {min(set(plan) - set(shapes))}; the file was made from another network"
        )
        return Reference(checkpoint, exported.model, reason)
    for layer in layers:
        if layer.weight_shape != shapes.get(layer.name, layer.weight_shape):
            reason = f"{layer.name} was folded into the convolution before it; PyTorch has both"
            return Reference(checkpoint, exported.model, reason)
    module = fold_batch_norm(exported.module)
    if config.weight_rule in ("deploy", "trained"):
        if parameters.get("res_scale", 1.0) != 1.0:
            return Reference(checkpoint, exported.model, "calibrated weights hold the residual scale, PyTorch's do not")
        _take_calibrated(module, exported.model, daq_model)
        plan = {name: replace(layer, weight_bits=FLOAT_BITS) for name, layer in plan.items()}
    network = fake_quantize_network(module, plan)
    return Reference(checkpoint, exported.model, TorchImplementation(_codes, lambda image: _output(network, image)))


@torch.no_grad()
def _take_calibrated(module: nn.Module, float_model: ir.Model, daq_model: ir.Model) -> None:
    """Give the convolutions of a module the weights of a DAQ graph, and what calibration added to their biases."""
    folded = float_model.clone()
    fold(folded)
    before = {layer_name(node): _bias(node) for node in convolutions(folded.graph)}
    layers = read_layers(daq_model.metadata_props["daq.layers"])
    for layer, node in zip(layers, convolutions(daq_model.graph), strict=True):
        weights = dequantized_weights(node)
        if weights is None:
            continue
        convolution = module.get_submodule(layer.name)
        assert isinstance(convolution, nn.Conv2d)
        convolution.weight.copy_(torch.from_numpy(weights))
        added = torch.from_numpy(np.broadcast_to(_bias(node) - before[layer.name], len(weights)).copy())
        convolution.bias = nn.Parameter(added if convolution.bias is None else convolution.bias + added)


def _bias(node: ir.Node) -> npt.NDArray[np.float32]:
    bias = constant_bias(node)
    return np.zeros(1, np.float32) if bias is None else bias


@torch.inference_mode()
def _codes(feature_map: npt.NDArray[np.float32], block: DaqBlock) -> npt.NDArray[np.uint8]:
    plan = LayerPlan(
        weight_bits=FLOAT_BITS,
        activation_bits=block.bits if isinstance(block.bits, int) else tuple(block.bits.tolist()),
        signed=block.signed,
        range_rule=block.rule,
        range_bits=block.range_bits,
        tail=tuple(block.tail.tolist()) if isinstance(block.tail, np.ndarray) else block.tail,
        companded=block.companded,
        feedback=block.feedback,
    )
    codes: npt.NDArray[np.uint8] = quantize_activation(torch.from_numpy(feature_map), plan).codes.byte().numpy()
    return codes


@torch.inference_mode()
def _output(network: nn.Module, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    output: npt.NDArray[np.float32] = network(torch.from_numpy(image)).numpy()
    return output


__all__ = ["reference_of"]
