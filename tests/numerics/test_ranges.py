from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daq_deploy.numerics import ChannelStatistics, channel_range
from daq_deploy.numerics.ranges import quantize_spreads


@given(
    arrays(np.float32, (2, 3, 7, 5), elements=st.floats(-100, 100, width=32)),
    st.integers(1, 6),
)
def test_statistics_of_tiles_add_up_to_those_of_the_picture(feature_map, cut):
    whole = ChannelStatistics.of(feature_map)
    tiles = [ChannelStatistics.of(feature_map[:, :, :cut]), ChannelStatistics.of(feature_map[:, :, cut:])]
    assert sum(tile.count for tile in tiles) == whole.count
    np.testing.assert_array_equal(sum(tile.positives for tile in tiles), whole.positives)
    np.testing.assert_allclose(sum(tile.total for tile in tiles), whole.total, atol=1e-9)
    np.testing.assert_allclose(sum(tile.total_squares for tile in tiles), whole.total_squares, atol=1e-9)
    np.testing.assert_array_equal(np.minimum(tiles[0].minimum, tiles[1].minimum), whole.minimum)
    np.testing.assert_array_equal(np.maximum(tiles[0].maximum, tiles[1].maximum), whole.maximum)


def test_the_spread_is_the_population_deviation_of_all_or_of_the_positive_values():
    values = np.array([0, 0, 1, 2, 6, 0], np.float32).reshape(1, 1, 2, 3)
    statistics = ChannelStatistics.of(values)
    assert statistics.mean.item() == 1.5
    assert statistics.spread(signed=True).item() == pytest.approx(np.std([0, 0, 1, 2, 6, 0]))
    assert statistics.spread(signed=False).item() == pytest.approx(np.std([1, 2, 6]))


@given(arrays(np.float64, (2, 6), elements=st.floats(0, 1e6)), st.sampled_from([4, 8]))
def test_quantized_spreads_never_vanish_where_the_spread_did_not(spread, bits):
    quantized = quantize_spreads(spread, bits)
    assert (quantized[spread > 0] > 0).all()
    assert (quantized >= 0).all()
    assert np.isfinite(quantized).all()


def test_equal_spreads_stay_what_they_are():
    np.testing.assert_allclose(quantize_spreads(np.full((1, 5), 3.0), 4), 3.0, rtol=1e-6)


def test_quantized_spreads_take_at_most_as_many_values_as_there_are_levels():
    spread = np.random.default_rng(0).uniform(5, 10, (1, 500))
    assert len(np.unique(quantize_spreads(spread, 4))) <= 16


def test_range_bits_change_steps_by_at_most_half_a_level_of_spreads():
    feature_map = np.random.default_rng(1).normal(0, 1, (1, 64, 16, 16)).astype(np.float32)
    statistics = ChannelStatistics.of(feature_map)
    plain, quantized = (channel_range(statistics, 4, "paper", True, bits).step for bits in (None, 8))
    assert not np.array_equal(plain, quantized)
    np.testing.assert_allclose(quantized, plain, rtol=0.05)
