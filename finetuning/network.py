"""From a float network to one whose quantizers train, and back to plain weights and what was learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor, nn

from daq_deploy.config import DaqConfig
from daq_deploy.errors import OptionError
from daq_deploy.exporters.fake_quantize import convolution_at, plan_of
from daq_deploy.numerics.ranges import DEPLOY_TAIL
from daq_deploy.passes.graph import convolutions, float_constant, layer_name
from daq_deploy.passes.plan import LayerReport
from daq_deploy.quantization import fold
from daq_deploy.trained_quantizers import TrainedQuantizers

from .quantizers import TrainableConv2d

_OWN_PARAMETERS = ("weight_step", "tail", "initial_step", "tail_shift", "last_code")
"""What a TrainableConv2d has beyond a Conv2d."""


@dataclass(frozen=True)
class TrainableNetwork:
    """A network that computes what its DAQ graph will, and trains."""

    module: nn.Module
    """In evaluation mode: batch norm that could not be folded keeps its statistics, and does not train."""
    layers: tuple[LayerReport, ...]
    config: DaqConfig
    factors: Mapping[str, npt.NDArray[np.float32]]
    """By layer, what folding multiplies each output channel's weights by (O,): residual scale, batch norm."""
    parameters: Mapping[str, float]
    """As TrainedQuantizers has them."""

    @classmethod
    def of(
        cls,
        module: nn.Module,
        float_model: ir.Model,
        layers: Sequence[LayerReport],
        config: DaqConfig,
        parameters: Mapping[str, float],
    ) -> TrainableNetwork:
        """Put quantizers into a copy of a network.

        Args:
            module: the float network.
            float_model: its graph.
            layers: what quantization without training made of the graph; its bits and tails are where training starts.
            config: by which it did.
            parameters: as TrainedQuantizers has them.

        Raises:
            OptionError: a layer is read twice, is no convolution of the module, or the range rule is not `deploy`.
        """
        if config.range_rule != "deploy":
            raise OptionError(f"--range-rule {config.range_rule}: fine-tuning trains the tails of range rule deploy")
        network = copy.deepcopy(module).eval()
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.requires_grad_(False)
        by_name = {layer.name: layer for layer in layers}
        if len(by_name) < len(layers):
            raise OptionError("a convolution is called twice; fine-tuning wants one layer a call")
        for path, plan in plan_of(layers, config).items():
            layer, convolution = by_name[path], convolution_at(network, path)
            network.set_submodule(path, TrainableConv2d(convolution, plan, layer.tail, _tail_shift(layer)))
        factors = dict(_factors(network, float_model, {name for name, layer in by_name.items() if layer.quantized}))
        return cls(network, tuple(layers), config, factors, parameters)

    def trained(self) -> TrainedQuantizers:
        """Return the quantizers as they are now."""
        quantized = {
            path: module for path, module in self.module.named_modules() if isinstance(module, TrainableConv2d)
        }
        layers = tuple(
            replace(layer, tail=float(quantized[layer.name].tail.detach()))  # type: ignore[union-attr]
            if layer.name in quantized and quantized[layer.name].tail is not None
            else layer
            for layer in self.layers
        )
        steps = {
            path: convolution.step.detach().cpu().numpy() * self.factors[path]
            for path, convolution in quantized.items()
            if convolution.weight_step is not None
        }
        return TrainedQuantizers(replace(self.config, weight_rule="trained"), layers, steps, self.parameters)

    def plain_state(self) -> dict[str, Tensor]:
        """Return the weights under the names of the float network, on the CPU."""
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.module.state_dict().items()
            if not (
                name.rpartition(".")[2] in _OWN_PARAMETERS
                and isinstance(self.module.get_submodule(name.rpartition(".")[0]), TrainableConv2d)
            )
        }

    def keep_in_range(self) -> None:
        """Bring every tail back to 0..1 after a step of the optimizer."""
        for module in self.module.modules():
            if isinstance(module, TrainableConv2d):
                module.keep_in_range()

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the parameters that train: weights and biases of all kinds, and the scalars of the quantizers."""
        weights: list[nn.Parameter] = []
        scalars: list[nn.Parameter] = []
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                (scalars if name.rpartition(".")[2] in _OWN_PARAMETERS else weights).append(parameter)
        return weights, scalars


def _tail_shift(layer: LayerReport) -> Tensor:
    """Return what the tail of each channel differs by from the layer's where bits are mixed, float32 (C,), or zero."""
    if layer.channel_bits is None:
        return torch.zeros(())
    shift = DEPLOY_TAIL[np.array(layer.channel_bits)] - DEPLOY_TAIL[layer.activation_bits]
    return torch.from_numpy(shift.astype(np.float32))


def _factors(
    network: nn.Module, float_model: ir.Model, quantized: set[str]
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    folded = float_model.clone()
    fold(folded)
    for node in convolutions(folded.graph):
        name, weight = layer_name(node), float_constant(node.inputs[1])
        if name not in quantized or weight is None:
            continue
        rows = np.asarray(network.get_submodule(name).get_parameter("weight").detach()).reshape(len(weight), -1)
        graph_rows = weight.reshape(len(weight), -1)
        power = np.square(rows, dtype=np.float64).sum(axis=1)
        factor = np.where(
            power > 0, (rows.astype(np.float64) * graph_rows).sum(axis=1) / np.maximum(power, 1e-300), 1.0
        )
        if not (np.allclose(graph_rows, rows * factor[:, None], rtol=1e-4, atol=1e-12) and bool((factor > 0).all())):
            raise OptionError(
                f"{name}: the graph's weights are not the module's times a factor a channel; leave it float"
            )
        yield name, np.where(np.isclose(factor, 1, rtol=1e-6), 1, factor).astype(np.float32)


__all__ = ["TrainableNetwork"]
