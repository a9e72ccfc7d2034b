"""Ranges as inputs, as constants, and the statistics they come from."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from daq_deploy.config import DaqConfig
from daq_deploy.numerics import ChannelStatistics
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.passes.expose_ranges import ExposeRanges, range_values
from daq_deploy.passes.freeze_ranges import FreezeRanges
from daq_deploy.passes.measure_statistics import WINDOW, MeasureStatistics
from daq_deploy.quantization import quantize
from tests.networks import NETWORKS, picture, rlfn


def daq_model(network: str = "edsr", mixed: bool = False, **options: bool) -> ir.Model:
    config = DaqConfig(weight_rule="nearest", mixed=False)
    model = quantize(ir.from_proto(NETWORKS[network]()), config, **options).model
    assert find_blocks(model)
    return model


def run(model: ir.Model, feeds: dict[str, np.ndarray], extra: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    proto = ir.to_proto(model)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in extra)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def range_names(model: ir.Model) -> tuple[str, ...]:
    return tuple(str(value.name) for block in find_blocks(model) for value in range_values(block).values())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("freeze", [False, True])
def test_the_same_ranges_give_the_same_output(network, inline, freeze):
    model = daq_model(network, inline=inline)
    image, names = picture(24, 30), range_names(model)
    found = run(model, {"x": image}, names)
    ranges = {name: found[name] for name in names}
    result = (FreezeRanges(ranges) if freeze else ExposeRanges())(model)
    assert result.modified
    assert not range_functions(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    given = {} if freeze else ranges
    np.testing.assert_array_equal(run(model, {"x": image, **given})["y"], found["y"])


def range_functions(model: ir.Model) -> list[str]:
    used = [node.op_type for node in model.graph if node.domain == "daq"] + [key[1] for key in model.functions]
    return [name for name in used if name.endswith("Range")]


@pytest.mark.parametrize("a_pass", [ExposeRanges(), FreezeRanges({}), MeasureStatistics()])
def test_a_float_graph_is_left_as_it_is(a_pass):
    model = ir.from_proto(rlfn())
    before = ir.to_proto(model).SerializeToString()
    assert not a_pass(model).modified
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("network", NETWORKS)
def test_statistics_of_a_window_are_those_of_the_oracle(network):
    model = daq_model(network)
    image = picture(40, 48)
    maps = tuple(str(block.feature_map.name) for block in find_blocks(model))
    values = run(model, {"x": image}, tuple(dict.fromkeys(maps)))
    MeasureStatistics()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    window = np.array([8, 16, 32, 40])
    outputs = list(run(model, {"x": image, WINDOW: window}).values())[1:]
    for name, count, five in zip(maps, outputs[::2], outputs[1::2], strict=True):
        height, width = values[name].shape[2:]
        rows, columns = (slice(window[axis] * size // whole, max(window[axis + 2] * size // whole, 1))
                         for axis, size, whole in ((0, height, 40), (1, width, 48)))  # fmt: skip
        truth = ChannelStatistics.of(values[name][:, :, rows, columns])
        positives, mean, variance, minimum, maximum = five[:, :, :, 0, 0]
        assert count[0] == truth.count
        np.testing.assert_array_equal(positives, truth.positives)
        np.testing.assert_array_equal(minimum, truth.minimum)
        np.testing.assert_array_equal(maximum, truth.maximum)
        scale = np.abs(values[name]).max() + 1e-9
        np.testing.assert_allclose(mean, truth.mean, atol=1e-5 * scale)
        np.testing.assert_allclose(np.sqrt(variance), truth.spread(signed=True), atol=1e-4 * scale)
