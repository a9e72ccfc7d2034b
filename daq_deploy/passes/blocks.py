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
from daq_deploy.numerics.ranges import Bits, Tail
from daq_deploy.ops import DOMAIN

from .feedback_nodes import before_feedback
from .graph import constant_array, convolutions, producer_of
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
    addition = producer_of(quantized, "Add")
    if addition is None:
        return None
    levels, lo = addition.inputs
    dequantize = producer_of(_before_reshape(levels), "DequantizeLinear")
    if dequantize is None or lo is None:
        return None
    codes, step = dequantize.inputs[:2]
    clip = producer_of(codes, "Clip")
    quantize = producer_of(codes if clip is None else clip.inputs[0], "QuantizeLinear")
    if quantize is None or codes is None or step is None or quantize.inputs[1] is not step:
        return None
    offset = _before_reshape(quantize.inputs[0])
    offset, origin = _before_nearest_level(offset)
    minimum = producer_of(offset, "Min")
    offset, feedback = before_feedback(offset if minimum is None else minimum.inputs[0])
    subtraction = producer_of(offset, "Sub")
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


def _before_nearest_level(value: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """Return what a node NearestLevel, or the nodes it was inlined to, reads, and the origin; else the value and None."""
    node = value.producer() if value is not None else None
    if node is not None and node.domain == DOMAIN and node.op_type == "NearestLevel":
        return node.inputs[0], node.inputs[2]
    choice = producer_of(value, "Where")
    comparison = producer_of(choice.inputs[0], "Less") if choice is not None else None
    return (value, None) if choice is None or comparison is None else (choice.inputs[1], comparison.inputs[0])


def _before_reshape(value: ir.Value | None) -> ir.Value | None:
    reshape = producer_of(value, "Reshape")
    return value if reshape is None else reshape.inputs[0]


__all__ = ["DaqBlock", "find_blocks", "find_dynamic_blocks", "layers_of"]
