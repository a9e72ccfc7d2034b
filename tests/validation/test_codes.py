from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from networks import edsr, picture

from daq_deploy.config import DaqConfig
from daq_deploy.numerics import ChannelStatistics, channel_range
from daq_deploy.passes.blocks import DaqBlock, find_blocks
from daq_deploy.quantization import quantize
from daq_deploy.runtime.library import library_path
from daq_deploy.runtime.session import Session
from daq_deploy.validation import Picture, Validation, gradients_and_edges, onnx_reference
from daq_deploy.validation.codes import count_differences, oracle
from daq_deploy.validation.fidelity import sqnr


@pytest.fixture
def daq(tmp_path):
    onnx.save(edsr(), tmp_path / "float.onnx")
    result = quantize(tmp_path / "float.onnx", DaqConfig.of_profile("paper", 4))
    result.save(tmp_path / "daq.onnx")
    return result


@pytest.fixture
def block(daq) -> DaqBlock:
    return replace(find_blocks(daq.model)[0], range_bits=None)


@pytest.fixture
def feature_map():
    return np.random.default_rng(0).normal(0, 1, (1, 8, 20, 20)).astype(np.float32)


def steps(feature_map, block):
    return channel_range(ChannelStatistics.of(feature_map), block.bits, block.rule, block.signed, None)


def test_equal_codes_do_not_differ(block, feature_map):
    codes = oracle(feature_map, block)
    assert count_differences(block, feature_map, codes, steps(feature_map, block).step, codes) == (0, 0)


def test_a_code_that_differs_away_from_a_boundary_is_wrong(block, feature_map):
    codes = oracle(feature_map, block)
    changed = codes.copy()
    changed[0, 0, 0, 0] ^= 1
    assert count_differences(block, feature_map, changed, steps(feature_map, block).step, codes) == (0, 1)


def on_a_boundary(block, feature_map, away=0.0):
    """Move the middle of a channel's values to a boundary between two codes, `away` steps from it."""
    feature_map = feature_map.copy()
    for _ in range(200):  # moving one value moves the range a little
        channels = steps(feature_map, block)
        feature_map[0, 0, 3, 3] = channels.lo[0, 0] + (5.5 + away) * channels.step[0, 0]
    return feature_map


def test_a_code_at_a_boundary_may_be_that_on_either_side_and_no_other(block, feature_map):
    feature_map = on_a_boundary(block, feature_map)
    codes = oracle(feature_map, block)
    for code, expected in ((5, 0), (6, 0), (4, 1), (7, 1)):
        changed = codes.copy()
        changed[0, 0, 3, 3] = code
        ties, wrong = count_differences(block, feature_map, changed, steps(feature_map, block).step, codes)
        assert wrong == expected
        assert ties + wrong == (code != codes[0, 0, 3, 3])


def test_near_a_boundary_ends_at_a_ten_thousandth_of_a_step(block, feature_map):
    feature_map = on_a_boundary(block, feature_map, away=0.001)
    codes = oracle(feature_map, block)
    changed = codes.copy()
    changed[0, 0, 3, 3] = 5
    assert codes[0, 0, 3, 3] == 6
    assert count_differences(block, feature_map, changed, steps(feature_map, block).step, codes)[1] == 1


def test_one_channel_may_get_another_step_with_quantized_spreads_and_two_may_not(block, feature_map):
    block = replace(block, range_bits=4)
    codes = oracle(feature_map, block)
    statistics = ChannelStatistics.of(feature_map)
    step = channel_range(statistics, block.bits, block.rule, block.signed, 4).step.copy()
    changed = codes.copy()
    for channel, allowed in ((0, True), (1, False)):
        step[0, channel] *= 1.1
        changed[0, channel, 0, :5] ^= 1
        _, wrong = count_differences(block, feature_map, changed, step, codes)
        assert (wrong == 0) is allowed


@pytest.mark.parametrize(("noise", "decibels"), [(0.0, math.inf), (0.1, 20.0), (1.0, 0.0), (10.0, -20.0)])
def test_sqnr_is_the_ratio_of_powers(noise, decibels):
    signal = np.array([3.0, -4.0], np.float32)
    assert sqnr(signal, signal * np.float32(1 + noise)) == pytest.approx(decibels, abs=1e-4)


def test_the_synthetic_picture_has_edges_gradients_and_no_noise():
    image = gradients_and_edges(64, 48, 255.0)
    assert image.shape == (1, 3, 64, 48)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 255
    np.testing.assert_array_equal(image, gradients_and_edges(64, 48, 255.0))
    steps = np.abs(np.diff(image, axis=3))
    assert steps.max() > 50
    assert np.median(steps) < 10
    np.testing.assert_allclose(gradients_and_edges(64, 48, 1.0), image / 255, atol=1e-6)


def test_levels_are_run_and_a_second_provider_is_compared(daq, tmp_path):
    def open_session(model, *, provider, optimization="all", extra_outputs=(), native=False):
        return Session(model, "cpu", 1, optimization=optimization, extra_outputs=extra_outputs, native=native)

    validation = Validation(
        tmp_path / "daq.onnx", onnx_reference(tmp_path / "float.onnx"), Picture(picture(24, 20), "waves"), open_session
    )
    seen = []
    report = validation.run("cpu", "another", progress=seen.append)
    outcomes = {level.number: level.outcome for level in report.levels}
    assert outcomes == {
        1: "passed", 2: "skipped", 3: "passed", 4: "skipped" if library_path() is None else "passed", 5: "passed",
        6: "passed",
    }  # fmt: skip
    assert "another" in next(level.title for level in report.levels if level.number == 5)
    assert len(seen) == 6
    assert [item.wrong for item in report.codes] == [0] * len(report.codes)
    assert {layer.name for layer in report.layers if layer.activation_sqnr is None} == {"head", "close", "up", "tail"}
    assert math.isfinite(report.output_psnr)


def test_a_runtime_that_computes_something_else_fails_its_levels(daq, tmp_path):
    class Wrong(Session):
        def run(self, image):
            return super().run(image) + (np.random.default_rng(0).normal(0, 1e5, 1) if self.wrong else 0)

        def run_outputs(self, image, names):
            outputs = super().run_outputs(image, names)
            return {
                name: value ^ 1 if self.wrong and value.dtype == np.uint8 else value for name, value in outputs.items()
            }

    def open_session(model, *, provider, optimization="all", extra_outputs=(), native=False):
        session = Wrong(model, "cpu", 1, optimization=optimization, extra_outputs=extra_outputs, native=native)
        session.wrong = provider == "broken" or optimization == "basic" or native
        return session

    validation = Validation(
        tmp_path / "daq.onnx", onnx_reference(tmp_path / "float.onnx"), Picture(picture(24, 20), "waves"), open_session
    )
    report = validation.run("cpu", "broken")
    assert [level.number for level in report.failures] == ([3, 5] if library_path() is None else [3, 4, 5])
