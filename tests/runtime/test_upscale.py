from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from PIL import Image

from daq_deploy.errors import ImageError, ModelError
from daq_deploy.metrics.resize import resize_bicubic
from daq_deploy.runtime import Picture, Upscaler, read_picture


def colours(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("value_range", ["255.0", "1.0"])
@pytest.mark.parametrize("size", [(1, 1), (7, 4)])
def test_colours_go_through_the_network_at_its_range(nearest_x2, value_range, size):
    rgb = colours(*size)
    larger = Upscaler(nearest_x2(value_range=value_range)).upscale_picture(Picture(rgb))
    np.testing.assert_array_equal(larger.rgb, rgb.repeat(2, axis=0).repeat(2, axis=1))
    assert larger.alpha is None


def test_alpha_is_resized_bicubically_and_the_rest_kept(nearest_x2):
    alpha = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    picture = Picture(colours(2, 3), alpha, notes=("converted from CMYK",), icc_profile=b"profile")
    larger = Upscaler(nearest_x2()).upscale_picture(picture)
    assert larger.alpha is not None
    np.testing.assert_array_equal(larger.alpha, resize_bicubic(alpha[..., None], 2)[..., 0])
    assert (larger.notes, larger.icc_profile) == (picture.notes, picture.icc_profile)


def test_a_network_that_gives_nan_is_refused():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]> g (float[n,3,h,w] image) => (float[n,3,h,w] larger)
        { below = Neg(image) larger = Log(below) }"""
    )
    with pytest.raises(ModelError, match=r"model in memory: .*NaN"):
        Upscaler(model).upscale(np.full((2, 2, 3), 9, np.uint8))


def test_a_network_of_one_channel_is_refused():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]> g (float[n,1,h,w] image) => (float[n,1,h,w] larger)
        { larger = Relu(image) }"""
    )
    with pytest.raises(ImageError, match="has 3 channels, the network reads 1"):
        Upscaler(model).upscale(colours(2, 2))


def test_a_real_network_beats_bicubic(shared_data):
    from daq_deploy.metrics.resize import crop_to_multiple

    small = read_picture(shared_data / "images" / "Set5" / "LRx2" / "butterflyx2.png")
    with Image.open(shared_data / "images" / "Set5" / "HR" / "butterfly.png") as image:
        original = crop_to_multiple(np.array(image.convert("RGB")), 2).astype(float)
    with Upscaler(shared_data / "onnx" / "edsr_f64b5_x2.onnx", threads=1) as upscaler:
        larger = upscaler.upscale(small.rgb)

    def error(pixels: np.ndarray) -> float:
        return float(((pixels - original) ** 2).mean())

    assert error(larger) < 0.5 * error(resize_bicubic(small.rgb, 2))
