from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from daq_deploy.html_report.pictures import encode_versions, thumbnail


def decode(uri: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_pixels_survive():
    pictures = [noise(20, 30, seed) for seed in range(3)]
    window, encoded = encode_versions(pictures, np.ones((20, 30)), 10**6)
    assert (window.left, window.top, window.width, window.height) == (0, 0, 30, 20)
    for picture, uri in zip(pictures, encoded, strict=True):
        np.testing.assert_array_equal(decode(uri), picture)


def test_the_part_with_the_most_error_is_shown():
    error = np.zeros((200, 300))
    error[150:160, 20:30] = 1
    picture = noise(200, 300, 0)
    window, (uri,) = encode_versions([picture], error, 60_000)
    assert window.left <= 20
    assert window.left + window.width >= 30
    assert window.top <= 150
    assert window.top + window.height >= 160
    np.testing.assert_array_equal(decode(uri), window.cut(picture))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 4), st.integers(2_000, 40_000))
def test_what_is_shown_fits(height, width, versions, budget):
    pictures = [noise(height, width, seed) for seed in range(versions)]
    window, encoded = encode_versions(pictures, np.ones((height, width)), budget)
    assert sum(map(len, encoded)) <= budget
    assert 1 <= window.width <= width
    assert 1 <= window.height <= height
    assert window.left + window.width <= width
    assert window.top + window.height <= height


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (4000, 3)])
def test_thumbnails_of_extreme_pictures(shape):
    assert max(decode(thumbnail(noise(*shape, 0))).shape) <= 180
