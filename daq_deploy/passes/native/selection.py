"""Which convolutions the native kernels compute, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.blocks import DaqBlock
from daq_deploy.passes.graph import (
    WeightCodes,
    convolutions,
    dequantized_weights,
    float_constant,
    weight_codes,
)

MOST_FLOAT_CHANNELS = 4
"""Input channels up to which a float convolution is native: that of the head, which reads the picture."""
_EXACT_BITS = 6
"""Activation bits from which folding the steps of channels into weights of 8 bits could show."""


@dataclass(frozen=True)
class Window:
    """How a kernel moves over its input."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]


@dataclass(frozen=True)
class NativeConvolution:
    """A convolution that the native kernels can compute."""

    node: ir.Node
    block: DaqBlock | None
    """Quantizes what it reads; None for a float convolution."""
    weights: WeightCodes | npt.NDArray[np.float32]
    """Codes for a quantized convolution, numbers for a float one; (O, I, kH, kW)."""
    bias: npt.NDArray[np.float32]
    """(O,)."""
    window: Window

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.bias.size)


def select(graph: ir.Graph, blocks: list[DaqBlock]) -> dict[ir.Node, NativeConvolution | str]:
    """Return, for every convolution in execution order, what the kernels need or why it is left to ONNX Runtime."""
    reads = {node: block for block in blocks for node in block.convolutions}
    return {node: _select(node, reads.get(node)) for node in convolutions(graph)}


def needs_exact(block: DaqBlock, blocks: list[DaqBlock], last: bool) -> bool:
    """Return whether a convolution needs weights of 16 bits: where the error of 8 bits would show.

    It shows where codes have many bits, unless coarser layers hide it: those of the same network do, but for layers whose
    output nothing quantizes again. Those end the network, where every error is one of the picture.

    Args:
        block: what the convolution reads.
        blocks: of the network.
        last: whether no native layer reads what it gives, or none before it is resized.
    """
    bits = float(np.mean(block.bits))
    coarsest = min(float(np.mean(other.bits)) for other in blocks)
    return bits >= _EXACT_BITS and (last or bits <= coarsest + 1)


def _select(node: ir.Node, block: DaqBlock | None) -> NativeConvolution | str:
    if node.op_type != "Conv":
        return "transposed convolution"
    groups = node.attributes.get_int("group", 1)
    if groups != 1:
        return f"{groups} groups"
    codes = weight_codes(node)
    if block is None:
        values = float_constant(node.inputs[1]) if codes is None else dequantized_weights(node)
        if values is None:
            return "its weights are computed at run time"
        if values.ndim != 4 or values.shape[1] > MOST_FLOAT_CHANNELS:
            return "reads a float map"
        weights: WeightCodes | npt.NDArray[np.float32] = values
        shape = values.shape
    else:
        if codes is None:
            return "its weights are float"
        weights, shape = codes, codes.codes.shape
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    bias = np.zeros(shape[0], np.float32) if bias_value is None else float_constant(bias_value)
    if bias is None:
        return "its bias is computed at run time"
    window = _window(node, shape[2:])
    return window if isinstance(window, str) else NativeConvolution(node, block, weights, bias, window)


def _window(node: ir.Node, kernel: tuple[int, ...]) -> Window | str:
    attributes = node.attributes
    strides = tuple(attributes.get_ints("strides", [1, 1]))
    dilations = tuple(attributes.get_ints("dilations", [1, 1]))
    pads = tuple(attributes.get_ints("pads", [0, 0, 0, 0]))
    auto_pad = attributes.get_string("auto_pad", "NOTSET")
    if auto_pad == "VALID":
        pads = (0, 0, 0, 0)
    elif auto_pad.startswith("SAME"):
        if strides != (1, 1):
            return f"auto_pad {auto_pad} with strides: its padding depends on the picture"
        totals = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
        smaller, larger = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        pads = smaller + larger if auto_pad == "SAME_UPPER" else larger + smaller
    if min(pads) < 0:
        return "its padding is negative"
    return Window(strides, pads, dilations)


def reads_channels(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """Return a constant of one value a channel, or one for all, as (C,) or (1,); None for anything else."""
    array = float_constant(value)
    if array is None or array.ndim > 4:
        return None
    shape = (1,) * (4 - array.ndim) + array.shape
    return array.reshape(-1) if shape[0] == shape[2] == shape[3] == 1 else None


__all__ = [
    "MOST_FLOAT_CHANNELS",
    "NativeConvolution",
    "Window",
    "needs_exact",
    "reads_channels",
    "select",
]
