"""What is compared: files made from a float network, and what runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from daq_deploy.api import quantize
from daq_deploy.config import DaqConfig
from daq_deploy.model_file import model_bytes
from daq_deploy.passes.freeze_ranges import FreezeRanges
from daq_deploy.runtime.configurations import Network
from daq_deploy.runtime.shared_ranges import RangeMeter, Window
from daq_deploy.runtime.static_int8 import quantize_static_int8
from daq_deploy.runtime.synthetic import smooth_image

BITS = 4
"""Of the DAQ files: W4A4."""
_PROBE_SIDE = 64
"""Height and width of the picture on which fixed ranges are taken; speed does not depend on them."""


@dataclass(frozen=True)
class Contestant:
    """One way of running a network."""

    name: str
    """As the table calls it."""
    file: str
    """Which of the files of `write_files` it runs: float, int8, daq or frozen."""
    engine: str
    """onnxruntime, openvino or daq (the project's own Session)."""
    precision: str | None = None
    """OpenVINO's inference precision, f32 or bf16; None leaves it to OpenVINO."""
    tier: str | None = None
    """Instruction set of the native kernels; None runs standard ops."""


FLOAT = Contestant("float, ONNX Runtime", "float", "onnxruntime")
ONNXRUNTIME_INT8 = Contestant("INT8, ONNX Runtime", "int8", "onnxruntime")
OPENVINO_INT8 = Contestant("INT8, OpenVINO", "int8", "openvino")
STANDARD_OPS = Contestant("DAQ, standard ops", "daq", "daq")


def native(tier: str) -> Contestant:
    """The native kernels of an instruction set."""
    return Contestant(f"DAQ, native {tier}", "daq", "daq", tier=tier)


def frozen(tier: str) -> Contestant:
    """The same with ranges that are constants instead of each picture's own."""
    return Contestant(f"DAQ, native {tier}, ranges frozen", "frozen", "daq", tier=tier)


def contestants(tiers: Sequence[str]) -> tuple[Contestant, ...]:
    """Return what is compared; the first is what the others are compared with.

    Args:
        tiers: instruction sets of the native kernels on this processor, the best first; none without the library.
    """
    return (
        FLOAT,
        *([native(tiers[0]), frozen(tiers[0])] if tiers else []),
        ONNXRUNTIME_INT8,
        OPENVINO_INT8,
        Contestant("bf16, OpenVINO", "float", "openvino", precision="bf16"),
        Contestant("fp32, OpenVINO", "float", "openvino", precision="f32"),
        STANDARD_OPS,
        *map(native, tiers[1:]),
    )


def write_files(network: Network, folder: Path) -> dict[str, Path]:
    """Write the files that the contestants run, float.onnx, int8.onnx, daq.onnx and frozen.onnx, and return them by name.

    Weights are rounded to the nearest, since choosing them takes minutes and changes no operation.

    Raises:
        ModelError: the network cannot be quantized.
    """
    model = network.folded()
    RemoveUnusedNodesPass()(model)  # folding leaves weights that nobody reads
    value_range = float(model.metadata_props.get("daq.value_range", "255"))
    image = smooth_image(_PROBE_SIDE, _PROBE_SIDE, value_range)
    config = replace(DaqConfig.of_profile("deploy", bits=BITS), weight_rule="nearest")
    daq = quantize(model, config).model
    contents = {
        "float": model_bytes(model),
        "int8": quantize_static_int8(model, image, op_types=None),
        "daq": model_bytes(daq),
        "frozen": model_bytes(freeze_ranges(daq, image)),
    }
    files = {name: folder / f"{name}.onnx" for name in contents}
    for name, content in contents.items():
        files[name].write_bytes(content)
    return files


def freeze_ranges(model: ir.Model, image: np.typing.NDArray[np.float32]) -> ir.Model:
    """Return a DAQ network whose ranges are constants: those of one picture, float32 (1, C, H, W)."""
    meter = RangeMeter(ir.to_proto(model), "the model", threads=1)
    ranges = meter.ranges(meter.measure(image, Window(0, 0, *image.shape[2:])))
    meter.close()
    constant = model.clone()
    FreezeRanges(ranges)(constant)
    return constant


__all__ = [
    "BITS",
    "FLOAT",
    "ONNXRUNTIME_INT8",
    "OPENVINO_INT8",
    "STANDARD_OPS",
    "Contestant",
    "contestants",
    "freeze_ranges",
    "frozen",
    "native",
    "write_files",
]
