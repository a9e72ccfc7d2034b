"""A network small enough to know its output: every pixel becomes 2x2 pixels of the same colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.helper
import onnx.parser
import pytest

NearestX2 = Callable[..., onnx.ModelProto]


def _nearest_x2(
    shape: str = "n,3,h,w", value_range: str | None = None, metadata: dict[str, str] | None = None
) -> onnx.ModelProto:
    rows = ", ".join("1" if row // 4 == column else "0" for row in range(12) for column in range(3))
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        nearest_x2 (float[{shape}] image) => (float[a,3,b,c] larger)
        <float[12,3,1,1] weight = {{{rows}}}>
        {{
            copies = Conv(image, weight)
            positive = Relu(copies)
            larger = DepthToSpace<blocksize = 2, mode = "CRD">(positive)
        }}"""
    )
    properties = dict(metadata or {})
    if value_range is not None:
        properties["daq.value_range"] = value_range
    onnx.helper.set_model_props(model, properties)
    return model


@pytest.fixture
def nearest_x2() -> NearestX2:
    """Builds the network; `shape` is that of its input."""
    return _nearest_x2


@pytest.fixture
def nearest_x2_file(tmp_path: Path) -> Path:
    """The network in a file."""
    path = tmp_path / "nearest_x2.onnx"
    onnx.save(_nearest_x2(), path)
    return path
