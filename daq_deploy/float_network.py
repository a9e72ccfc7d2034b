"""The float network that is given: an ONNX file, or a checkpoint where PyTorch is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def read_float(path: Path, opset: int, value_range: float | None = None, res_scale: float = 1.0) -> ir.Model:
    """Read a float network; its metadata hold its value range afterwards.

    Raises:
        ModelError, CheckpointError, OptionError: as `load_float_model` and `export_float`.
        DaqError: a checkpoint is given and PyTorch is not installed.
    """
    if path.suffix == ".onnx":
        from daq_deploy.model_file import load_float_model

        model = load_float_model(path, opset)
        if value_range is not None or "daq.value_range" not in model.metadata_props:
            model.metadata_props["daq.value_range"] = str(float(value_range or 255))
        return model
    check_torch(path)
    from daq_deploy.exporters.export import export_float

    return export_float(path, res_scale=res_scale, value_range=value_range, opset=opset).model


def check_torch(path: Path) -> None:
    """Refuse a checkpoint where PyTorch is not installed.

    Raises:
        DaqError: it is not.
    """
    if find_spec("torch") is None:
        from daq_deploy.errors import DaqError

        raise DaqError(f"{path}: a checkpoint needs PyTorch, which is not installed: pip install 'daq-deploy[export]'")


def read_float_of(daq_model: ir.Model, path: Path) -> ir.Model:
    """Read the float network that a DAQ graph was made from, as its metadata describe it.

    Raises:
        ModelError: the file contradicts the metadata; and as `read_float`.
    """
    from daq_deploy.errors import ModelError, OptionError

    metadata = daq_model.metadata_props
    parameters = json.loads(metadata.get("daq.architecture", "{}")).get("parameters", {})
    try:
        return read_float(
            path,
            daq_model.opset_imports[""],
            float(metadata.get("daq.value_range", 255)),
            parameters.get("res_scale", 1.0),
        )
    except OptionError as error:  # nobody gave these options: what the DAQ file states does not fit this checkpoint
        raise ModelError(f"{path}: is not the network that the DAQ file was made from ({error})") from error


__all__ = ["check_torch", "read_float", "read_float_of"]
