"""What fine-tuning leaves beside the weights: bits, tails and weight steps, as one line of JSON in the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .calibration import CalibratedLayer
from .config import FLOAT_BITS, DaqConfig
from .errors import CheckpointError, ModelError
from .numerics import QuantizedWeights
from .numerics.weights import is_mid_rise, nearest_codes
from .passes.graph import float_constant
from .passes.plan import LayerReport, read_layers

TRAINED_VERSION = 1


@dataclass(frozen=True)
class TrainedQuantizers:
    """The quantizers of a network that was fine-tuned with them."""

    config: DaqConfig
    """What was asked; its weight rule is `trained`."""
    layers: tuple[LayerReport, ...]
    """In execution order, with the tails that were learned."""
    weight_steps: Mapping[str, npt.NDArray[np.float32]]
    """By layer, the step of each output channel (O,), in the graph whose batch norm and residual scale are folded."""
    parameters: Mapping[str, float]
    """What the weights do not show: `res_scale` and `value_range`."""

    def to_json(self) -> str:
        """Return them as one line of versioned JSON."""
        return json.dumps(
            {
                "version": TRAINED_VERSION,
                "config": self.config.to_json(),
                "layers": json.dumps([layer.to_dict() for layer in self.layers]),
                "weight_steps": {name: step.tolist() for name, step in self.weight_steps.items()},
                "parameters": dict(self.parameters),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> TrainedQuantizers:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: the text is damaged, or of a newer version.
        """
        try:
            values = json.loads(text)
            if values["version"] != TRAINED_VERSION:
                raise CheckpointError(f"fine-tuned by a newer daq-deploy (record {values['version']}); update this one")
            return cls(
                DaqConfig.from_json(values["config"]),
                read_layers(values["layers"]),
                {str(name): np.array(step, np.float32) for name, step in values["weight_steps"].items()},
                {str(name): float(value) for name, value in values["parameters"].items()},
            )
        except (AttributeError, KeyError, ModelError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's record of its quantizers is damaged: {error}") from error

    def plan(self, floating: Mapping[ir.Node, LayerReport]) -> dict[ir.Node, LayerReport]:
        """Return the plan of a graph with bits, tails and levels as trained.

        Args:
            floating: the plan that the configuration gives for the graph.

        Raises:
            CheckpointError: the graph's layers are not those that were trained.
        """
        trained = {layer.name: layer for layer in self.layers}
        found = [layer.name for layer in floating.values()]
        if found != list(trained):
            strange = next((name for name in found if name not in trained), "another order")
            raise CheckpointError(f"the network's layers are not those that were fine-tuned: {strange}")
        return {
            node: replace(
                layer,
                weight_bits=trained[layer.name].weight_bits,
                tail=trained[layer.name].tail,
                companded=trained[layer.name].companded,
                channel_bits=trained[layer.name].channel_bits,
            )
            for node, layer in floating.items()
        }

    def weights(self, plan: Mapping[ir.Node, LayerReport]) -> dict[ir.Node, CalibratedLayer]:
        """Return the weights of every layer whose weights are quantized, rounded to the nearest at the trained steps.

        Raises:
            CheckpointError: a step is missing or of another shape.
        """
        quantized: dict[ir.Node, CalibratedLayer] = {}
        for node, layer in plan.items():
            weight, step = float_constant(node.inputs[1]), self.weight_steps.get(layer.name)
            if layer.weight_bits == FLOAT_BITS or weight is None:
                continue
            if step is None or step.shape != weight.shape[:1] or not bool((step > 0).all()):
                raise CheckpointError(f"{layer.name}: the checkpoint has no trained step for every output channel")
            rows = weight.reshape(len(weight), -1).astype(np.float64)
            codes = nearest_codes(rows, step[:, None].astype(np.float64), layer.weight_bits).astype(np.int8)
            quantized[node] = CalibratedLayer(
                QuantizedWeights(codes.reshape(weight.shape), step, is_mid_rise(layer.weight_bits), layer.weight_bits),
                bias=None,
            )
        return quantized


__all__ = ["TRAINED_VERSION", "TrainedQuantizers"]
