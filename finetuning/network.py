"""From a float network to one whose quantizers train, and back to plain weights and what was learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor, nn

from daq_deploy.calibration import CalibratedLayer
from daq_deploy.config import DaqConfig
from daq_deploy.errors import OptionError
from daq_deploy.exporters.fake_quantize import convolution_at, plan_of
from daq_deploy.numerics.ranges import DEPLOY_TAIL
from daq_deploy.passes.graph import constant_bias, convolutions, float_constant, layer_name
from daq_deploy.passes.plan import LayerReport
from daq_deploy.quantization import Quantized, fold
from daq_deploy.trained_quantizers import TrainedQuantizers

from .quantizers import TrainableConv2d

_OWN_PARAMETERS = ("weight_step", "tail", "initial_step", "tail_shift", "last_code")
"""What a TrainableConv2d has beyond a Conv2d."""

USUAL_WEIGHT = 0.05
"""Root mean square of weights that have the run's learning rate: that of 3x3 convolutions of 64 channels, as initialized."""

SCALAR_RATE = 10.0
"""Learning rate of weight steps and tails, as a multiple of the run's: they are few, and of the order of one."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    parameters: list[nn.Parameter]
    rate: float
    """Multiple of the run's learning rate."""


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
        quantized: Quantized,
        config: DaqConfig,
        parameters: Mapping[str, float],
    ) -> TrainableNetwork:
        """Put quantizers into a copy of a network.

        Args:
            module: the float network.
            float_model: its graph.
            quantized: what quantization without training made of the graph; its bits, tails and weights are where training
                starts.
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
        by_name = {layer.name: layer for layer in quantized.layers}
        if len(by_name) < len(quantized.layers):
            raise OptionError("a convolution is called twice; fine-tuning wants one layer a call")
        for path, plan in plan_of(quantized.layers, config).items():
            layer, convolution = by_name[path], convolution_at(network, path)
            network.set_submodule(path, TrainableConv2d(convolution, plan, layer.tail, _tail_shift(layer)))
        factors: dict[str, npt.NDArray[np.float32]] = {}
        for name, weight, bias in _folded(float_model):
            layer_module = network.get_submodule(name) if name in by_name else None
            if not isinstance(layer_module, TrainableConv2d):
                continue
            factors[name] = _factor(name, layer_module, weight)
            if (calibrated := quantized.calibrated.get(name)) is not None:
                _start(layer_module, calibrated, factors[name], bias)
        return cls(network, quantized.layers, config, factors, parameters)

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

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return what trains, with the learning rate of each group as a multiple of the run's.

        That of a convolution is in proportion to its weights, so that a step changes every layer by a like share: networks on
        0..255 may have a head with weights a hundredth of those of the body, which steps of the body's size would wipe out.
        """
        groups: list[ParameterGroup] = []
        scalars: list[nn.Parameter] = []
        for module in self.module.modules():
            own = _OWN_PARAMETERS if isinstance(module, TrainableConv2d) else ()
            trained = [
                (name, parameter)
                for name, parameter in module.named_parameters(recurse=False)
                if parameter.requires_grad
            ]
            scalars += [parameter for name, parameter in trained if name in own]
            if weights := [parameter for name, parameter in trained if name not in own]:
                groups.append(ParameterGroup(weights, _rate(module)))
        return [*groups, ParameterGroup(scalars, SCALAR_RATE)]


def _rate(module: nn.Module) -> float:
    """Return the learning rate of a module's weights as a multiple of the run's."""
    if not isinstance(module, nn.Conv2d):
        return 1.0
    size = float(module.weight.detach().square().mean().sqrt())
    return size / USUAL_WEIGHT if size > 0 else 1.0


def _tail_shift(layer: LayerReport) -> Tensor:
    """Return what the tail of each channel differs by from the layer's where bits are mixed, float32 (C,), or zero."""
    if layer.channel_bits is None:
        return torch.zeros(())
    shift = DEPLOY_TAIL[np.array(layer.channel_bits)] - DEPLOY_TAIL[layer.activation_bits]
    return torch.from_numpy(shift.astype(np.float32))


def _folded(
    float_model: ir.Model,
) -> Iterator[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32] | float]]:
    """Return name, weights and bias of every convolution of the graph that quantization begins with."""
    folded = float_model.clone()
    fold(folded)
    for node in convolutions(folded.graph):
        weight, bias = float_constant(node.inputs[1]), constant_bias(node)
        if weight is not None:
            yield layer_name(node), weight, 0.0 if bias is None else bias


def _factor(name: str, convolution: TrainableConv2d, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what folding multiplied each output channel's weights by (O,).

    Raises:
        OptionError: folding did more than that, as where a 1x1 convolution went into the one before it.
    """
    refusal = OptionError(f"{name}: the graph's weights are not the module's times a factor a channel; leave it float")
    if tuple(convolution.weight.shape) != weight.shape:
        raise refusal
    rows = np.asarray(convolution.weight.detach()).reshape(len(weight), -1)
    graph_rows = weight.reshape(len(weight), -1)
    power = np.square(rows, dtype=np.float64).sum(axis=1)
    factor = np.where(power > 0, (rows.astype(np.float64) * graph_rows).sum(axis=1) / np.maximum(power, 1e-300), 1.0)
    if not (np.allclose(graph_rows, rows * factor[:, None], rtol=1e-4, atol=1e-12) and bool((factor > 0).all())):
        raise refusal
    return np.where(np.isclose(factor, 1, rtol=1e-6), 1, factor).astype(np.float32)


def _start(
    convolution: TrainableConv2d,
    calibrated: CalibratedLayer,
    factor: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32] | float,
) -> None:
    """Let a convolution start from the weights and the bias that were chosen for it in the folded graph."""
    levels = calibrated.weights.dequantize() / factor.reshape(-1, 1, 1, 1)
    change = np.zeros_like(factor) if calibrated.bias is None else (calibrated.bias - bias) / factor
    convolution.start_from(
        torch.from_numpy(levels), torch.from_numpy(calibrated.weights.step / factor), torch.from_numpy(change)
    )


__all__ = ["SCALAR_RATE", "USUAL_WEIGHT", "ParameterGroup", "TrainableNetwork"]
