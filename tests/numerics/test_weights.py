from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.numerics import UNIT_STEP, quantize_weights

RULES = ("paper", "nearest")


def random_weights(seed: int, scale: float = 0.05) -> np.ndarray:
    return (np.random.default_rng(seed).standard_t(5, (6, 4, 3, 3)) * scale).astype(np.float32)


@given(seed=st.integers(0, 999), bits=st.integers(2, 8), rule=st.sampled_from(RULES), exponent=st.floats(-6, 6))
@settings(deadline=None)
def test_weights_become_at_most_two_to_the_bits_levels_a_channel(seed, bits, rule, exponent):
    weights = random_weights(seed, 10**exponent)
    quantized = quantize_weights(weights, bits, rule)
    assert quantized.codes.dtype == np.int8
    assert quantized.codes.shape == weights.shape
    assert quantized.step.shape == (6,)
    assert (quantized.step > 0).all()
    assert quantized.codes.min() >= -(2 ** (bits - 1))
    assert quantized.codes.max() <= 2 ** (bits - 1) - 1
    levels = quantized.dequantize()
    assert levels.dtype == np.float32
    for channel in levels:
        assert len(np.unique(channel)) <= 2**bits


def test_the_paper_rule_has_one_step_and_no_level_at_zero():
    weights = random_weights(3)
    quantized = quantize_weights(weights, 4, "paper")
    assert len(set(quantized.step.tolist())) == 1
    assert quantized.step[0] == pytest.approx(UNIT_STEP[4] * weights.std(), rel=1e-5)
    assert quantized.mid_rise
    levels = quantized.dequantize()
    np.testing.assert_allclose(np.abs(levels) / quantized.step[0] % 1, 0.5, atol=1e-5)
    inside = np.abs(weights) < 8 * quantized.step[0]
    assert (np.abs(levels - weights) <= quantized.step[0] * 0.50001)[inside].all()


@given(seed=st.integers(0, 99), bits=st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_the_nearest_rule_is_nearer_than_min_max_rounding(seed, bits):
    weights = random_weights(seed)
    error = np.square(quantize_weights(weights, bits, "nearest").dequantize() - weights).sum()
    step = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / (2 ** (bits - 1) - 0.5)
    nearest = np.clip(np.rint(weights / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step
    assert error <= np.square(nearest - weights).sum() * (1 + 1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zero_and_constant_channels_give_finite_weights(rule, bits):
    weights = np.zeros((3, 2, 3, 3), np.float32)
    weights[1] = 0.25
    levels = quantize_weights(weights, bits, rule).dequantize()
    assert np.isfinite(levels).all()
    if rule == "nearest":
        np.testing.assert_allclose(levels[0], 0, atol=1e-14)
        assert levels[1].max() == pytest.approx(0.25, rel=0.5 ** (bits - 1))


@pytest.mark.parametrize("rule", RULES)
def test_a_layer_of_zeros_stays_zero_up_to_the_tiny_step(rule):
    np.testing.assert_allclose(
        quantize_weights(np.zeros((2, 1, 1, 1), np.float32), 4, rule).dequantize(), 0, atol=1e-14
    )


@pytest.mark.parametrize("rule", RULES)
def test_more_bits_are_nearer(rule):
    weights = random_weights(7)
    errors = [np.square(quantize_weights(weights, bits, rule).dequantize() - weights).sum() for bits in range(2, 9)]
    if rule == "nearest":
        assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 20
