"""What a layer costs alone: measured against running the network with that layer alone quantized."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from feedbacks import fed_back
from networks import PAD, edsr, network, picture, rcan, run, wide, with_outliers

from daq_deploy.calibration.sensitivity import OutputSensitivity
from daq_deploy.config import DaqConfig
from daq_deploy.diagnosis import diagnose, psnr_of
from daq_deploy.errors import ModelError
from daq_deploy.passes.graph import convolutions
from daq_deploy.quantization import OPSET, Quantized, quantize
from daq_deploy.runtime.executor import OrtExecutor

NEAREST = DaqConfig(weight_bits=4, activation_bits=4, weight_rule="nearest")
IMAGE = picture(20, 24)
EXECUTE = OrtExecutor(OPSET, threads=1)


def diagnosed(proto: onnx.ModelProto, config: DaqConfig) -> tuple:
    model = ir.from_proto(proto)
    return diagnose(quantize(model, config).model, model, IMAGE, EXECUTE)


def alone(proto: onnx.ModelProto, config: DaqConfig, name: str) -> float:
    """The mean squared output error of the file in which this layer alone is quantized."""
    only = quantize(ir.from_proto(proto), replace(config, include=f"^{name}$"))
    return float(np.square(run(only.to_bytes(), IMAGE).astype(np.float64) - run(proto, IMAGE)).mean())


@pytest.mark.parametrize("build", [edsr, rcan])
def test_a_layers_error_is_that_of_the_file_in_which_it_alone_is_quantized(build):
    proto = build()
    found = diagnosed(proto, NEAREST)
    assert len(found) == len(convolutions(ir.from_proto(proto).graph))
    for layer in found:
        assert layer.output_error == pytest.approx(alone(proto, NEAREST, layer.report.name), rel=0.02)
    errors = [layer.output_error for layer in found]
    assert errors == sorted(errors, reverse=True)
    assert sum(layer.share for layer in found) == pytest.approx(1)
    assert found[0].output_psnr == pytest.approx(10 * math.log10(255**2 / errors[0]))


def test_errors_are_fed_back_as_in_the_file():
    proto, config = wide(), replace(NEAREST, edges=("head", "tail"))
    found = diagnose(fed_back(proto, config), ir.from_proto(proto), IMAGE, EXECUTE)
    without = {layer.report.name: layer.output_error for layer in diagnosed(proto, config)}
    for layer in found:
        only = run(ir.to_proto(fed_back(proto, replace(config, include=f"^{layer.report.name}$"))), IMAGE)
        error = float(np.square(only.astype(np.float64) - run(proto, IMAGE)).mean())
        assert layer.output_error == pytest.approx(error, rel=0.02)
        assert (layer.output_error != without[layer.report.name]) == layer.report.error_feedback
    assert sum(layer.report.error_feedback for layer in found) == 5


@pytest.mark.parametrize(("bad", "feeder"), [("a1", "head"), ("b1", "a1"), ("b2", "a2")])
def test_a_layer_with_outlier_weights_comes_first(bad, feeder):
    found = diagnosed(with_outliers(edsr(), bad, feeder), NEAREST)
    assert found[0].report.name == bad
    assert found[0].weight_sqnr is not None
    others = [layer for layer in found if layer.report.name != bad]
    assert found[0].share > 2 * others[0].share


def test_errors_of_earlier_layers_do_not_count():
    """The last layer's figures are the same whether the first is at eight bits or left float."""
    proto = edsr()
    everything, without_head = (
        {layer.report.name: layer for layer in diagnosed(proto, config)}
        for config in (NEAREST, replace(NEAREST, exclude="head|a1"))
    )
    assert set(everything) - set(without_head) == {"head", "a1"}
    for name, layer in without_head.items():
        assert layer.activation_sqnr == everything[name].activation_sqnr
        assert layer.output_error == everything[name].output_error


def test_what_is_left_float_has_no_ratio():
    found = {layer.report.name: layer for layer in diagnosed(rcan(), NEAREST)}
    assert found["down"].activation_sqnr is None  # reads a pooled map
    assert found["down"].weight_sqnr is not None
    assert found["b1"].activation_sqnr is not None
    assert found["b1"].to_dict()["activation_sqnr"] == found["b1"].activation_sqnr


def test_pixels_of_0_to_1_give_errors_as_of_0_to_255():
    proto = network(f"y = Conv{PAD}(x, only_weight)", only_weight=(3, 3, 3, 3))
    model = ir.from_proto(proto)
    config = replace(NEAREST, edge_bits=4, range_rule="paper")
    (large,) = diagnose(quantize(model, config).model, model, IMAGE, EXECUTE)
    (small,) = diagnose(quantize(model, config, value_range=1).model, model, IMAGE / 255, EXECUTE)
    assert small.output_error == pytest.approx(large.output_error, rel=1e-3)


def test_another_network_is_refused():
    with pytest.raises(ModelError, match="give the network that the file was made from"):
        diagnose(quantize(ir.from_proto(edsr()), NEAREST).model, ir.from_proto(rcan()), IMAGE, EXECUTE)


def test_a_file_without_metadata_is_refused():
    model = ir.from_proto(edsr())
    with pytest.raises(ModelError, match="metadata are missing"):
        diagnose(model, model, IMAGE, EXECUTE)


def test_replacing_weights_and_bias_counts_and_nothing_replaced_costs_nothing():
    graph = ir.from_proto(edsr()).graph
    sensitivity = OutputSensitivity(graph, IMAGE, EXECUTE)
    tail = convolutions(graph)[-1]
    assert sensitivity.output_error({}) == 0
    shifted = tail.inputs[2].const_value.numpy() + np.float32(2)
    assert sensitivity.output_error({tail: {2: shifted}}) == pytest.approx(4, rel=1e-4)
    a2 = next(node for node in convolutions(graph) if len(node.inputs) == 2)
    no_bias = {a2: {2: np.zeros(8, np.float32)}}  # a bias where there was none
    assert sensitivity.output_error(no_bias) == pytest.approx(0, abs=1e-6)
    assert sensitivity.output_error({tail: {1: np.zeros((3, 8, 3, 3), np.float32)}}) > 100


def test_no_error_is_an_infinite_ratio():
    assert psnr_of(0.0) == math.inf
    assert psnr_of(255.0**2) == 0


def test_calibrated_files_are_diagnosed_with_their_own_weights_and_bias():
    from daq_deploy.api import quantize as quantize_calibrated

    model = ir.from_proto(edsr())
    result: Quantized = quantize_calibrated(model, DaqConfig())
    found = diagnose(result.model, model, IMAGE, EXECUTE)
    assert len(found) == len(result.layers)
    assert all(math.isfinite(layer.output_error) and layer.output_error > 0 for layer in found)
