from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_deploy.numerics import ChannelStatistics, channel_range, dequantize, fake_quantize, quantize
from daq_deploy.numerics.companding import (
    EVEN,
    LARGEST_POSITION,
    MOST_BITS,
    companded_range,
    highest_position,
    nearest_level,
    position_of,
)

BITS = range(2, MOST_BITS + 1)
distances = st.just(0.0) | st.floats(1e-6, 1e6)


def levels_of(bits: int, below: int) -> np.ndarray:
    """Positions of all levels from the origin, with so many below it."""
    return position_of(np.arange(2.0**bits) - below)


def test_steps_grow_by_one_unit_on_both_sides():
    assert levels_of(4, 7).tolist() == [-42, -33, -25, -18, -12, -7, -3, 0, 3, 7, 12, 18, 25, 33, 42, 52]


@given(st.floats(-140, 140, width=32))
def test_the_nearest_level_is_nearest(distance):
    levels = levels_of(5, 16)
    found = position_of(nearest_level(np.float64([distance])))[0]
    assert np.abs(found - distance) <= np.abs(levels - distance).min() + 1e-12


@pytest.mark.parametrize("bits", BITS)
@given(below=distances, above=distances)
def test_the_range_is_the_finest_that_reaches_both_sides_in_seven_bits(bits, below, above):
    (unit,), (origin,) = (values[0] for values in companded_range(np.array([[below]]), np.array([[above]]), bits))
    possible = [levels for number in range(2**bits) if np.ptp(levels := levels_of(bits, number)) <= LARGEST_POSITION]
    assert origin in [-levels[0] for levels in possible]

    def needed(levels: np.ndarray) -> float:
        sides = ((below, -levels[0]), (above, levels[-1]))
        return max(np.inf if reach == 0 and side > 0 else side / max(reach, 1) for side, reach in sides)

    assert unit == pytest.approx(min(map(needed, possible)), rel=2e-4)
    assert highest_position(bits, np.float32([[origin]]))[0, 0] <= LARGEST_POSITION


@given(
    seed=st.integers(0, 999),
    bits=st.sampled_from(BITS),
    signed=st.booleans(),
    tail=st.floats(0, 1),
    exponent=st.floats(-6, 6),
)
def test_values_go_to_the_nearest_of_the_levels_there_are(seed, bits, signed, tail, exponent):
    feature_map = np.random.default_rng(seed).laplace(0.2, 10**exponent, (2, 3, 6, 7)).astype(np.float32)
    feature_map = feature_map if signed else np.maximum(feature_map, 0)
    channels = channel_range(ChannelStatistics.of(feature_map), bits, "deploy", signed, None, tail, companded=True)
    assert channels.origin is not None
    codes = quantize(feature_map, channels, bits)
    found = dequantize(codes, channels).astype(np.float64)
    for image, channel in np.ndindex(codes.shape[:2]):
        below = int(nearest_level(channels.origin[image, channel : channel + 1])[0])
        positions = levels_of(bits, below) + channels.origin[image, channel]
        assert np.isin(codes[image, channel], positions).all()
        lo, step = float(channels.lo[image, channel]), float(channels.step[image, channel])
        least = np.abs(feature_map[image, channel, ..., None] - (lo + step * positions)).min(axis=-1)
        error = np.abs(found[image, channel] - feature_map[image, channel])
        assert (error <= least + 1e-4 * step + 1e-5 * abs(lo)).all()
    if signed:
        return
    zero = channels.lo + channels.origin * channels.step
    assert np.abs(zero).max() <= 1e-6 * channels.step.max() * LARGEST_POSITION


def test_they_lose_less_than_even_levels_where_values_crowd():
    feature_map = np.random.default_rng(0).laplace(0, 1, (1, 4, 100, 100)).astype(np.float32)

    def error(companded: bool) -> float:
        return min(
            float(np.square(fake_quantize(feature_map, 4, "deploy", True, None, tail, companded) - feature_map).mean())
            for tail in np.linspace(0, 1, 11)
        )

    assert error(companded=True) < 0.75 * error(companded=False)


def test_channels_of_more_bits_keep_even_levels():
    feature_map = np.random.default_rng(0).normal(0, 1, (1, 3, 20, 20)).astype(np.float32)
    bits, tail = np.array([3, 5, 8]), np.array([0.5, 0.5, 0.5])
    statistics = ChannelStatistics.of(feature_map)
    even = channel_range(statistics, bits, "deploy", True, None, tail)
    mixed = channel_range(statistics, bits, "deploy", True, None, tail, companded=True)
    assert mixed.origin is not None
    assert mixed.origin[0, 0] >= 0
    assert (mixed.origin[0, 1:] == EVEN).all()
    codes = quantize(feature_map, mixed, bits)
    np.testing.assert_array_equal(codes[:, 1:], quantize(feature_map, even, bits)[:, 1:])


@pytest.mark.parametrize("value", [0.0, 3.25, -7.5])
def test_a_constant_channel_comes_back(value):
    feature_map = np.full((1, 2, 5, 4), value, np.float32)
    levels = fake_quantize(feature_map, 4, "deploy", True, None, 0.7, companded=True)
    np.testing.assert_allclose(levels, feature_map, rtol=1e-6)
