"""Find the DAQ blocks of a graph by their structure, functions kept or inlined.

    lo, step = daq.ChannelRange(X), or the nodes it was inlined to
    codes    = [Clip](QuantizeLinear([Reshape]([NearestLevel]([Min]([ErrorFeedback](X - lo)))), step))
    X^       = [Reshape](DequantizeLinear(codes, step)) + lo
    Y        = Conv(X^, ...)

Nodes in brackets are there or not: Clip below 8 bits, Min where bits are mixed, levels companded or errors fed back,
NearestLevel and ErrorFeedback, or what they were inlined to, for these two, Reshape with dynamic batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import onnx_ir as ir

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ModelError
from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.numerics.ranges import Bits, Tail
from daq_deploy.ops import DOMAIN

from .graph import constant_array, convolutions
from .plan import LayerReport, read_layers


@dataclass(frozen=True)
class DaqBlock:
    """One block, its values, how it quantizes, and who reads it."""

    feature_map: ir.Value
    """What is quantized, float32 (N, C, H, W)."""
    lo: ir.Value
    """Lowest level of each channel, float32 (N, C, 1, 1)."""
    step: ir.Value
    """Distance between levels, float32 (N * C,)."""
    span: ir.Value | None
    """Distance from the lowest to the highest level, float32 (N, C, 1, 1), where bits are mixed or levels companded."""
    origin: ir.Value | None
    """Code of the level where companded steps are finest, float32 (N, C, 1, 1), below 0 for even levels; else None."""
    codes: ir.Value
    """uint8, (N, C, H, W), or (1, N * C, H, W) with dynamic batch; 0 to 2^bits - 1, or positions of companded levels."""
    quantized: ir.Value
    """The levels that codes stand for, float32 (N, C, H, W)."""
    bits: Bits
    """One number, or one a channel (C,)."""
    signed: bool
    rule: str
    range_bits: int | None
    tail: Tail | None
    """Weight of a channel's full extent in the `deploy` rule; one number, or one a channel (C,)."""
    feedback: ErrorFeedback | None
    """What channels make good of what those before them lost; None where they do not."""
    convolutions: tuple[ir.Node, ...]
    """The convolutions that read it, in execution order."""

    @property
    def companded(self) -> bool:
        """Whether levels are companded, at least in some channels."""
        return self.origin is not None

    @property
    def is_frozen(self) -> bool:
        """Whether its range is a constant, as `daq-deploy freeze` makes it."""
        return constant_array(self.lo) is not None


def find_dynamic_blocks(model: ir.Model) -> list[DaqBlock]:
    """Return the blocks whose range is not a constant, as `find_blocks` does."""
    return [block for block in find_blocks(model) if not block.is_frozen]


def find_blocks(model: ir.Model) -> list[DaqBlock]:
    """Return the blocks of the main graph in execution order; none for a float graph.

    Raises:
        ModelError: the functions are inlined and `daq.config` does not say how blocks quantize.
    """
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in convolutions(model.graph):
        if node.inputs[0] is not None:
            readers.setdefault(node.inputs[0], []).append(node)
    found = [_match(model, quantized, tuple(nodes)) for quantized, nodes in readers.items()]
    return [block for block in found if block is not None]


def layers_of(model: ir.Model) -> tuple[LayerReport, ...]:
    """Return what `daq.layers` tells of each convolution, with the coefficients of error feedback from the graph.

    Raises:
        KeyError, TypeError, ValueError: the metadata are missing or damaged.
    """
    feedbacks = {node: block.feedback for block in find_blocks(model) for node in block.convolutions}
    layers, nodes = read_layers(model.metadata_props["daq.layers"]), convolutions(model.graph)
    known = [feedbacks.get(node) for node in nodes] + [None] * (len(layers) - len(nodes))
    return tuple(replace(layer, feedback=feedback) for layer, feedback in zip(layers, known, strict=False))


def _match(model: ir.Model, quantized: ir.Value, nodes: tuple[ir.Node, ...]) -> DaqBlock | None:
    addition = _producer(quantized, "Add")
    if addition is None:
        return None
    levels, lo = addition.inputs
    dequantize = _producer(_before_reshape(levels), "DequantizeLinear")
    if dequantize is None or lo is None:
        return None
    codes, step = dequantize.inputs[:2]
    clip = _producer(codes, "Clip")
    quantize = _producer(codes if clip is None else clip.inputs[0], "QuantizeLinear")
    if quantize is None or codes is None or step is None or quantize.inputs[1] is not step:
        return None
    offset = _before_reshape(quantize.inputs[0])
    offset, origin = _before_nearest_level(offset)
    minimum = _producer(offset, "Min")
    offset, feedback = _before_feedback(offset if minimum is None else minimum.inputs[0])
    subtraction = _producer(offset, "Sub")
    if subtraction is None or subtraction.inputs[1] is not lo or subtraction.inputs[0] is None:
        return None
    last_code = None if clip is None else constant_array(clip.inputs[2])
    bits = 8 if last_code is None else int(last_code).bit_length()
    span = None if minimum is None else minimum.inputs[1]
    settings = _settings(model, lo, nodes[0], bits)
    feature_map = subtraction.inputs[0]
    return DaqBlock(
        feature_map, lo, step, span, origin, codes, quantized, feedback=feedback, convolutions=nodes, **settings
    )


