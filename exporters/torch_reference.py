"""The second implementation that `validate` compares a DAQ graph with: the checkpoint's network, quantized in PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from daq_deploy.config import DaqConfig
from daq_deploy.inspection import read_layers
from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.passes.blocks import DaqBlock
from daq_deploy.validation import Reference, TorchImplementation

from .export import export_float
from .fake_quantize import LayerPlan, fake_quantize_network, plan_of, quantize_activation


def reference_of(checkpoint: Path, metadata: Mapping[str, str]) -> Reference:
    """Return the float network of a checkpoint, exported, and its quantized form in PyTorch.

    Args:
        checkpoint: .pt, .pth or .safetensors.
        metadata: of the DAQ file that it is the reference of: how it was quantized, and what the checkpoint does not show.

    Raises:
        CheckpointError, OptionError: as `export_float`.
    """
    parameters = json.loads(metadata.get("daq.architecture", "{}")).get("parameters", {})
    exported = export_float(
        checkpoint, res_scale=parameters.get("res_scale", 1.0), value_range=float(metadata["daq.value_range"])
    )
    plan = plan_of(read_layers(metadata["daq.layers"]), DaqConfig.from_json(metadata["daq.config"]))
    names = {name for name, layer in exported.module.named_modules() if isinstance(layer, nn.Conv2d)}
    if not set(plan) <= names:
        reason = f"the checkpoint has no convolution {min(set(plan) - names)}; the file was made from another network"
        return Reference(checkpoint, exported.model, reason)
    network = fake_quantize_network(fold_batch_norm(exported.module), plan)
    return Reference(checkpoint, exported.model, TorchImplementation(_codes, lambda image: _output(network, image)))


@torch.inference_mode()
def _codes(feature_map: npt.NDArray[np.float32], block: DaqBlock) -> npt.NDArray[np.uint8]:
    plan = LayerPlan(
        weight_bits=block.bits,
        activation_bits=block.bits,
        signed=block.signed,
        range_rule=block.rule,
        range_bits=block.range_bits,
    )
    codes: npt.NDArray[np.uint8] = quantize_activation(torch.from_numpy(feature_map), plan).codes.byte().numpy()
    return codes


@torch.inference_mode()
def _output(network: nn.Module, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    output: npt.NDArray[np.float32] = network(torch.from_numpy(image)).numpy()
    return output


__all__ = ["reference_of"]
