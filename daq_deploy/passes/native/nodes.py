"""Builds the operators of domain `daq.native`: their attributes, and the order of their inputs.

A native map is float16 (N, H, W, C rounded up to 16), channels last; its statistics are float64 (N, 6, C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.numerics import ErrorFeedback
from daq_deploy.passes.blocks import DaqBlock
from daq_deploy.passes.graph import WeightCodes, add_array

from .epilogue import Epilogue
from .resampling import Resampling
from .selection import NativeConvolution
from .values import Attribute, NativeMap, QuantizedConvolution, Ranges, Source

NATIVE_DOMAIN = "daq.native"
NATIVE_VERSION = 1


class NodeBuilder:
    """Adds native nodes to a graph, each before a given node, and the constants that they read."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._constants: dict[object, ir.Value] = {}

    def range(self, before: ir.Node, block: DaqBlock, sources: Sequence[Source]) -> Ranges:
        """Add the node that gives the ranges of the channels of `sources`."""
        tail = 0.0 if block.tail is None else block.tail
        attributes: dict[str, Attribute] = {
            "rule": block.rule,
            "signed": int(block.signed),
            "range_bits": block.range_bits or 0,
            "bits": _bits(block),
            "tail": [float(weight) for weight in np.atleast_1d(tail)],
            "companded": int(block.companded),
        }
        inputs = [source.map.statistics for source in sources]
        node = self._add(before, "Range", inputs, attributes | _slices(sources), f"{block.lo.name}.native", 3)
        lo, step, origin = (
            _named(value, f"{block.lo.name}.{kind}.native", ir.DataType.FLOAT)
            for value, kind in zip(node.outputs, ("lo", "step", "origin"), strict=True)
        )
        return Ranges(lo, step, origin if block.companded else None)

    def given_ranges(self, before: ir.Node, block: DaqBlock, channels: int) -> Ranges:
        """Bring ranges that come from elsewhere than the map itself to (N, C)."""
        shaped: list[ir.Value | None] = []
        for value, shape in ((block.lo, [0, channels]), (block.step, [-1, channels]), (block.origin, [0, channels])):
            if value is None:
                shaped.append(None)
                continue
            target = self._constant(tuple(shape), "daq.native.range_shape", np.array(shape, np.int64))
            node = ir.node("Reshape", [value, target], name=f"{value.name}.native")
            self._graph.insert_before(before, node)
            shaped.append(_named(node.outputs[0], f"{value.name}.native", ir.DataType.FLOAT))
        lo, step, origin = shaped
        assert lo is not None
        assert step is not None
        return Ranges(lo, step, origin)

    def reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Bring native ranges to the shape of portable ones, behind the node that gives them."""
        target = self._constant(tuple(shape), "daq.native.range_shape", np.array(shape, np.int64))
        node = ir.node("Reshape", [value, target], name=f"{value.name}.reshaped")
        producer = value.producer()
        assert producer is not None
        self._graph.insert_after(producer, node)
        return node.outputs[0]

    def convolution(self, before: ir.Node, wanted: QuantizedConvolution) -> NativeMap:
        """Add a quantized convolution whose output is a native map."""
        inputs, attributes = self._quantized(wanted)
        node = self._add(before, "Conv", inputs, attributes | {"statistics": 0, "positives": 0}, wanted.name, 2)
        result = _map(node, wanted.epilogue.value, wanted.convolution.channels // wanted.epilogue.blocksize**2)
        if wanted.operand is not None:
            _say_same_size([wanted.operand, result])
        return result

    def planar_convolution(self, before: ir.Node, wanted: QuantizedConvolution) -> ir.Value:
        """Add a quantized convolution whose output is planar, float32 (N, C, H, W)."""
        inputs, attributes = self._quantized(wanted)
        return self._add(before, "PlanarConv", inputs, attributes, wanted.name, 1).outputs[0]

    def float_convolution(
        self, before: ir.Node, convolution: NativeConvolution, epilogue: Epilogue, name: str
    ) -> NativeMap:
        """Add a float convolution of a planar map."""
        assert isinstance(convolution.weights, np.ndarray)
        node = convolution.node
        inputs = [
            node.inputs[0],
            self._constant((node.inputs[1], "weight"), f"{name}.weight.native", convolution.weights),
            self._constant((node, "bias"), f"{name}.bias.native", convolution.bias),
            self._constant((node, "slope"), f"{name}.slope.native", epilogue.slope),
        ]
        attributes = _window(convolution) | {"activation": epilogue.activation, "statistics": 0}
        return _map(self._add(before, "FloatConv", inputs, attributes, name, 2), epilogue.value, convolution.channels)

    def elementwise(
        self,
        before: ir.Node,
        source: NativeMap,
        epilogue: Epilogue,
        operand: NativeMap | None,
        gate: NativeMap | None,
    ) -> NativeMap:
        """Add what is done to a native map: a gate, an activation, an operand, or several of them."""
        name = str(epilogue.nodes[-1].name)
        slope = self._constant((epilogue.nodes, "slope"), f"{name}.slope.native", epilogue.slope)
        attributes = _epilogue(epilogue) | {"channels": source.channels, "statistics": 0}
        node = self._add(
            before,
            "Elementwise",
            [source.value, slope, self._operand(operand), self._operand(gate)],
            attributes,
            name,
            2,
        )
        result = _map(node, epilogue.value, source.channels)
        _say_same_size([source, result] if operand is None else [operand, source, result])
        return result

    def resampled(self, node: ir.Node, wanted: Resampling, source: NativeMap) -> NativeMap:
        """Add what does to a native map what a node does to the planar one."""
        sizes = [
            value or self._constant("no sizes", "daq.native.no_sizes", np.empty(0, dtype))
            for value, dtype in zip(wanted.sizes, (np.float32, np.int64), strict=False)
        ]
        attributes = wanted.attributes | {"channels": source.channels, "statistics": 0}
        added = self._add(node, node.op_type, [source.value, *sizes], attributes, str(node.name), 2)
        return _map(added, node.outputs[0], source.channels)

    def to_native(self, before: ir.Node, value: ir.Value, channels: int) -> NativeMap:
        """Add the conversion of a planar value."""
        return _map(
            self._add(before, "ToNative", [value], {"statistics": 0}, f"{value.name}.to_native", 2), value, channels
        )

    def to_planar(self, source: NativeMap, name: str) -> ir.Value:
        """Add the conversion of a native map, behind the node that gives it."""
        node = ir.node(
            "ToPlanar", [source.value], {"channels": source.channels}, domain=NATIVE_DOMAIN, name=f"{name}.to_planar"
        )
        producer = source.value.producer()
        assert producer is not None
        self._graph.insert_after(producer, node)
        return node.outputs[0]

    def shape(self, shape: ir.Node, source: NativeMap) -> None:
        """Make a node Shape read the shape (N, H, W, padded C) of a native map in place of the planar one."""
        first, last = shape.attributes.get_int("start", 0), shape.attributes.get_int("end", 4)
        order = [0, 4, 1, 2][first:last]
        channels = self._constant(("channels", source.channels), "daq.native.channels", np.array([source.channels]))
        axes = self._constant(("axes", *order), "daq.native.axes", np.array(order))
        whole = ir.node("Shape", [source.value], name=f"{shape.name}.native")
        joined = ir.node("Concat", [whole.outputs[0], channels], {"axis": 0}, name=f"{shape.name}.sizes")
        picked = ir.node("Gather", [joined.outputs[0], axes], name=f"{shape.name}.planar")
        self._graph.insert_before(shape, [whole, joined, picked])
        for node in (whole, joined, picked):
            _named(node.outputs[0], str(node.name), ir.DataType.INT64)
        replace_output(shape.outputs[0], picked.outputs[0])

    def mean(self, node: ir.Node, source: NativeMap) -> None:
        """Take the mean (N, C, 1, 1) that a node gives from the statistics (N, 6, C) of a native map."""
        rows = [self._constant(("row", row), f"daq.native.row_{row}", np.array(row)) for row in (0, 2)]
        count, total = (
            ir.node("Gather", [source.statistics, row], {"axis": 1}, name=f"{node.name}.{name}")
            for row, name in zip(rows, ("count", "total"), strict=True)
        )
        mean = ir.node("Div", [total.outputs[0], count.outputs[0]], name=f"{node.name}.mean")
        single = ir.node("Cast", [mean.outputs[0]], {"to": ir.DataType.FLOAT.value}, name=f"{node.name}.float")
        axes = self._constant(("axes", 2, 3), "daq.native.space", np.array([2, 3]))
        planar = ir.node("Unsqueeze", [single.outputs[0], axes], name=f"{node.name}.planar")
        self._graph.insert_before(node, [count, total, mean, single, planar])
        for added in (count, total, mean):
            _named(added.outputs[0], str(added.name), ir.DataType.DOUBLE)
        _named(single.outputs[0], str(single.name), ir.DataType.FLOAT)
        replace_output(node.outputs[0], planar.outputs[0])

    def _quantized(self, wanted: QuantizedConvolution) -> tuple[list[ir.Value], dict[str, Attribute]]:
        convolution, epilogue = wanted.convolution, wanted.epilogue
        node, weights, block, name = convolution.node, convolution.weights, convolution.block, wanted.name
        assert isinstance(weights, WeightCodes)
        assert block is not None
        inputs = [
            wanted.ranges.lo,
            wanted.ranges.step,
            wanted.ranges.origin or self._constant("even levels", "", np.empty(0, np.float32)),
            self._constant((block.quantized, "feedback"), f"{name}.feedback.native", _coefficients(block.feedback)),
            self._constant((node.inputs[1], "codes"), f"{name}.weight.codes.native", weights.codes),
            self._constant((node.inputs[1], "step"), f"{name}.weight.step.native", weights.step),
            self._constant((node, "bias"), f"{name}.bias.native", convolution.bias),
            self._constant((node, "slope"), f"{name}.slope.native", epilogue.slope),
            self._operand(wanted.operand),
            *(source.map.value for source in wanted.sources),
        ]
        attributes = _slices(wanted.sources) | _window(convolution) | _epilogue(epilogue)
        own: dict[str, Attribute] = {
            "bits": _bits(block),
            "companded": int(block.companded),
            "feedback_order": list(block.feedback.order) if block.feedback is not None else [0],
            "mid_rise": int(weights.mid_rise),
            "blocksize": epilogue.blocksize,
            "mode": epilogue.mode,
            "exact": int(wanted.exact),
        }
        return inputs, attributes | own

    def _operand(self, operand: NativeMap | None) -> ir.Value:
        if operand is not None:
            return operand.value
        return self._constant("no operand", "daq.native.no_operand", np.empty(0, np.float16))

    def _constant(self, key: object, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
        if array.size == 0 and array.dtype == np.float32:
            key, name = "nothing", "daq.native.nothing"
        if key not in self._constants:
            self._constants[key] = add_array(self._graph, name, array)
        return self._constants[key]

    def _add(
        self,
        before: ir.Node,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute],
        name: str,
        outputs: int,
    ) -> ir.Node:
        node = ir.node(kind, inputs, attributes, domain=NATIVE_DOMAIN, num_outputs=outputs, name=name)
        self._graph.insert_before(before, node)
        return node


def _coefficients(feedback: ErrorFeedback | None) -> npt.NDArray[np.float32]:
    return np.empty(0, np.float32) if feedback is None else feedback.coefficients.astype(np.float32)


def replace_output(old: ir.Value, new: ir.Value) -> None:
    """Make every reader of a value read another one, which takes over its name, type and shape."""
    new.type, new.shape, new.name, old.name = old.type, old.shape, old.name, None
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def _map(node: ir.Node, value: ir.Value, channels: int) -> NativeMap:
    """Name the outputs of a node after the planar value they stand for."""
    native = _named(node.outputs[0], f"{value.name}.native", ir.DataType.FLOAT16)
    return NativeMap(native, _named(node.outputs[1], f"{value.name}.statistics", ir.DataType.DOUBLE), channels)


def _say_same_size(maps: Sequence[NativeMap]) -> None:
    """Name the sizes that maps have in common, so that ONNX Runtime may write the last over one of the others."""
    named = next((item.value.shape for item in maps if item.value.shape is not None), None)
    if named is None:
        images, height, width = (f"{maps[0].value.name}.{axis}" for axis in ("N", "H", "W"))
        named = ir.Shape([images, height, width, -(-maps[0].channels // 16) * 16])
    for item in maps:
        if item.value.shape is None:
            item.value.shape = named.copy()


def _named(value: ir.Value, name: str, dtype: ir.DataType) -> ir.Value:
    value.name, value.type = name, ir.TensorType(dtype)
    return value


def _bits(block: DaqBlock) -> list[int]:
    return [int(bits) for bits in np.atleast_1d(block.bits)]


def _slices(sources: Sequence[Source]) -> dict[str, Attribute]:
    return {"first_channel": [source.first for source in sources], "channels": [source.count for source in sources]}


def _window(convolution: NativeConvolution) -> dict[str, Attribute]:
    window = convolution.window
    return {"strides": window.strides, "pads": window.pads, "dilations": window.dilations}


def _epilogue(epilogue: Epilogue) -> dict[str, Attribute]:
    return {
        "activation": epilogue.activation,
        "operand": epilogue.operand_kind,
        "operand_first": int(epilogue.operand_first),
    }


__all__ = [
    "NATIVE_DOMAIN",
    "NATIVE_VERSION",
    "NodeBuilder",
    "replace_output",
]
