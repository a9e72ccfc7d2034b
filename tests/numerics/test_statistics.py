from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daq_deploy.numerics import ChannelStatistics


@given(st.integers(1, 11), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_statistics_of_parts_add_up(cut, width, seed):
    values = np.random.default_rng(seed).normal(3, 2, (2, 3, 12, width)).astype(np.float32)
    whole = ChannelStatistics.of(values)
    added = ChannelStatistics.of(values[:, :, :cut]) + ChannelStatistics.of(values[:, :, cut:])
    assert added.count == whole.count
    for name in ("positives", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(added, name), getattr(whole, name))
    np.testing.assert_allclose(added.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(added.spread(signed=True), whole.spread(signed=True), rtol=1e-9, atol=1e-12)


def test_extremes_reach_and_moments_stay():
    narrow, wide = (ChannelStatistics.of(np.full((1, 1, 2, 2), value, np.float32) * [[1, -1]]) for value in (1, 5))
    reached = narrow.reaching(wide)
    assert (reached.minimum.item(), reached.maximum.item()) == (-5, 5)
    assert reached.spread(signed=True) == narrow.spread(signed=True)
