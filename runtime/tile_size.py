"""How large a tile may be: what a network needs in memory for each pixel, estimated from its graph."""

from __future__ import annotations

import onnx
import onnx.helper
import onnx.shape_inference

from daq_deploy.errors import OptionError

_SIDE = 256
"""Height and width of the picture for which shapes are inferred."""
_WORKING_SPACE = 2.2
"""What ONNX Runtime takes above the values that are alive: copies in another layout, the arena's fragments (measured)."""
SMALLEST_TILE = 32
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def bytes_per_pixel(model: onnx.ModelProto) -> float:
    """Return how many bytes of main memory one run takes for each pixel of its picture, weights left aside."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for dimension, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim, (1, None, _SIDE, _SIDE), strict=True):
        if size is not None:
            dimension.Clear()
            dimension.dim_value = size
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    sizes = {value.name: _bytes_of(value) for value in (*inferred.graph.value_info, *inferred.graph.output)}
    sizes.update({value.name: _bytes_of(value) for value in inferred.graph.input})
    largest = max(sizes.values(), default=0)
    nodes = list(model.graph.node)
    last_use = {name: index for index, node in enumerate(nodes) for name in node.input}
    last_use.update({output.name: len(nodes) for output in model.graph.output})
    alive, peak = float(sizes[fixed.graph.input[0].name]), 0.0
    for index, node in enumerate(nodes):
        alive += sum(sizes.get(name, largest) for name in node.output if name in last_use)
        peak = max(peak, alive)
        alive -= sum(sizes.get(name, 0) for name in {*node.input} if last_use.get(name) == index)
    return _WORKING_SPACE * peak / _SIDE**2


def _bytes_of(value: onnx.ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    count = 1
    for dimension in tensor.shape.dim:
        count *= dimension.dim_value or 1
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type or onnx.TensorProto.FLOAT).itemsize)


def parse_memory(text: str) -> int:
    """Return the bytes that "2G", "1.5G", "900M" or "1000000" stand for; K, M and G are powers of 1024.

    Raises:
        OptionError: it is none of these, or not above zero.
    """
    unit = text[-1:].upper() if text[-1:].upper() in _UNITS else ""
    try:
        size = int(float(text[: len(text) - len(unit)]) * _UNITS[unit])
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise OptionError(f"--max-memory {text}: give bytes, or a number with K, M or G, such as 1.5G")
    return size


__all__ = ["SMALLEST_TILE", "bytes_per_pixel", "parse_memory"]
