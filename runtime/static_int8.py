"""ONNX Runtime's own static INT8 quantization: what DAQ is compared with at 8 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands out pictures (N, C, H, W) one by one."""

    def __init__(self, name: str, images: npt.NDArray[np.float32]) -> None:
        self._feeds = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._feeds, None)


def quantize_static_int8(
    model: ir.Model, images: npt.NDArray[np.float32], op_types: Sequence[str] | None = ("Conv",)
) -> bytes:
    """Quantize operations of a float network, what they read and what they give, one range a tensor.

    QDQ, uint8 activations, int8 weights with a step an output channel, ranges by MinMax: U8S8, as ONNX Runtime advises
    for CPUs with VNNI.

    Args:
        model: float, folded; it is left as it is.
        images: to calibrate on, float32 (N, C, H, W) in 0..value_range of the model.
        op_types: which operations; None is all that ONNX Runtime can quantize, which is the fastest, since feature maps then
            stay int8 from one convolution to the next.

    Returns:
        The bytes of an ONNX file.
    """
    name = model.graph.inputs[0].name
    assert name is not None
    proto = ir.to_proto(model)
    # Folding is the pre-processing that matters here; the mark keeps quantize_static from asking for more.
    proto.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "static.onnx"
        quantize_static(
            proto,
            path,
            _Pictures(name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=None if op_types is None else list(op_types),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return path.read_bytes()


__all__ = ["quantize_static_int8"]
