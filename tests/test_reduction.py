"""The layers that are named are those that break the gate, and leaving them float meets it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import edsr, picture, run, with_outliers

from daq_deploy.api import quantize as quantize_calibrated
from daq_deploy.config import DaqConfig
from daq_deploy.errors import CheckFailed
from daq_deploy.metrics import psnr
from daq_deploy.quantization import OPSET, Quantized, quantize
from daq_deploy.reduction import Gate, Reduction, _fewest, psnr_gate, reduce_network
from daq_deploy.runtime.executor import OrtExecutor
from daq_deploy.runtime.session import Session

NEAREST = DaqConfig(weight_bits=4, activation_bits=8, weight_rule="nearest", range_rule="paper")
IMAGE = picture(20, 24)


def session(quantized: Quantized) -> Session:
    return Session(quantized.to_bytes(), threads=1)


def distance(proto: onnx.ModelProto, config: DaqConfig) -> float:
    """PSNR between float and quantized output, in ONNX Runtime as it comes."""
    return psnr(run(quantize(ir.from_proto(proto), config).to_bytes(), IMAGE), run(proto, IMAGE))


def reduced(proto: onnx.ModelProto, config: DaqConfig, limit: float) -> Reduction:
    model = ir.from_proto(proto)
    gate = psnr_gate(Session(proto, threads=1), session, IMAGE, limit)

    def quantizer(config, progress):
        return quantize_calibrated(model, config, progress=progress)

    return reduce_network(model, config, gate, quantizer, IMAGE, OrtExecutor(OPSET, threads=1))


@pytest.mark.parametrize(("bad", "feeder"), [("a1", "head"), ("b2", "a2")])
def test_the_one_bad_layer_is_named_and_leaving_it_float_meets_the_gate(bad, feeder):
    proto = with_outliers(edsr(), bad, feeder)
    everything, without = distance(proto, NEAREST), distance(proto, replace(NEAREST, exclude=f"^{bad}$"))
    assert without > everything + 2
    limit = (everything + without) / 2
    found = reduced(proto, NEAREST, limit)
    assert [layer.name for layer in found.layers] == [bad]
    assert found.exclude == f"^({bad})$"
    assert found.figure == pytest.approx(without, abs=0.5)
    assert found.figure >= limit
    assert found.layers[0].more_bytes == 4 * 8 * 8 * 9 - (8 * 8 * 9 // 2 + 4 * 8)
    assert found.trials[0].left_float == 0
    assert not found.trials[0].met


def test_where_everything_meets_the_gate_nothing_is_left_float():
    proto = edsr()
    found = reduced(proto, replace(NEAREST, exclude="tail"), distance(proto, NEAREST) - 3)
    assert found.layers == ()
    assert found.exclude == "tail"
    assert len(found.trials) == 1


def test_more_layers_are_left_float_for_a_higher_gate_and_one_fewer_does_not_do():
    proto = edsr()
    limit = distance(proto, NEAREST) + 4
    found = reduced(proto, NEAREST, limit)
    names = [layer.name for layer in found.layers]
    assert len(names) > 1
    assert distance(proto, replace(NEAREST, exclude=found.exclude)) == pytest.approx(found.figure, abs=0.5)
    one_fewer = next(trial for trial in found.trials if trial.left_float == len(names) - 1)
    assert not one_fewer.met


def test_what_was_excluded_before_stays_excluded():
    proto = with_outliers(edsr(), "b2", "a2")
    config = replace(NEAREST, exclude="^(tail|up)$")
    found = reduced(proto, config, distance(proto, config) + 1)
    left_float = {
        layer.name
        for layer in quantize(ir.from_proto(proto), replace(config, exclude=found.exclude)).layers
        if not layer.quantized
    }
    assert left_float == {"tail", "up"} | {layer.name for layer in found.layers}


@pytest.mark.parametrize("mixed", [False, True])
def test_calibrated_rules_are_searched_without_and_verified_with_calibration(mixed):
    proto = with_outliers(edsr(), "b2", "a2")
    config = DaqConfig(weight_bits=4, activation_bits=7, mixed=mixed)
    model = ir.from_proto(proto)
    truth = run(proto, IMAGE)
    everything, without = (
        psnr(session(quantize_calibrated(model, asked)).run(IMAGE), truth)  # as the gate runs it
        for asked in (config, replace(config, exclude="^b2$"))
    )
    assert without > everything + 1
    found = reduced(proto, config, (everything + without) / 2)
    assert [layer.name for layer in found.layers] == ["b2"]
    assert found.figure == pytest.approx(without, abs=0.5)
    assert {trial.weight_rule for trial in found.trials} == {"deploy", "nearest"}


def test_a_gate_that_float_alone_meets_is_an_error_that_says_how_far_it_got():
    with pytest.raises(CheckFailed, match=r"PSNR to float: 300 dB is not met with any layer quantized \(best: \d"):
        reduced(edsr(), NEAREST, 300)


def test_what_is_not_a_number_meets_no_gate():
    for is_least in (True, False):
        gate = Gate("title", lambda quantized: 0, 1, is_least)
        assert not gate.is_met(np.nan)
        assert gate.is_met(1)
        assert gate.is_met(2) is is_least


def test_names_are_matched_literally():
    from daq_deploy.reduction import _exclude

    expression = _exclude("head", ["body.0", "a+b"])
    assert expression is not None
    matches = [name for name in ("body.0", "a+b", "head", "body10", "body.0.1", "aab") if re.search(expression, name)]
    assert matches == ["body.0", "a+b", "head"]


@given(st.integers(1, 200), st.data())
def test_bisection_finds_the_smallest_count_that_does(most, data):
    answer, start = data.draw(st.integers(1, most)), data.draw(st.integers(0, most))
    tried: list[int] = []

    def meets(count: int) -> bool:
        tried.append(count)
        return count >= answer

    assert _fewest(meets, most, start) == answer
    assert all(0 < count < most for count in tried)
    assert len(tried) == len(set(tried)) <= 1 + int(np.ceil(np.log2(most)))
