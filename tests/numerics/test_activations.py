from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.numerics import (
    TINY,
    UNIT_STEP,
    ChannelStatistics,
    channel_range,
    dequantize,
    fake_quantize,
    quantize,
)

RULES = ("paper", "reference", "deploy")
bits_of_code = st.integers(2, 8)
rules = st.sampled_from(RULES)
range_bits_or_none = st.sampled_from([None, 4, 8])
small_shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))


def random_map(shape: tuple[int, ...], seed: int, scale: float, signed: bool) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0.3, 1, shape).astype(np.float32) * np.float32(scale)
    return values if signed else np.maximum(values, 0)


@given(
    shape=small_shapes,
    seed=st.integers(0, 999),
    exponent=st.floats(-12, 12),
    bits=bits_of_code,
    rule=rules,
    signed=st.booleans(),
    range_bits=range_bits_or_none,
)
@settings(max_examples=300, deadline=None)
def test_codes_lie_in_range_and_values_come_back_within_half_a_step(
    shape, seed, exponent, bits, rule, signed, range_bits
):
    feature_map = random_map(shape, seed, 10**exponent, signed)
    channels = channel_range(ChannelStatistics.of(feature_map), bits, rule, signed, range_bits)
    assert (channels.step > 0).all()
    assert np.isfinite(channels.lo).all()
    assert channels.lo.dtype == channels.step.dtype == np.float32
    if not signed:
        assert (channels.lo == 0).all()
    codes = quantize(feature_map, channels, bits)
    assert codes.dtype == np.uint8
    assert codes.max(initial=0) <= 2**bits - 1
    levels = dequantize(codes, channels)
    lo = channels.lo[:, :, None, None].astype(np.float64)
    step = channels.step[:, :, None, None].astype(np.float64)
    highest = lo + (2**bits - 1) * step
    inside = (feature_map >= lo) & (feature_map <= highest)
    rounding = 4 * np.finfo(np.float32).eps * (np.abs(lo) + np.abs(feature_map) + 2**bits * step)
    assert (np.abs(levels - feature_map.astype(np.float64)) <= step / 2 + rounding)[inside].all()
    above = np.broadcast_to(feature_map > highest, codes.shape)
    assert (codes[above] == 2**bits - 1).all()
    assert (codes[np.broadcast_to(feature_map < lo, codes.shape)] == 0).all()


@given(value=st.floats(-1e6, 1e6, width=32), bits=bits_of_code, rule=rules, side=st.integers(1, 9))
def test_a_constant_signed_channel_comes_back_unchanged(value, bits, rule, side):
    feature_map = np.full((1, 2, side, side), value, np.float32)
    levels = fake_quantize(feature_map, bits, rule, signed=True)
    np.testing.assert_allclose(levels, feature_map, rtol=2e-6, atol=1e-13)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("range_bits", [None, 4, 8])
@pytest.mark.parametrize("signed", [True, False])
def test_zeros_stay_zeros(rule, range_bits, signed):
    levels = fake_quantize(np.zeros((1, 3, 4, 5), np.float32), 4, rule, signed, range_bits)
    np.testing.assert_allclose(levels, 0, atol=10 * TINY)


@pytest.mark.parametrize("rule", RULES)
def test_a_constant_non_negative_channel_gives_a_finite_level_that_is_not_above_it(rule):
    levels = fake_quantize(np.full((1, 1, 3, 3), 7, np.float32), 4, rule, signed=False)
    assert np.isfinite(levels).all()
    assert (levels >= 0).all()
    assert (levels <= 7.01).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("range_bits", [None, 4])
