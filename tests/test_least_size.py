"""The least size that the graph says, against where ONNX Runtime has something to compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.config import DaqConfig
from daq_deploy.least_size import least_size
from daq_deploy.quantization import quantize
from tests.networks import NETWORKS, network, unpadded_attention


def least_of(model: onnx.ModelProto) -> int:
    return least_size(ir.from_proto(model).graph)


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, dict[str, Any], int]:
    """A convolution or pool of any stride, dilation and padding that there can be, and its side."""
    kind = draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    attributes: dict[str, Any] = {"strides": [stride] * 2}
    if kind != "Conv":
        attributes["kernel_shape"] = [kernel] * 2
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if kernel >= stride and draw(st.booleans()):  # of smaller ones ONNX Runtime computes padding below zero
        attributes["auto_pad"] = '"SAME_UPPER"'
    else:
        attributes["pads"] = [draw(st.integers(0, kernel // 2)) for _ in range(2)] * 2
        attributes["dilations"] = [draw(st.integers(1, 2 if kind != "AveragePool" else 1))] * 2
    return kind, attributes, kernel


@settings(max_examples=150, deadline=None)
@given(st.lists(windows(), min_size=1, max_size=3))
def test_every_window_has_something_to_look_at_from_the_least_size_on(chain):
    lines, weights, read = [], {}, "x"
    for index, (kind, attributes, kernel) in enumerate(chain):
        written = f"v{index}" if index + 1 < len(chain) else "y"
        weight = f", w{index}" if kind == "Conv" else ""
        if kind == "Conv":
            weights[f"w{index}"] = (3, 3, kernel, kernel)
        settings_of_node = ", ".join(f"{name} = {value}" for name, value in attributes.items())
        lines.append(f"{written} = {kind}<{settings_of_node}>({read}{weight})")
        read = written
    model = network(" ".join(lines), **weights)
    least = least_of(model)
    model.graph.output.extend(onnx.ValueInfoProto(name=f"v{index}") for index in range(len(chain) - 1))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def computes_something(size: int) -> bool:
        try:
            maps = session.run(None, {"x": np.zeros((1, 3, size, size), np.float32)})
        except Exception:  # what it raises shares no base class
            return False
        return all(values.size > 0 for values in maps)

    assert all(computes_something(size) for size in range(least, least + 3))
    assert least == 1 or not computes_something(least - 1)


@pytest.mark.parametrize("name", ["edsr", "rlfn", "rcan"])
def test_networks_whose_windows_are_padded_run_on_a_single_pixel(name):
    assert least_of(NETWORKS[name]()) == 1


def test_a_daq_file_needs_what_its_network_needs():
    model = unpadded_attention()
    assert least_of(model) == 11
    quantized = quantize(ir.from_proto(model), DaqConfig(weight_rule="nearest"))
    assert least_size(quantized.model.graph) == 11
