"""Decide what becomes of each convolution, and say why as data."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import onnx_ir as ir

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.companding import FEWEST_BITS, MOST_BITS
from daq_deploy.numerics.ranges import Bits, Tail, tail_at, usual_tail

from .graph import constant_array, convolutions, float_constant, layer_name
from .roles import convolution_roles, reads_pooled_map
from .signs import is_non_negative


@dataclass(frozen=True)
class LayerReport:
    """What became of one convolution."""

    name: str
    """Module path of the layer, or the node's name."""
    role: str
    """head, body, closing, upsampler, tail or attention."""
    weight_bits: int
    """Bits of the weights, 32 where they are left float."""
    activation_bits: int
    """Bits of the feature map it reads, 32 where that is left float."""
    signed: bool
    """Whether the feature map can be negative."""
    weight_shape: tuple[int, ...]
    """(O, I / groups, kH, kW)."""
    reason: str
    """Why weights or activations were left float; empty if both are quantized."""
    tail: float | None = None
    """Weight of a channel's full extent in the `deploy` range rule, 0 to 1; None with other rules."""

    companded: bool = False
    """Whether channels of at most companding.MOST_BITS have companded levels in place of even ones."""

    error_feedback: bool = False
    """Whether channels make good what those before them lost."""

    channel_bits: tuple[int, ...] | None = None
    """Bits of each channel it reads where they are mixed; `activation_bits` is then what they were to be on average."""

    feedback: ErrorFeedback | None = field(default=None, repr=False, compare=False)
    """The coefficients of that; None too where the report was read from a file."""

    @property
    def bits_of_channels(self) -> Bits:
        """Bits of the feature map: one number, or one a channel (C,)."""
        return self.activation_bits if self.channel_bits is None else np.array(self.channel_bits, np.int64)

    @property
    def tail_of_channels(self) -> Tail | None:
        """Tail of the `deploy` rule: one number, or one a channel (C,)."""
        if self.channel_bits is None or self.tail is None:
            return self.tail
        return tail_at(np.array(self.channel_bits, np.int64), self.activation_bits, self.tail, self.companded)

    @property
    def quantized(self) -> bool:
        """Whether weights, activations or both are quantized."""
        return min(self.weight_bits, self.activation_bits) < FLOAT_BITS

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON-ready values."""
        values = asdict(replace(self, feedback=None))
        del values["feedback"]
        return values


def with_even_levels(layer: LayerReport) -> LayerReport:
    """Return the plan of a layer with even levels, and the tail that is usual for them, in place of companded ones."""
    return replace(layer, companded=False, tail=float(usual_tail(layer.activation_bits, companded=False)))


def read_layers(text: str) -> tuple[LayerReport, ...]:
    """Read the JSON of `daq.layers`."""
    lists = ("weight_shape", "channel_bits")
    return tuple(
        LayerReport(**values | {name: tuple(values[name]) for name in lists if values[name] is not None})
        for values in json.loads(text)
    )


def plan_layers(graph: ir.Graph, config: DaqConfig) -> dict[ir.Node, LayerReport]:
    """Return the plan for every convolution of the main graph, in execution order."""
    roles = convolution_roles(graph)
    return {node: _plan(node, roles[node], config) for node in convolutions(graph)}


def _plan(node: ir.Node, role: str, config: DaqConfig) -> LayerReport:
    name = layer_name(node)
    weight_bits, activation_bits = _bits_of_role(role, config)
    reason = _obstacle(node) or _excluded(name, role, config)
    if reason:
        weight_bits = activation_bits = FLOAT_BITS
    elif weight_bits == FLOAT_BITS:
        reason = f"role {role}: --{'attention' if role == 'attention' else 'edge'}-bits {FLOAT_BITS} leaves it float"
    elif reads_pooled_map(node):
        activation_bits = FLOAT_BITS
        reason = "activations float: reads a 1x1 map, whose channels have no spread"
    elif config.range_rule == "deploy" and activation_bits == 8 and _reads_picture(node):
        activation_bits = FLOAT_BITS
        reason = "activations as they are: reads the picture, whose values have 8 bits already"
    has_tail = config.range_rule == "deploy" and activation_bits != FLOAT_BITS
    companded = has_tail and config.levels == "companded" and FEWEST_BITS <= activation_bits <= MOST_BITS
    return LayerReport(
        name=name,
        role=role,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        signed=not is_non_negative(node.inputs[0]),
        weight_shape=_weight_shape(node),
        reason=reason,
        tail=float(usual_tail(activation_bits, companded)) if has_tail else None,
        companded=companded,
    )


def _reads_picture(node: ir.Node) -> bool:
    """Return whether a layer reads the graph's input, through nothing but arithmetic with constants."""
    value = node.inputs[0]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type not in ("Add", "Sub", "Mul", "Div"):
            return False
        variable = [operand for operand in producer.inputs if constant_array(operand) is None]
        if len(variable) != 1:
            return False
        value = variable[0]
    return value is not None and value.is_graph_input()


def has_body_bits(role: str, config: DaqConfig) -> bool:
    """Return whether layers of a role get the bits of the body: they are neither attention nor one of the edges."""
    return role != "attention" and role not in config.edges


def _bits_of_role(role: str, config: DaqConfig) -> tuple[int, int]:
    if has_body_bits(role, config):
        return config.weight_bits, config.activation_bits
    bits = config.attention_bits if role == "attention" else config.edge_bits
    return bits, bits


def _obstacle(node: ir.Node) -> str:
    """Return what makes a layer impossible to quantize, or nothing."""
    if node.op_type == "ConvTranspose":
        return "transposed convolution: its weights have the output channels second; left float"
    weight = constant_array(node.inputs[1])
    if weight is None:
        return "weights are computed at run time"
    if weight.dtype != np.float32:
        return f"weights are {weight.dtype}, only float32 is quantized"
    if weight.ndim != 4:
        return f"is a {weight.ndim - 2}-D convolution, only 2-D ones are quantized"
    return ""


def _excluded(name: str, role: str, config: DaqConfig) -> str:
    """Return which option leaves a layer float, or nothing."""
    if config.layers == "body" and role != "body":
        return f"role {role}: --layers body quantizes the body alone"
    if config.include is not None and not re.search(config.include, name):
        return f"does not match --include {config.include}"
    if config.exclude is not None and re.search(config.exclude, name):
        return f"matches --exclude {config.exclude}"
    return ""


def _weight_shape(node: ir.Node) -> tuple[int, ...]:
    weight = float_constant(node.inputs[1])
    return tuple(weight.shape) if weight is not None else ()


__all__ = ["LayerReport", "has_body_bits", "plan_layers", "read_layers", "with_even_levels"]
