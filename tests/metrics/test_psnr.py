from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_deploy.metrics import psnr


def test_known_values():
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr(black, black + np.uint8(255)) == 0
    assert psnr(black, black + np.uint8(1)) == pytest.approx(48.1308036, abs=1e-7)
    one_of_four = np.array([[0, 0], [0, 10]], np.uint8)
    assert psnr(one_of_four, np.zeros((2, 2))) == pytest.approx(10 * math.log10(255**2 / 25))


def test_equal_pictures_have_no_noise():
    assert psnr(np.full((3, 3), 9), np.full((3, 3), 9)) == math.inf


@given(st.integers(0, 255), st.integers(0, 255))
def test_bytes_do_not_wrap_around(first, second):
    found, truth = np.full((2, 2), first, np.uint8), np.full((2, 2), second, np.uint8)
    assert psnr(found, truth) == psnr(truth, found)
    assert psnr(found, truth) == psnr(found.astype(float), truth.astype(float))
