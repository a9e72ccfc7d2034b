"""DAQ graph in, native graph out: for programs that load the native library themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from .errors import ModelError
from .model_file import model_bytes, read_proto, save_model
from .passes.native import METADATA_KEY, FuseNative, Fusion


@dataclass(frozen=True)
class Fused:
    """A native graph, and what became of each convolution."""

    model: ir.Model
    fusion: Fusion

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return model_bytes(self.model)

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the file.

        Raises:
            OutputExistsError: it exists and `force` is false.
        """
        save_model(self.model, Path(path), force)


def fuse(model: str | Path | ir.Model) -> Fused:
    """Fuse a DAQ graph; what it gives needs the native library, and is the same network otherwise.

    Args:
        model: a DAQ file, or a model in memory, which is left as it is.

    Raises:
        ModelError: the file cannot be read, is fused already, or has no layer that the native kernels compute.
    """
    in_memory = isinstance(model, ir.Model)
    name = "the model" if isinstance(model, ir.Model) else str(model)
    graph_model = model.clone() if isinstance(model, ir.Model) else ir.from_proto(read_proto(Path(model)))
    if METADATA_KEY in graph_model.metadata_props:
        raise ModelError(f"{name}: is a native graph already")
    if not FuseNative()(graph_model).modified:
        raise ModelError(
            f"{name}: has no layer that the native kernels compute; give a {'model' if in_memory else 'file'} that "
            "`daq-deploy quantize` or `export` made"
        )
    return Fused(graph_model, Fusion.from_json(graph_model.metadata_props[METADATA_KEY]))


__all__ = ["Fused", "fuse"]
