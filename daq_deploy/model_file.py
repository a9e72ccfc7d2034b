"""Reading ONNX files that nobody vouches for, and writing ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from .errors import ModelError
from .files import atomic_write

METADATA_PREFIX = "daq."


def load_float_model(path: Path, opset: int) -> ir.Model:
    """Read a float ONNX file that is to be quantized, at the opset wanted.

    Raises:
        ModelError: the file is missing, invalid, reaches outside its folder, is quantized already, has no Conv, or has
            weights that are NaN or infinite.
    """
    proto = read_proto(path)
    operators = {node.op_type for node in proto.graph.node}
    if any(entry.key == "daq.config" for entry in proto.metadata_props):
        raise ModelError(f"{path}: is a DAQ file already; quantize the float model it was made from")
    if quantized := operators & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}:
        raise ModelError(f"{path}: is quantized already (it has {', '.join(sorted(quantized))}); give the float model")
    if "Conv" not in operators:
        raise ModelError(f"{path}: has no Conv in its main graph; nothing to quantize")
    _check_finite(path, proto)
    model: ir.Model = ir.from_proto(_at_opset(path, proto, opset))
    RemoveInitializersFromInputsPass()(model)
    return model


def read_proto(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file, external data included.

    Raises:
        ModelError: the file is missing, not ONNX, invalid, or has external data outside its folder.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path}: is not a valid ONNX model: {_first_line(error)}") from error
    except (DecodeError, ValueError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as ONNX: {_first_line(error)}") from error
    if not proto.graph.node:
        raise ModelError(f"{path}: cannot be read as ONNX: the graph is empty")
    return proto


def save_model(model: ir.Model, path: Path, force: bool = False) -> None:
    """Write a model so that the same model gives the same bytes.

    Raises:
        OutputExistsError: the file exists and `force` is false.
    """
    with atomic_write(path, force) as temporary:
        temporary.write_bytes(model_bytes(model))


def model_bytes(model: ir.Model) -> bytes:
    """Return the model as serialized by protobuf, deterministically."""
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def _at_opset(path: Path, proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    version = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if version == opset:
        return proto
    if version > opset:
        raise ModelError(
            f"{path}: has opset {version}; DAQ files have {opset}: export it again with opset {opset} or lower"
        )
    try:
        return onnx.version_converter.convert_version(proto, opset)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: cannot be brought from opset {version} to {opset}: {_first_line(error)}; "
            f"export it again with opset 18 to {opset}"
        ) from error


def _check_finite(path: Path, proto: onnx.ModelProto) -> None:
    weights = [(initializer.name, initializer) for initializer in proto.graph.initializer]
    for node in proto.graph.node:
        if node.op_type == "Constant":
            weights += [(node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value"]
    for name, tensor in weights:
        if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinite"
            raise ModelError(f"{path}: weight {name} has {kind} values; the checkpoint is broken")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


__all__ = ["METADATA_PREFIX", "load_float_model", "model_bytes", "read_proto", "save_model"]