def test_one_pixel_is_quantized_without_nan(rule, range_bits):
    feature_map = np.array([-3.0, 0.5, 200.0], np.float32).reshape(1, 3, 1, 1)
    levels = fake_quantize(feature_map, 8, rule, True, range_bits)
    assert np.isfinite(levels).all()
    if range_bits is None:
        np.testing.assert_allclose(levels, feature_map, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_huge_values_do_not_overflow(rule):
    feature_map = np.array([[-1e20, 0, 1e20, 5e19]], np.float32).reshape(1, 1, 2, 2)
    levels = fake_quantize(feature_map, 8, rule, signed=True)
    assert np.isfinite(levels).all()


@given(seed=st.integers(0, 999), bits=bits_of_code, rule=rules, signed=st.booleans())
@settings(deadline=None)
def test_larger_values_never_get_smaller_codes(seed, bits, rule, signed):
    feature_map = random_map((1, 1, 6, 6), seed, 3, signed)
    channels = channel_range(ChannelStatistics.of(feature_map), bits, rule, signed)
    codes = quantize(feature_map, channels, bits).ravel()[np.argsort(feature_map.ravel(), kind="stable")]
    assert (np.diff(codes.astype(int)) >= 0).all()


@given(
    images=st.integers(2, 4), seed=st.integers(0, 99), bits=bits_of_code, rule=rules, signed=st.booleans(),
    range_bits=range_bits_or_none,
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_a_batch_is_quantized_image_by_image(images, seed, bits, rule, signed, range_bits):
    batch = random_map((images, 3, 5, 4), seed, 2, signed)
    together = fake_quantize(batch, bits, rule, signed, range_bits)
    alone = [fake_quantize(batch[index : index + 1], bits, rule, signed, range_bits) for index in range(images)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_bits_may_differ_by_channel():
    feature_map = random_map((1, 2, 8, 8), 1, 1, signed=True)
    channels = channel_range(ChannelStatistics.of(feature_map), 2, "paper", True)
    codes = quantize(feature_map, channels, np.array([2, 8]))
    np.testing.assert_array_equal(codes[:, :1], quantize(feature_map, channels, 2)[:, :1])
    np.testing.assert_array_equal(codes[:, 1:], quantize(feature_map, channels, 8)[:, 1:])
    assert codes[:, 1:].max() > 3


def test_ties_round_to_the_even_code():
    channels = channel_range(ChannelStatistics.of(np.zeros((1, 1, 1, 1), np.float32)), 4, "paper", False)
    halves = type(channels)(channels.lo, np.full((1, 1), 1, np.float32))
    feature_map = np.array([0.5, 1.5, 2.5, 3.5], np.float32).reshape(1, 1, 2, 2)
    assert quantize(feature_map, halves, 4).ravel().tolist() == [0, 2, 2, 4]


# Max (1960), table II: mean squared error of the optimal uniform quantizer of a unit Gaussian.
MAX_ERROR = {2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.003495}
# Beyond 32 levels the paper ends; these are the optima for its step, by numerical integration.
MAX_ERROR_LATER = {6: 0.001041, 7: 0.000304, 8: 0.0000876}


@pytest.mark.parametrize(("bits", "published"), [*MAX_ERROR.items(), *MAX_ERROR_LATER.items()])
def test_the_paper_rule_reaches_the_published_error_on_a_gaussian(bits, published):
    samples = np.random.default_rng(0).normal(5, 1, (1, 1, 1000, 1000)).astype(np.float32)
    error = np.square(fake_quantize(samples, bits, "paper", signed=True).astype(np.float64) - samples).mean()
    assert error == pytest.approx(published, rel=0.04)


def test_the_reference_rule_takes_the_step_of_one_bit_less():
    samples = random_map((1, 1, 40, 40), 0, 1, signed=True)
    statistics = ChannelStatistics.of(samples)
    paper, reference = (channel_range(statistics, 4, rule, True).step for rule in ("paper", "reference"))
    np.testing.assert_allclose(reference / paper, UNIT_STEP[3] / UNIT_STEP[4], rtol=1e-6)


@given(seed=st.integers(0, 999), bits=bits_of_code)
@settings(deadline=None)
def test_the_deploy_rule_stays_within_the_full_range(seed, bits):
    feature_map = random_map((1, 4, 6, 6), seed, 3, signed=True)
    channels = channel_range(ChannelStatistics.of(feature_map), bits, "deploy", True)
    smallest, largest = feature_map.min(axis=(2, 3)), feature_map.max(axis=(2, 3))
    slack = 1e-5 * (largest - smallest)
    assert (channels.lo >= smallest - slack).all()
    assert (channels.lo + (2**bits - 1) * channels.step <= largest + slack).all()
