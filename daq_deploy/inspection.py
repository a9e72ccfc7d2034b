"""What is in a DAQ graph: layers, bits, and what they take in the file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx.external_data_helper import uses_external_data

from .config import FLOAT_BITS, DaqConfig
from .errors import ModelError
from .files import sha256_of
from .model_file import read_proto
from .passes.graph import ancestors, convolutions
from .passes.native import METADATA_KEY
from .passes.plan import LayerReport, read_layers
from .quantization import Quantized, quantize


@dataclass(frozen=True)
class StoredLayer:
    """A convolution and the room its weights take."""

    report: LayerReport
    storage_bits: int
    """Bits each weight takes in the file: 2, 4, 8 or 32."""
    stored_bytes: int
    """Bytes of codes and steps, or of float weights; the bias is not counted."""

    def to_dict(self) -> dict[str, object]:
        """Return the layer as JSON-ready values."""
        own: dict[str, object] = {"storage_bits": self.storage_bits, "stored_bytes": self.stored_bytes}
        return self.report.to_dict() | own


@dataclass(frozen=True)
class WeightTotals:
    """Sums over the weights of all convolutions; weights that two layers share count once."""

    weights: int
    bytes: int
    """Codes, steps and float weights."""

    @property
    def bits_per_weight(self) -> float:
        """Average bits a weight, steps included."""
        return 8 * self.bytes / max(self.weights, 1)


@dataclass(frozen=True)
class Inspection:
    """What `daq-deploy inspect` shows."""

    path: str
    is_daq: bool
    """False for a float file: the layers are then those it would get, and the file is as it is."""
    file_bytes: int
    """Size on disk, external data included."""
    opset: int
    value_range: float
    config: DaqConfig
    """How the file was quantized, or would be."""
    versions: dict[str, str]
    """Versions of what made the file."""
    sha256: str
    """Of the file itself."""
    source_sha256: str | None
    """Of the float file it was made from."""
    layers: tuple[StoredLayer, ...]
    totals: WeightTotals

    def to_dict(self) -> dict[str, object]:
        """Return everything as JSON-ready values."""
        values = asdict(self)
        values["layers"] = [layer.to_dict() for layer in self.layers]
        values["totals"] = asdict(self.totals) | {"bits_per_weight": self.totals.bits_per_weight}
        return values


def stored_layers(quantized: Quantized) -> tuple[StoredLayer, ...]:
    """Return what the weights of each convolution take in the graph, in execution order.

    Raises:
        ModelError: the reports are not those of this graph.
    """
    nodes = convolutions(quantized.model.graph)
    if len(nodes) != len(quantized.layers):
        raise ModelError(f"daq.layers tells of {len(quantized.layers)} convolutions, the graph has {len(nodes)}")
    return tuple(_stored(node, report) for node, report in zip(nodes, quantized.layers, strict=True))


def weight_totals(model: ir.Model) -> WeightTotals:
    """Return the sums over the weights of a graph's convolutions."""
    nodes = {node.inputs[1]: node for node in convolutions(model.graph)}
    tensors = [_weight_tensors(node) for node in nodes.values()]
    return WeightTotals(
        weights=sum(int(_codes(found).size) for found in tensors if found),
        bytes=sum(tensor.nbytes for found in tensors for tensor in found),
    )


def inspect_file(path: str | Path) -> Inspection:
    """Read a DAQ file, or say what a float file would become under the default configuration.

    Raises:
        ModelError: the file cannot be read, its metadata are damaged, or nothing in it can be quantized.
    """
    path = Path(path)
    proto = read_proto(path)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    is_daq = "daq.config" in properties
    if METADATA_KEY in properties:
        raise ModelError(f"{path}: is a native graph, made by `daq-deploy fuse`; inspect the DAQ file it was made from")
    try:
        if is_daq:
            config = DaqConfig.from_json(properties["daq.config"])
            quantized = Quantized(ir.from_proto(proto), read_layers(properties.get("daq.layers", "[]")))
        else:
            config = DaqConfig()
            quantized = quantize(path, replace(config, weight_rule="nearest"))  # any rule takes the same room
        return Inspection(
            path=str(path),
            is_daq=is_daq,
            file_bytes=size_on_disk(path),
            opset=opset,
            value_range=float(properties.get("daq.value_range", 255)),
            config=config,
            versions=dict(json.loads(properties.get("daq.versions", "{}"))),
            sha256=sha256_of(path),
            source_sha256=properties.get("daq.source_sha256"),
            layers=stored_layers(quantized),
            totals=weight_totals(quantized.model),
        )
    except ModelError as error:
        message = str(error)
        raise ModelError(message if message.startswith(str(path)) else f"{path}: {message}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its daq metadata are damaged: {error}") from error


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file and, for ONNX, of the files that hold its external data."""
    size = path.stat().st_size
    if path.suffix != ".onnx":
        return size
    graph = onnx.load(path, load_external_data=False).graph
    others: set[str] = {
        entry.value
        for tensor in graph.initializer
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return size + sum((path.parent / name).stat().st_size for name in others)


def _stored(node: ir.Node, report: LayerReport) -> StoredLayer:
    tensors = _weight_tensors(node)
    bits = int(_codes(tensors).dtype.bitwidth) if tensors else FLOAT_BITS
    return StoredLayer(report, storage_bits=bits, stored_bytes=sum(tensor.nbytes for tensor in tensors))


def _weight_tensors(node: ir.Node) -> list[ir.TensorProtocol]:
    """Return the constants that a convolution's weights are made of."""
    tensors = (ir.convenience.get_const_tensor(value) for value in ancestors(node.inputs[1]))
    return [tensor for tensor in tensors if tensor is not None]


def _codes(tensors: list[ir.TensorProtocol]) -> ir.TensorProtocol:
    """Return the codes among the constants of a layer, the float weights where there are none."""
    return next((tensor for tensor in tensors if tensor.dtype != ir.DataType.FLOAT), tensors[0])


__all__ = [
    "Inspection",
    "StoredLayer",
    "WeightTotals",
    "inspect_file",
    "size_on_disk",
    "stored_layers",
    "weight_totals",
]
