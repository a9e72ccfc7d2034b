"""Put a DAQ block before each planned convolution: design section 4.

    lo, step = daq.ChannelRange<bits, rule, signed, range_bits, tail>(X)
    codes    = Clip(QuantizeLinear<axis = 1, uint8>(X - lo, step), 0, 2^bits - 1)
    X^       = DequantizeLinear<axis = 1>(codes, step) + lo

Where bits are mixed, `daq.MixedChannelRange` gives span too, and Min(X - lo, span) stands in place of Clip. Where levels
are companded, `daq.CompandedRange` gives origin besides, and NearestLevel(Min(X - lo, span), step, origin) is quantized.
Where channels make good what those before them lost, ErrorFeedback stands between X - lo and Min.
Convolutions that read the same tensor at the same bits share one block. No zero point, no block size, and always the Add
between DequantizeLinear and Conv: each avoids a defect of ONNX Runtime's optimizer. With `dynamic_batch` the codes are made
on (1, N * C, H, W), since QuantizeLinear takes steps of rank one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import ErrorFeedback
from daq_deploy.ops import (
    DOMAIN,
    DOMAIN_VERSION,
    RangeKind,
    channel_range_function,
    error_feedback_function,
    error_feedback_name,
    nearest_level_function,
)

from .graph import add_array, float_constant
from .plan import LayerReport


class QuantizeActivations(ir.passes.InPlacePass):
    """Insert DAQ blocks as planned."""

    def __init__(self, plan: Mapping[ir.Node, LayerReport], config: DaqConfig) -> None:
        super().__init__()
        self._plan = plan
        self._config = config

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        builder = _BlockBuilder(model, self._config)
        blocks: dict[tuple[object, ...], ir.Value] = {}
        kinds: set[RangeKind] = set()
        feedbacks: set[tuple[int, bool, bool]] = set()
        for node, layer in self._plan.items():
            feature_map = node.inputs[0]
            if layer.activation_bits == FLOAT_BITS or feature_map is None:
                continue
            how = (layer.activation_bits, layer.signed, layer.tail, layer.companded, layer.channel_bits)
            key = (feature_map, *how, layer.error_feedback)
            if key not in blocks:
                blocks[key] = builder.insert(node, feature_map, layer)
                kinds.add(_range_kind(layer))
                if layer.feedback is not None:
                    feedbacks.add((len(layer.feedback.order), layer.companded, layer.feedback.from_left))
            node.replace_input_with(0, blocks[key])
        opset = model.graph.opset_imports[""]
        functions = [
            channel_range_function(self._config.range_rule, self._config.range_bits, opset, kind)
            for kind in sorted(kinds)
        ]
        if "CompandedRange" in kinds:
            functions.append(nearest_level_function(opset))
        functions += [error_feedback_function(*feedback, opset) for feedback in sorted(feedbacks)]
        for function in functions:
            model.functions[function.identifier()] = function
            model.opset_imports[DOMAIN] = DOMAIN_VERSION
        return ir.passes.PassResult(model, modified=bool(blocks))


def _range_kind(layer: LayerReport) -> RangeKind:
    if layer.companded:
        return "CompandedRange"
    return "ChannelRange" if layer.channel_bits is None and layer.feedback is None else "MixedChannelRange"


class _BlockBuilder:
    """Builds blocks and the few constants they share."""

    def __init__(self, model: ir.Model, config: DaqConfig) -> None:
        self._graph = model.graph
        self._config = config
        self._constants: dict[str, ir.Value] = {}

    def insert(self, before: ir.Node, feature_map: ir.Value, layer: LayerReport) -> ir.Value:
        """Insert a block that reads `feature_map`, and return the quantized map."""
        bits, kind = layer.activation_bits, _range_kind(layer)
        prefix = f"{feature_map.name}.daq{bits}"
        nodes: list[ir.Node] = []

        def add(
            kind: str, inputs: Sequence[ir.Value], name: str, dtype: ir.DataType = ir.DataType.FLOAT, **attributes: int
        ) -> ir.Value:
            node = ir.node(kind, inputs, attributes=attributes, name=f"{prefix}.{name}")
            nodes.append(node)
            return _named(node.outputs[0], f"{prefix}.{name}", dtype)

        range_node = self._range_node(feature_map, layer, prefix)
        nodes.append(range_node)
        lo = _named(range_node.outputs[0], f"{prefix}.lo", ir.DataType.FLOAT)
        step = _named(range_node.outputs[1], f"{prefix}.step", ir.DataType.FLOAT)
        offset = add("Sub", [feature_map, lo], "offset")
        if kind != "ChannelRange":
            span = _named(range_node.outputs[2], f"{prefix}.span", ir.DataType.FLOAT)
            if layer.feedback is not None:
                levels_of_channels = [step, *range_node.outputs[2:]]
                offset = self._feedback(nodes, offset, levels_of_channels, layer.feedback, layer.companded, prefix)
            offset = add("Min", [offset, span], "clipped_offset")
        if kind == "CompandedRange":
            origin = _named(range_node.outputs[3], f"{prefix}.origin", ir.DataType.FLOAT)
            inputs = [offset, step, origin]
            nearest = ir.node("NearestLevel", inputs, domain=DOMAIN, name=f"{prefix}.nearest_level")
            nodes.append(nearest)
            offset = _named(nearest.outputs[0], f"{prefix}.nearest_level", ir.DataType.FLOAT)
        if self._config.dynamic_batch:
            offset = add("Reshape", [offset, self._constant("daq.one_image", np.array([1, -1, 0, 0]))], "flat_offset")
        uint8 = ir.DataType.UINT8
        codes = add("QuantizeLinear", [offset, step], "codes", uint8, axis=1, output_dtype=int(uint8))
        if bits < 8 and kind == "ChannelRange":
            first = self._constant("daq.first_code", np.array(0, np.uint8))
            last = self._constant(f"daq.last_code_{bits}", np.array(2**bits - 1, np.uint8))
            codes = add("Clip", [codes, first, last], "clipped_codes", uint8)
        levels = add("DequantizeLinear", [codes, step], "levels", axis=1)
        if self._config.dynamic_batch:
            channels = _channels(before)
            images = self._constant(f"daq.images_of_{channels}", np.array([-1, channels, 0, 0]))
            levels = add("Reshape", [levels, images], "image_levels")
        quantized = add("Add", [levels, lo], "quantized")
        quantized.shape = feature_map.shape
        self._graph.insert_before(before, nodes)
        return quantized

    def _range_node(self, feature_map: ir.Value, layer: LayerReport, prefix: str) -> ir.Node:
        shared: dict[str, int | float | str] = {
            "rule": self._config.range_rule,
            "signed": int(layer.signed),
            "range_bits": self._config.range_bits or 0,
        }
        kind = _range_kind(layer)
        if kind == "ChannelRange":
            own: dict[str, int | float | str] = {"bits": layer.activation_bits, "tail": layer.tail or 0.0}
            return ir.node(kind, [feature_map], own | shared, domain=DOMAIN, num_outputs=2, name=f"{prefix}.range")
        bits = np.atleast_1d(np.asarray(layer.bits_of_channels, np.int32))
        tail = np.atleast_1d(np.asarray(layer.tail_of_channels, np.float32))
        if layer.channel_bits is None:  # the same numbers serve all layers that have them
            bits_of_channels = self._constant(f"daq.bits_{layer.activation_bits}", bits)
            tail_of_channels = self._constant(f"daq.tail_{layer.tail}", tail)
        else:
            bits_of_channels = add_array(self._graph, f"{prefix}.bits", bits)
            tail_of_channels = add_array(self._graph, f"{prefix}.tail", tail)
        inputs = [feature_map, bits_of_channels, tail_of_channels]
        outputs = 4 if kind == "CompandedRange" else 3
        return ir.node(kind, inputs, shared, domain=DOMAIN, num_outputs=outputs, name=f"{prefix}.range")

    def _feedback(
        self,
        nodes: list[ir.Node],
        offset: ir.Value,
        levels: Sequence[ir.Value],
        feedback: ErrorFeedback,
        companded: bool,
        prefix: str,
    ) -> ir.Value:
        """Add the nodes of error feedback to `nodes`, and return what is to be quantized in place of `offset`."""
        channels = np.concatenate(feedback.groups)
        sizes = [len(group) for group in feedback.groups]
        columns = len(channels) + channels
        if feedback.from_left:
            columns = np.concatenate([channels, columns])
        halves = add_array(self._graph, f"{prefix}.feedback", feedback.coefficients[np.ix_(channels, columns)])
        coefficients = ir.node("Cast", [halves], {"to": int(ir.DataType.FLOAT)}, name=f"{prefix}.feedback_coefficients")
        _named(coefficients.outputs[0], f"{prefix}.feedback_coefficients", ir.DataType.FLOAT)
        order = [
            add_array(self._graph, f"{prefix}.feedback_channels", channels.astype(np.int32)),
            add_array(self._graph, f"{prefix}.feedback_places", np.argsort(channels).astype(np.int32)),
            self._constant(f"daq.feedback_sizes_{'_'.join(map(str, sizes))}", np.array(sizes, np.int64)),
        ]
        inputs = [offset, *levels, coefficients.outputs[0], *order]
        kind = error_feedback_name(len(sizes), companded, feedback.from_left)
        moved = ir.node(kind, inputs, domain=DOMAIN, name=f"{prefix}.error_feedback")
        nodes += [coefficients, moved]
        return _named(moved.outputs[0], f"{prefix}.moved_offset", ir.DataType.FLOAT)

    def _constant(self, name: str, array: np.typing.NDArray[np.generic]) -> ir.Value:
        if name not in self._constants:
            self._constants[name] = add_array(self._graph, name, array)
        return self._constants[name]


def _channels(convolution: ir.Node) -> int:
    """Return how many channels a convolution reads."""
    weight = float_constant(convolution.inputs[1])
    assert weight is not None
    return int(weight.shape[1]) * convolution.attributes.get_int("group", 1)


def _named(value: ir.Value, name: str, dtype: ir.DataType) -> ir.Value:
    value.name, value.type = name, ir.TensorType(dtype)
    return value


__all__ = ["QuantizeActivations"]