class _Settings(TypedDict):
    bits: Bits
    signed: bool
    rule: str
    range_bits: int | None
    tail: Tail | None


def _settings(model: ir.Model, lo: ir.Value, reader: ir.Node, bits: int) -> _Settings:
    """Return how a block quantizes: from the call of the function, or from metadata where it is inlined."""
    call = lo.producer()
    if call is not None and call.domain == DOMAIN:
        attributes = call.attributes
        settings = _Settings(
            bits=bits,
            signed=bool(attributes["signed"].as_int()),
            rule=attributes["rule"].as_string(),
            range_bits=attributes["range_bits"].as_int() or None,
            tail=None,
        )
        if call.op_type != "ChannelRange":
            channel_bits, tail = (constant_array(value) for value in call.inputs[1:3])
            assert channel_bits is not None
            assert tail is not None
            same = bool((channel_bits == channel_bits[0]).all() and (tail == tail[0]).all())
            settings["bits"] = int(channel_bits[0]) if same else channel_bits.astype(np.int64)
            settings["tail"] = float(tail[0]) if same else tail.astype(np.float64)
        elif settings["rule"] == "deploy":
            settings["tail"] = attributes["tail"].as_float()
        return settings
    if "daq.config" not in model.metadata_props:
        raise ModelError("the graph has inlined DAQ blocks and no daq.config; quantize the float model again")
    config = DaqConfig.from_json(model.metadata_props["daq.config"])
    layer = read_layers(model.metadata_props["daq.layers"])[convolutions(model.graph).index(reader)]
    return _Settings(
        bits=layer.bits_of_channels,
        signed=layer.signed,
        rule=config.range_rule,
        range_bits=config.range_bits,
        tail=layer.tail_of_channels,
    )


def _producer(value: ir.Value | None, kind: str) -> ir.Node | None:
    """Return the node that computes a value, None if it is not of this kind."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == kind and node.domain == "" else None


def _before_nearest_level(value: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """Return what a node NearestLevel, or the nodes it was inlined to, reads, and the origin; else the value and None."""
    node = value.producer() if value is not None else None
    if node is not None and node.domain == DOMAIN and node.op_type == "NearestLevel":
        return node.inputs[0], node.inputs[2]
    choice = _producer(value, "Where")
    comparison = _producer(choice.inputs[0], "Less") if choice is not None else None
    return (value, None) if choice is None or comparison is None else (choice.inputs[1], comparison.inputs[0])


def _before_feedback(value: ir.Value | None) -> tuple[ir.Value | None, ErrorFeedback | None]:
    """Return what a node ErrorFeedback, or the nodes it was inlined to, reads, and the feedback; else the value and None."""
    node = value.producer() if value is not None else None
    if node is not None and node.domain == DOMAIN and "ErrorFeedback" in node.op_type:
        coefficients, channels, _, sizes = node.inputs[-4:]
        return node.inputs[0], _feedback(coefficients, channels, sizes)
    rows = _producer(_before_reshape(value), "Gather")
    joined = _producer(rows.inputs[0], "Concat") if rows is not None else None
    if joined is None:
        return value, None
    # The first group is moved by nothing, the second by the errors of the first.
    split = _source(joined.inputs[0], "Identity", "Split")
    gather = _producer(split.inputs[0], "Gather") if split is not None else None
    addition = _producer(joined.inputs[1], "Add")
    product = _producer(addition.inputs[1], "MatMul") if addition is not None else None
    weights = _source(product.inputs[0], "Slice", "Split") if product is not None else None
    if split is None or gather is None or weights is None:
        return value, None
    return _before_reshape(gather.inputs[0]), _feedback(weights.inputs[0], gather.inputs[1], split.inputs[1])


def _source(value: ir.Value | None, passed: str, kind: str) -> ir.Node | None:
    """Return the node of a kind that computes a value, by way of one that is passed or directly."""
    between = _producer(value, passed)
    return _producer(value if between is None else between.inputs[0], kind)


def _feedback(coefficients: ir.Value | None, channels: ir.Value | None, sizes: ir.Value | None) -> ErrorFeedback | None:
    """Read error feedback from the constants of a graph, where its channels are in the order of rounding."""
    cast = _producer(coefficients, "Cast")
    if cast is None:
        return None
    constants = [constant_array(value) for value in (cast.inputs[0], channels, sizes)]
    if any(array is None for array in constants):
        return None
    halves, order, group_sizes = (np.asarray(array) for array in constants)
    places = np.argsort(order)
    firsts = order[np.cumsum(group_sizes) - group_sizes]
    return ErrorFeedback(tuple((firsts // GROUP).tolist()), halves[np.ix_(places, places)].astype(np.float16))


def _before_reshape(value: ir.Value | None) -> ir.Value | None:
    reshape = _producer(value, "Reshape")
    return value if reshape is None else reshape.inputs[0]


__all__ = ["DaqBlock", "find_blocks", "find_dynamic_blocks", "layers_of"]
