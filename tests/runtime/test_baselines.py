from __future__ import annotations

import hypothesis.extra.numpy
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.config import DaqConfig
from daq_deploy.evaluation import evaluate
from daq_deploy.image_pairs import find_image_pairs
from daq_deploy.model_file import load_float_model
from daq_deploy.numerics import ChannelStatistics, channel_range
from daq_deploy.quantization import OPSET, fold, quantize
from daq_deploy.runtime.baselines import (
    BaselineRunner,
    clipped_and_rounded,
    min_max_per_channel,
    min_max_per_tensor,
    mse_per_channel,
    percentile_per_channel,
)
from daq_deploy.runtime.images import read_picture
from daq_deploy.runtime.session import Session
from tests.networks import NETWORKS, picture, run

RULES = (min_max_per_tensor, min_max_per_channel, percentile_per_channel, mse_per_channel)
MAPS = hypothesis.extra.numpy.arrays(
    np.float32, (2, 3, 4, 5), elements=st.floats(-1000, 1000, width=32, allow_subnormal=False)
)


def squared_error(feature_map, bits, rule):
    return np.square(clipped_and_rounded(feature_map, bits, rule) - feature_map).sum(axis=(2, 3))


def heavy_tailed(shape=(2, 4, 40, 50)) -> np.ndarray:
    return np.random.default_rng(0).standard_t(3, shape).astype(np.float32) + np.float32(2)


@given(MAPS, st.sampled_from((2, 4, 8)))
@settings(max_examples=50, deadline=None)
def test_min_max_errs_by_half_a_step_at_most_and_keeps_the_extremes(feature_map, bits):
    quantized = clipped_and_rounded(feature_map, bits, min_max_per_channel)
    low, high = feature_map.min(axis=(2, 3), keepdims=True), feature_map.max(axis=(2, 3), keepdims=True)
    step = (high - low) / (2**bits - 1)
    assert (np.abs(quantized - feature_map) <= step / 2 + 1e-3).all()
    for reduce in (np.min, np.max):
        np.testing.assert_allclose(reduce(quantized, (2, 3)), reduce(feature_map, (2, 3)), atol=1e-3)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_no_more_levels_than_the_bits_allow_and_each_image_by_itself(rule, bits):
    feature_map = heavy_tailed()
    quantized = clipped_and_rounded(feature_map, bits, rule)
    for channel in quantized.reshape(8, -1):
        assert len(np.unique(channel)) <= 2**bits
    np.testing.assert_array_equal(quantized[:1], clipped_and_rounded(feature_map[:1], bits, rule))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("value", [0, 3.7, -250])
def test_a_constant_map_stays_itself(rule, value):
    feature_map = np.full((1, 2, 3, 3), value, np.float32)
    np.testing.assert_array_equal(clipped_and_rounded(feature_map, 2, rule), feature_map)


def test_one_tensor_has_one_range_and_channels_have_their_own():
    feature_map = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    low, high = min_max_per_tensor(feature_map, 8)
    assert (low.tolist(), high.tolist()) == ([[0, 0]], [[23, 23]])
    low, high = min_max_per_channel(feature_map, 8)
    assert (low.tolist(), high.tolist()) == ([[0, 12]], [[11, 23]])


def test_percentile_leaves_a_thousandth_out_on_each_side():
    feature_map = np.arange(10001, dtype=np.float32).reshape(1, 1, 73, 137)
    low, high = percentile_per_channel(feature_map, 8)
    assert (low.item(), high.item()) == (pytest.approx(10), pytest.approx(9990))


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
@pytest.mark.parametrize("rectified", [False, True])
def test_mse_errs_less_than_what_it_is_compared_with(bits, rectified):
    feature_map = np.maximum(heavy_tailed(), 0) if rectified else heavy_tailed()
    error = squared_error(feature_map, bits, mse_per_channel)
    # The search has a grid, and works on a histogram.
    assert (error < squared_error(feature_map, bits, percentile_per_channel) * 1.05).all()
    assert (error < squared_error(feature_map, bits, min_max_per_channel) * 1.001).all()
    if bits <= 4:
        assert error.sum() < 0.8 * squared_error(feature_map, bits, min_max_per_channel).sum()


def imitated_paper(feature_map, bits):
    channels = channel_range(ChannelStatistics.of(feature_map), bits, "paper", signed=bool(feature_map.min() < 0))
    return channels.lo, channels.lo + channels.step * np.float32(2**bits - 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_the_rule_of_a_daq_file_it_gives_the_picture_of_the_daq_file(name):
    model, image = ir.from_proto(NETWORKS[name]()), picture(20, 24)
    config = DaqConfig(6, 4, edges=("tail",), range_rule="paper", weight_rule="nearest", exclude="head")
    expected = run(quantize(model, config).to_bytes(), image)
    unquantized = run(ir.to_proto(model), image)
    fold(model)
    found = BaselineRunner(model, config, imitated_paper, threads=1).run(image)
    # Codes at a boundary may fall either way; that is a small part of what quantization does to the picture.
    assert np.square(found - expected).mean() < 0.02 * np.square(unquantized - expected).mean()


def test_without_a_layer_to_quantize_it_is_the_float_network_and_the_model_stays():
    proto, image = NETWORKS["rcan"](), picture(12, 10)
    model = ir.from_proto(proto)
    model.metadata_props["daq.value_range"] = "1.0"
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    runner = BaselineRunner(model, DaqConfig(include="nothing"), min_max_per_tensor, threads=1)
    np.testing.assert_allclose(runner.run(image), run(proto, image), rtol=1e-4, atol=1e-3)
    assert runner.value_range == 1.0
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_real_network_loses_next_to_nothing_at_8_bits(shared_data):
    model = load_float_model(shared_data / "onnx/edsr_f64b5_x2.onnx", OPSET)
    fold(model)
    pairs = find_image_pairs(shared_data / "images/Set5", 2, lambda path: read_picture(path).rgb)
    butterfly = type(pairs)(pairs.folder, 2, pairs.high_paths[2:3], pairs.low_folder, pairs.read)
    config = DaqConfig(8, 8, edges=("head", "tail"), weight_rule="nearest")
    found = evaluate(BaselineRunner(model, config, min_max_per_channel, threads=1), butterfly, "min-max").mean
    unquantized = evaluate(Session(ir.to_proto(model), threads=1), butterfly, "float").mean
    assert 0 < unquantized.psnr_y - found.psnr_y < 0.1
