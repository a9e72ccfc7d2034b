from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.numerics import quantize_weights
from daq_deploy.numerics.rounding import round_with_compensation


def layer(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (6, 4 * 3 * 3) and the second moment of strongly correlated inputs."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(500, 8)) @ generator.normal(size=(8, 36)) + 0.2 * generator.normal(size=(500, 36))
    return generator.standard_t(5, (6, 36)) * 0.05, inputs.T @ inputs / len(inputs)


def output_error(levels: np.ndarray, weights: np.ndarray, moment: np.ndarray) -> float:
    difference = levels.reshape(weights.shape) - weights
    return float(np.einsum("ok,kl,ol->", difference, moment, difference))


@given(seed=st.integers(0, 999), bits=st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_compensated_rounding_errs_less_at_the_output_than_rounding_to_the_nearest(seed, bits):
    weights, moment = layer(seed)
    compensated = round_with_compensation(weights, moment, bits, (6, 4, 3, 3))
    nearest = quantize_weights(weights.reshape(6, 4, 3, 3).astype(np.float32), bits, "nearest")
    error = output_error(compensated.dequantize(), weights, moment)
    assert error < 0.8 * output_error(nearest.dequantize(), weights, moment)


@given(seed=st.integers(0, 999), bits=st.integers(2, 8))
@settings(max_examples=20, deadline=None)
def test_codes_stay_in_their_range(seed, bits):
    weights, moment = layer(seed)
    codes = round_with_compensation(weights, moment, bits, (6, 4, 3, 3)).codes
    assert codes.min() >= -(2 ** (bits - 1))
    assert codes.max() <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize("moment", [np.eye(36), np.zeros((36, 36))], ids=["white", "nothing is read"])
def test_without_correlation_each_weight_goes_to_a_nearest_level(moment):
    weights, _ = layer(1)
    quantized = round_with_compensation(weights, moment, 4, (6, 4, 3, 3))
    levels = quantized.dequantize().reshape(weights.shape)
    inside = np.abs(weights) < 7 * quantized.step[:, None]
    assert (np.abs(levels - weights) <= 0.5001 * quantized.step[:, None])[inside].all()
