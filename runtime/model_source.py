"""What a session is opened from: a file, or a model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from daq_deploy.errors import ModelError, OptionError
from daq_deploy.model_file import read_proto

IN_MEMORY = "model in memory"


def name_of(source: str | Path | bytes) -> str:
    """Return how messages call a model."""
    return IN_MEMORY if isinstance(source, bytes) else str(source)


def read_model(source: str | Path | bytes) -> onnx.ModelProto:
    """Read a model with all its weights: a file and the external data in its folder, or bytes that hold everything.

    Raises:
        ModelError: the file is missing, or the model is not ONNX, invalid, or has data outside its folder or, from
            memory, outside itself.
    """
    if not isinstance(source, bytes):
        return read_proto(Path(source))
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(source)
    except Exception as error:  # protobuf's DecodeError; its module has no types
        raise ModelError(f"{IN_MEMORY}: is not ONNX: {first_line(error)}") from error
    for part in (model.graph, *model.functions):
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(part)):
            raise ModelError(f"{IN_MEMORY}: some weights lie in another file; open the model by its path")
    return model


def add_outputs(model: onnx.ModelProto, names: Sequence[str], model_name: str) -> None:
    """Make tensors inside the graph its outputs, unless they are already.

    Raises:
        OptionError: no node of the main graph produces a tensor of that name.
    """
    produced = {output for node in model.graph.node for output in node.output}
    outputs = {output.name for output in model.graph.output}
    for name in dict.fromkeys(names):
        if name not in produced:
            raise OptionError(f"{model_name}: no node produces a tensor named {name!r}")
        if name not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))


def first_line(error: Exception) -> str:
    """The first line of a message, without ONNX Runtime's error number."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition("[ONNXRuntimeError] : ")[2]


def _tensors(part: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    if isinstance(part, onnx.GraphProto):
        yield from part.initializer
    for node in part.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _tensors(subgraph)


__all__ = ["IN_MEMORY", "add_outputs", "first_line", "name_of", "read_model"]
