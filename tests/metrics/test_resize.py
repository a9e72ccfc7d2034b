from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from daq_deploy.metrics import crop_to_multiple, resize_bicubic

pictures = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.uint8, shape)
)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("data_set", ["Set5", "Set14"])
def test_published_low_resolution_images_are_reproduced_bit_for_bit(shared_data, data_set, scale):
    folder = shared_data / "images" / data_set
    paths = sorted((folder / "HR").glob("*.png"))
    assert len(paths) == int(data_set.removeprefix("Set"))
    for path in paths:
        found = resize_bicubic(crop_to_multiple(read(path), scale), 1 / scale)
        np.testing.assert_array_equal(found, read(folder / f"LRx{scale}" / f"{path.stem}x{scale}.png"), path.name)


@given(pictures)
def test_factor_one_changes_nothing(picture):
    np.testing.assert_array_equal(resize_bicubic(picture, 1), picture)


@given(st.integers(0, 255), st.sampled_from([0.25, 1 / 3, 0.5, 2, 3, 4]), st.integers(4, 30), st.integers(4, 30))
def test_a_flat_picture_stays_flat(value, factor, height, width):
    found = resize_bicubic(np.full((height, width, 3), value, np.uint8), factor)
    assert found.shape == (np.ceil(height * factor), np.ceil(width * factor), 3)
    assert (found == value).all()


@given(pictures, st.sampled_from([0.5, 2, 3]))
def test_mirroring_commutes_with_resizing(picture, factor):
    # Only whole output sizes are centred on the picture.
    picture = crop_to_multiple(np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1), 2)
    found = resize_bicubic(picture[::-1, ::-1], factor)
    # Sums run in the other order: a value on a half may round the other way, in the first pass and in the second.
    assert np.abs(found[::-1, ::-1].astype(int) - resize_bicubic(picture, factor)).max() <= 2


def test_upscaling_follows_keys_kernel():
    """Twice as large: taps at 0.25, 0.75, 1.25 and 1.75 pixels weigh 111, 29, -9 and -3 of 128 (Keys 1981, a = -0.5)."""
    step = np.array([0, 0, 0, 200, 200, 200], np.uint8).reshape(1, 6, 1)
    found = resize_bicubic(np.repeat(step, 4, axis=0), 2)[0, :, 0]
    parts_of_128 = np.array([0, 0, 0, -3, -9, 29 - 3, 111 - 9, 128 + 9, 128 + 3, 128, 128, 128])
    np.testing.assert_array_equal(found, np.floor(np.clip(200 / 128 * parts_of_128, 0, 255) + 0.5))


@given(pictures, st.integers(1, 5))
def test_crop_keeps_the_top_left_and_divides(picture, multiple):
    cropped = crop_to_multiple(picture, multiple)
    assert all(size % multiple == 0 for size in cropped.shape[:2])
    assert all(0 <= old - new < multiple for old, new in zip(picture.shape, cropped.shape, strict=True))
    np.testing.assert_array_equal(cropped, picture[: cropped.shape[0], : cropped.shape[1]])
