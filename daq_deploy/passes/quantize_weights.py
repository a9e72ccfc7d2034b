"""Replace the float weights of each planned convolution by INT8, INT4 or INT2 codes behind DequantizeLinear.

    W^ = DequantizeLinear<axis = 0>(codes, step) (+ step / 2 where levels are mid-rise)

3 and 4 bits are stored in four, 5 to 8 in eight; 2 bits in two where `int2` is asked for, else in four.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.calibration.calibration import CalibratedLayer
from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import QuantizedWeights, quantize_weights

from .graph import add_array, add_initializer, float_constant
from .plan import LayerReport


class QuantizeWeights(ir.passes.InPlacePass):
    """Quantize weights as planned."""

    def __init__(
        self,
        plan: Mapping[ir.Node, LayerReport],
        config: DaqConfig,
        calibrated: Mapping[ir.Node, CalibratedLayer] | None = None,
    ) -> None:
        super().__init__()
        self._calibrated = calibrated or {}
        self._plan = plan
        self._config = config

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        done: dict[tuple[ir.Value, int], ir.Value] = {}
        for node, calibrated in self._calibrated.items():
            name = self._plan[node].name
            if calibrated.bias is not None:
                _replace_bias(model.graph, node, name, calibrated.bias)
            weight = node.inputs[1]
            assert weight is not None
            node.replace_input_with(1, _insert(model.graph, node, name, calibrated.weights, self._config.int2))
            _forget(model.graph, weight)
        for node, layer in self._plan.items():
            weight = node.inputs[1]
            if layer.weight_bits == FLOAT_BITS or weight is None or node in self._calibrated:
                continue
            key = (weight, layer.weight_bits)
            if key not in done:
                array = float_constant(weight)
                assert array is not None
                quantized = quantize_weights(array, layer.weight_bits, self._config.weight_rule)
                done[key] = _insert(model.graph, node, layer.name, quantized, self._config.int2)
            node.replace_input_with(1, done[key])
        for weight, _ in done:
            _forget(model.graph, weight)
        return ir.passes.PassResult(model, modified=bool(done or self._calibrated))


def storage_bits(bits: int, int2: bool) -> int:
    """Return the bits that a weight of `bits` takes in the file: 2, 4 or 8."""
    if bits == 2 and int2:
        return 2
    return 4 if bits <= 4 else 8


def _replace_bias(graph: ir.Graph, node: ir.Node, name: str, bias: npt.NDArray[np.float32]) -> None:
    old = node.inputs[2] if len(node.inputs) > 2 else None
    node.resize_inputs(3)
    node.replace_input_with(2, None)
    if old is not None:
        _forget(graph, old)
    node.replace_input_with(2, add_array(graph, f"{name}.bias", bias))


def _forget(graph: ir.Graph, value: ir.Value) -> None:
    """Remove an initializer that nothing reads any more."""
    if value.is_initializer() and not value.uses() and not value.is_graph_output():
        graph.initializers.pop(value.name or "", None)


def _insert(graph: ir.Graph, before: ir.Node, name: str, weights: QuantizedWeights, int2: bool) -> ir.Value:
    stored = {2: ml_dtypes.int2, 4: ml_dtypes.int4, 8: np.int8}[storage_bits(weights.bits, int2)]
    codes = add_initializer(graph, f"{name}.weight.codes", ir.Tensor(weights.codes.astype(stored)))
    step = add_array(graph, f"{name}.weight.step", weights.step)
    nodes = [ir.node("DequantizeLinear", [codes, step], attributes={"axis": 0}, name=f"{name}.weight.dequantize")]
    if weights.mid_rise:
        half = add_array(graph, f"{name}.weight.half_step", (weights.step / np.float32(2)).reshape(-1, 1, 1, 1))
        nodes.append(ir.node("Add", [nodes[0].outputs[0], half], name=f"{name}.weight.mid_rise"))
    for node in nodes:
        node.outputs[0].name = f"{node.name}d"
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        node.outputs[0].shape = ir.Shape(weights.codes.shape)
    graph.insert_before(before, nodes)
    return nodes[-1].outputs[0]


__all__ = ["QuantizeWeights", "storage_bits"]
