"""What a session does with the native library: which models it fuses at load time, and why not others."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from daq_deploy.errors import DaqError, ModelError
from daq_deploy.ops import DOMAIN
from daq_deploy.passes.native import METADATA_KEY, NATIVE_DOMAIN, FuseNative, Fusion

from .library import NativeLibrary, load_library


@dataclass(frozen=True)
class NativeUse:
    """How a model runs with the native library."""

    library: NativeLibrary
    fusion: Fusion
    """What became of each convolution; no layers where none is native but ranges are."""


def is_fused(model: onnx.ModelProto) -> bool:
    """Return whether a model has native nodes, and runs with the native library alone."""
    return any(entry.domain == NATIVE_DOMAIN for entry in model.opset_import)


def range_names(model: onnx.ModelProto) -> set[str]:
    """Return the names of the ranges that nodes of the main graph give: tensors that the native kernels give too."""
    return {name for node in model.graph.node if node.domain == DOMAIN for name in node.output}


def use_native(model: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, NativeUse] | str:
    """Fuse a DAQ model where the native library is installed, and return it; return why not otherwise.

    Raises:
        ModelError: the model is fused already, and the library is missing or its metadata are damaged.
    """
    try:
        library = load_library()
    except DaqError as error:
        return obstacle_of(model, name, str(error))
    if library is None:
        return obstacle_of(model, name, "daq-deploy was installed without a C++ compiler and has no native library")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if is_fused(model):
        try:
            return model, NativeUse(library, Fusion.from_json(metadata.get(METADATA_KEY, "{}")))
        except ValueError as error:
            raise ModelError(f"{name}: its daq metadata are damaged: {error}") from error
    if "daq.config" not in metadata:
        return "the file is float"
    graph_model = ir.from_proto(model)
    if not FuseNative()(graph_model).modified:
        return model, NativeUse(library, Fusion(()))
    fusion = Fusion.from_json(graph_model.metadata_props[METADATA_KEY])
    return ir.to_proto(graph_model), NativeUse(library, fusion)


def obstacle_of(model: onnx.ModelProto, name: str, obstacle: str) -> str:
    """Return why native kernels are not used.

    Raises:
        ModelError: the model does not run without them.
    """
    if is_fused(model):
        raise ModelError(
            f"{name}: is a native graph, which needs the native library on the CPU: {obstacle}; "
            "open the DAQ file that it was made from"
        )
    return obstacle


__all__ = ["NativeUse", "is_fused", "obstacle_of", "range_names", "use_native"]
