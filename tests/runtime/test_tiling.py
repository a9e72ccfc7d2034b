from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daq_deploy.runtime.range_sample import SIDE, choose_sample
from daq_deploy.runtime.tiling import cut


@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(8, 220), st.integers(0, 40), st.sampled_from([1, 2, 4, 6])
)  # fmt: skip
def test_tiles_cover_the_picture_once_with_their_overlap(height, width, side, overlap, stride):
    seen = np.zeros((height, width), int)
    sizes = set()
    for tile in cut(height, width, side, overlap, stride):
        seen[tile.inner.rows, tile.inner.columns] += 1
        outer, inner = tile.outer, tile.inner
        sizes.add((outer.height, outer.width))
        assert max(inner.height, inner.width) <= side
        assert outer.top % stride == outer.left % stride == 0
        assert 0 <= outer.top <= max(0, inner.top - overlap) or outer.top == 0
        assert min(height, inner.bottom + overlap) <= outer.bottom <= height
        assert outer.left <= max(0, inner.left - overlap)
        assert min(width, inner.right + overlap) <= outer.right <= width
    assert (seen == 1).all()
    assert len(sizes) <= (1 if stride == 1 else 4)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 100))
def test_a_sample_is_within_the_picture_and_no_part_is_in_it_twice(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    sample = choose_sample(pixels, share=0.1)
    parts = [*sample.even, *sample.extreme]
    assert sample.even
    assert len(set(parts)) == len(parts)
    for window in parts:
        assert 0 <= window.top < window.bottom <= height
        assert 0 <= window.left < window.right <= width
        assert max(window.height, window.width) <= SIDE


def test_the_brightest_and_the_sharpest_part_are_in_the_sample():
    pixels = np.full((1024, 1024, 3), 90, np.uint8)
    pixels[300, 700:720] = 250
    pixels[900:910, 200] = (0, 200, 0)
    sample = choose_sample(pixels, share=0)
    for row, column in ((300, 710), (905, 200)):
        assert any(
            part.top <= row < part.bottom and part.left <= column < part.right
            for part in (*sample.even, *sample.extreme)
        )
