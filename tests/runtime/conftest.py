"""A network small enough to know its output: every pixel becomes 2x2 pixels of the same colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import onnx
import pytest

NearestX2 = Callable[..., onnx.ModelProto]


@pytest.fixture
def nearest_x2() -> NearestX2:
    """Builds the network; `shape` is that of its input."""
    return networks.nearest_x2


@pytest.fixture
def nearest_x2_file(tmp_path: Path) -> Path:
    """The network in a file."""
    path = tmp_path / "nearest_x2.onnx"
    onnx.save(networks.nearest_x2(), path)
    return path
