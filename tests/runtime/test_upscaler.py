from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from daq_deploy.errors import ImageError
from daq_deploy.runtime import Upscaler


def colours(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)


def larger(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_arrays_are_upscaled_also_after_pickling(nearest_x2_file, as_bytes):
    source = nearest_x2_file.read_bytes() if as_bytes else nearest_x2_file
    for upscaler in (Upscaler(source, threads=1), pickle.loads(pickle.dumps(Upscaler(source, threads=1)))):
        assert upscaler.scale == 2
        np.testing.assert_array_equal(upscaler.upscale(colours(5, 7)), larger(colours(5, 7)))
        np.testing.assert_array_equal(upscaler(colours(5, 7)), larger(colours(5, 7)))


def test_pillow_images_are_upscaled(nearest_x2):
    with Upscaler(nearest_x2()) as upscaler:
        image = Image.fromarray(colours(4, 3))
        image.info["icc_profile"] = b"profile"
        result = upscaler(image)
        assert (result.mode, result.info["icc_profile"]) == ("RGB", b"profile")
        np.testing.assert_array_equal(np.array(result), larger(colours(4, 3)))
        assert upscaler(Image.fromarray(colours(4, 3, 4))).mode == "RGBA"
        grey = Image.fromarray(colours(4, 3, 1)[..., 0])
        np.testing.assert_array_equal(np.array(upscaler(grey))[..., 0], larger(np.array(grey)))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(np.zeros((4, 4, 3)), "float64"), (colours(4, 4, 4), r"\(4, 4, 4\)"), ([[1]], "list")],
)
def test_other_arrays_are_refused(nearest_x2, pixels, message):
    with pytest.raises(ImageError, match=f"the picture is .*{message}"):
        Upscaler(nearest_x2()).upscale(pixels)
