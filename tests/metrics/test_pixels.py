from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daq_deploy.errors import ModelError
from daq_deploy.metrics import psnr, shave, to_network, to_uint8, y_channel

pictures = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(pictures, st.sampled_from([1.0, 255.0]))
def test_a_picture_survives_the_way_to_the_network_and_back(picture, value_range):
    planes = to_network(picture, value_range)
    assert planes.dtype == np.float32
    assert planes.shape == (1, 3, *picture.shape[:2])
    assert planes.max() <= value_range
    np.testing.assert_array_equal(to_uint8(planes, value_range), picture)


def test_output_is_clipped_and_rounded_halves_to_even():
    values = np.array([-3.0, -0.1, 0.5, 1.5, 2.5, 7.49, 254.51, 255.4, 300.0], np.float32)
    found = to_uint8(np.broadcast_to(values, (1, 3, 1, 9)), 255.0)
    np.testing.assert_array_equal(found[0, :, 0], [0, 0, 0, 2, 2, 7, 255, 255, 255])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    output = np.zeros((1, 3, 4, 4), np.float32)
    output[0, 1, 2, 3] = value
    with pytest.raises(ModelError, match="NaN or infinite"):
        to_uint8(output, 255.0)


def test_luma_of_black_white_and_the_primaries():
    picture = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966]
    np.testing.assert_allclose(y_channel(picture)[0], expected, atol=5e-4)


@given(pictures, st.integers(0, 2**32 - 1))
def test_the_two_customary_forms_of_luma_agree(picture, seed):
    other = np.random.default_rng(seed).integers(0, 256, picture.shape, np.uint8)

    def matlab_y(rgb):
        return (65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]) / 255 + 16

    np.testing.assert_allclose(y_channel(picture), matlab_y(picture.astype(float)), atol=4e-4)
    found = psnr(y_channel(picture), y_channel(other))
    if np.abs(y_channel(picture) - y_channel(other)).max() > 1:
        assert found == pytest.approx(psnr(matlab_y(picture.astype(float)), matlab_y(other.astype(float))), abs=5e-3)


def test_shave_cuts_every_side():
    picture = np.arange(7 * 8 * 3, dtype=np.uint8).reshape(7, 8, 3)
    np.testing.assert_array_equal(shave(picture, 2), picture[2:5, 2:6])
    np.testing.assert_array_equal(shave(picture, 0), picture)
