from __future__ import annotations

import numpy as np
import pytest
from feedbacks import random_feedback
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.numerics import (
    ChannelStatistics,
    ErrorFeedback,
    channel_range,
    dequantize,
    fake_quantize,
    quantize,
    with_feedback,
)
from daq_deploy.numerics.error_feedback import RUN


@settings(deadline=None)
@given(
    seed=st.integers(0, 999),
    channels=st.integers(1, 35),
    bits=st.integers(2, 8),
    companded=st.booleans(),
    images=st.sampled_from([1, 2]),
    width=st.sampled_from([1, 6, 8, 19]),
)
def test_values_are_moved_by_what_those_before_them_lost(seed, channels, bits, companded, images, width):
    generator = np.random.default_rng(seed)
    feature_map = generator.laplace(0.1, 2, (images, channels, 5, width)).astype(np.float32)
    levels = channel_range(ChannelStatistics.of(feature_map), bits, "deploy", True, None, 0.6, companded and bits <= 4)
    feedback = random_feedback(generator, channels)
    moved = with_feedback(feature_map, levels, bits, feedback)
    codes = quantize(moved, levels, bits)
    lost = dequantize(codes, levels).astype(np.float64) - moved
    before = np.roll(lost, 1, axis=3) * (np.arange(width) % RUN > 0)
    told = np.concatenate([before, lost], axis=1)
    expected = feature_map + np.einsum("oi,nihw->nohw", feedback.coefficients.astype(np.float64), told)
    assert np.abs(moved - expected).max() <= 1e-4
    # Given the codes that it led to, each channel is moved alike.
    assert np.array_equal(with_feedback(feature_map, levels, bits, feedback, codes), moved)


def test_nothing_to_make_good_leaves_the_map_as_it_is():
    feature_map = np.random.default_rng(0).normal(size=(1, 20, 4, 4)).astype(np.float32)
    nothing = ErrorFeedback((2, 0, 1), np.zeros((20, 40), np.float16))
    assert np.array_equal(
        fake_quantize(feature_map, 4, "deploy", True, tail=0.5, feedback=nothing),
        fake_quantize(feature_map, 4, "deploy", True, tail=0.5),
    )


def test_groups_are_rounded_in_their_order():
    feedback = ErrorFeedback((1, 2, 0), np.zeros((20, 40), np.float16))
    assert [group.tolist() for group in feedback.groups] == [[*range(8, 16)], [*range(16, 20)], [*range(8)]]


def test_codes_that_are_given_are_not_rounded_again():
    feature_map = np.full((1, 16, 1, 1), 0.4, np.float32)
    levels = channel_range(
        ChannelStatistics.of(np.tile(np.float32([0, 1]), (1, 16, 1, 1))), 2, "deploy", False, tail=1.0
    )
    coefficients = np.zeros((16, 32), np.float16)
    coefficients[8, 16] = -1
    codes = np.zeros((1, 16, 1, 1), np.uint8)
    moved = with_feedback(feature_map, levels, 2, ErrorFeedback((0, 1), coefficients), codes)
    assert moved[0, 8, 0, 0] == pytest.approx(0.8)
    assert np.array_equal(np.delete(moved, 8, axis=1), np.delete(feature_map, 8, axis=1))
