"""The quantized network in PyTorch, against which graphs are tested."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.errors import OptionError
from daq_deploy.passes.plan import LayerReport

from .torch_numerics import WEIGHT_RULES, LayerPlan, QuantizedActivation, quantize_activation


class FakeQuantizedConv2d(nn.Module):
    """A convolution with quantized weights that quantizes what it reads; its zero padding comes after that."""

    def __init__(self, convolution: nn.Conv2d, plan: LayerPlan) -> None:
        super().__init__()
        self.convolution = copy.deepcopy(convolution)
        self.plan = plan
        if plan.weight_bits != FLOAT_BITS:
            with torch.no_grad():
                self.convolution.weight.copy_(WEIGHT_RULES[plan.weight_rule](convolution.weight, plan.weight_bits))

    def forward(self, x: Tensor) -> Tensor:
        read = x if self.plan.activation_bits == FLOAT_BITS else quantize_activation(x, self.plan).values
        result: Tensor = self.convolution(read)
        return result


def plan_of(layers: Iterable[LayerReport], config: DaqConfig) -> dict[str, LayerPlan]:
    """Return the plan by which `daq_deploy.quantize` quantized the layers of a graph that was exported from a module."""
    return {
        layer.name: LayerPlan(
            layer.weight_bits,
            layer.channel_bits or layer.activation_bits,
            layer.signed,
            config.range_rule,
            config.weight_rule,
            config.range_bits,
            layer.tail if layer.channel_bits is None else tuple(np.asarray(layer.tail_of_channels).tolist()),
            layer.companded,
            layer.feedback,
        )
        for layer in layers
        if layer.quantized
    }


def fake_quantize_network(module: nn.Module, plan: Mapping[str, LayerPlan]) -> nn.Module:
    """Return a copy of a network, some of whose convolutions are quantized.

    Args:
        module: the float network, which is left as it is.
        plan: by module path, for example "body.0.body.0".

    Raises:
        OptionError: the network has no convolution of that path.
    """
    network = copy.deepcopy(module).eval()
    for path, layer_plan in plan.items():
        network.set_submodule(path, FakeQuantizedConv2d(convolution_at(network, path), layer_plan))
    return network


def convolution_at(network: nn.Module, path: str) -> nn.Conv2d:
    """Return the convolution of a module path, for example "body.0.body.0".

    Raises:
        OptionError: the network has none of that path.
    """
    try:
        convolution = network.get_submodule(path)
    except AttributeError:
        convolution = None
    if not isinstance(convolution, nn.Conv2d):
        raise OptionError(f"{path}: the network has no convolution of that name")
    return convolution


@torch.inference_mode()
def layer_activations(network: nn.Module, image: Tensor) -> dict[str, QuantizedActivation]:
    """Run a network of `fake_quantize_network` on an image (N, 3, H, W) and return what each of its layers quantized.

    Returns:
        By module path, in the order of execution.
    """
    activations: dict[str, QuantizedActivation] = {}

    def keep(path: str, layer: FakeQuantizedConv2d, read: Tensor) -> None:
        activations[path] = quantize_activation(read, layer.plan)

    handles = [
        layer.register_forward_pre_hook(lambda layer, read, path=path: keep(path, layer, read[0]))
        for path, layer in network.named_modules()
        if isinstance(layer, FakeQuantizedConv2d) and layer.plan.activation_bits != FLOAT_BITS
    ]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    return activations


__all__ = [
    "FakeQuantizedConv2d",
    "convolution_at",
    "fake_quantize_network",
    "layer_activations",
    "plan_of",
]
