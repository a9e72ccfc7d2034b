from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from feedbacks import fed_back
from PIL import Image

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ImageError, OptionError, OutOfMemoryError
from daq_deploy.metrics import psnr
from daq_deploy.model_file import model_bytes
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.quantization import quantize
from daq_deploy.runtime import Session, Upscaler, read_picture
from tests.networks import edsr, picture, rcan, unpadded_attention, wide


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


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 40), (40, 10)])
def test_a_picture_smaller_than_the_network_can_run_on_is_continued(native, height, width):
    network = quantize(ir.from_proto(unpadded_attention()), DaqConfig(weight_rule="nearest"))
    pixels = colours(height, width)
    continued = np.pad(pixels, ((0, max(11 - height, 0)), (0, max(11 - width, 0)), (0, 0)), mode="edge")
    with Upscaler(network.to_bytes(), native=native) as upscaler:
        expected = upscaler.upscale(continued)[: 2 * height, : 2 * width]
        np.testing.assert_array_equal(upscaler.upscale(pixels), expected)
        with pytest.raises(ImageError, match=f"has {width}x{height} pixels; the network needs 11x11 at least"):
            upscaler.session.run(picture(height, width))


@pytest.fixture(scope="module")
def daq_model() -> bytes:
    config = DaqConfig(weight_rule="nearest")
    return quantize(ir.from_proto(edsr()), config).to_bytes()


def waves(height: int, width: int) -> np.ndarray:
    return picture(height, width)[0].transpose(1, 2, 0).astype(np.uint8)


@pytest.mark.parametrize("size", [(70, 100), (33, 200), (1, 150)])
def test_tiles_give_what_the_whole_picture_gives(daq_model, size):
    whole = Upscaler(daq_model, threads=1).upscale(waves(*size))
    for tile in (32, 50):
        np.testing.assert_array_equal(Upscaler(daq_model, threads=1, tile=tile).upscale(waves(*size)), whole)


@pytest.mark.parametrize("tile", [32, 33, 50])
def test_errors_that_are_fed_back_do_not_depend_on_the_tiles(tile):
    config = replace(DaqConfig.of_profile("deploy", 4), edges=("head", "tail"), weight_rule="nearest")
    model = fed_back(wide(), config)
    feedbacks = [block.feedback for block in find_blocks(model) if block.feedback is not None]
    assert {feedback.from_left for feedback in feedbacks} == {False, True}
    source, pixels = model_bytes(model), colours(40, 150)
    whole = Upscaler(source, threads=1, tile="off").upscale(pixels)
    np.testing.assert_array_equal(Upscaler(source, threads=1, tile=tile).upscale(pixels), whole)


def test_ranges_of_their_own_would_show(daq_model):
    """The test above can fail: tiles that each take their own ranges give another picture."""
    pixels = waves(70, 100)
    pixels[:, 50:] //= 8
    whole = Upscaler(daq_model, threads=1).upscale(pixels)
    halves = [Upscaler(daq_model, threads=1).upscale(pixels[:, part]) for part in (slice(0, 70), slice(30, 100))]
    alone = np.concatenate([halves[0][:, :100], halves[1][:, 40:]], axis=1)
    assert (alone != whole).mean() > 0.05


def test_large_pictures_do_not_depend_on_the_tiles_either(daq_model, monkeypatch):
    monkeypatch.setattr("daq_deploy.runtime.tiled_network.LARGEST_MEASURED_WHOLE", 64 * 64)
    monkeypatch.setattr("daq_deploy.runtime.upscaler.LARGEST_MEASURED_WHOLE", 64 * 64)
    pixels = waves(150, 260)
    results = [Upscaler(daq_model, threads=1, tile=tile).upscale(pixels) for tile in ("off", "auto", 64, 100)]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_deep_pixels_keep_their_depth(nearest_x2):
    deep = np.random.default_rng(2).integers(0, 65536, (9, 40, 3), np.uint16)
    for tile in ("off", 32):
        np.testing.assert_array_equal(Upscaler(nearest_x2(), tile=tile).upscale(deep), larger(deep))


def test_too_little_memory_halves_the_tile_and_says_so(nearest_x2, monkeypatch, caplog):
    sizes = []

    def run_outputs(self, image, names=None, extra=None):
        sizes.append(max(image.shape))
        if max(image.shape) > 100:
            raise OutOfMemoryError("no room")
        return {"larger": np.repeat(np.repeat(image, 2, axis=2), 2, axis=3)}

    monkeypatch.setattr(Session, "run_outputs", run_outputs)
    monkeypatch.setattr(Session, "run", lambda self, image: run_outputs(self, image)["larger"])
    pixels = colours(50, 300)
    np.testing.assert_array_equal(Upscaler(nearest_x2()).upscale(pixels), larger(pixels))
    assert [size for size in sizes if size != 32][:3] == [300, 150, 75]  # 32: the run that finds the scale
    assert "no room; going on with tiles of 150 pixels" in caplog.text
    with pytest.raises(OutOfMemoryError):
        Upscaler(nearest_x2(), tile="off").upscale(pixels)


def test_memory_chooses_the_tile(daq_model, monkeypatch):
    monkeypatch.setattr("daq_deploy.runtime.upscaler.resident_memory", lambda: 10_000_000)
    upscaler = Upscaler(daq_model, max_memory=40_000_000)
    side = upscaler._largest_tile(400, 400)
    assert 32 < side < 400
    assert Upscaler(daq_model, max_memory="64G")._largest_tile(400, 400) == 400


@pytest.mark.parametrize(
    "options",
    [{"tile": 8}, {"tile": "some"}, {"overlap": -1}, {"overlap": "off"}, {"max_memory": "much"}, {"max_memory": 0}],
)
def test_options_out_of_range_are_refused(nearest_x2, options):
    with pytest.raises(OptionError, match=r"--(tile|overlap|max-memory) "):
        Upscaler(nearest_x2(), **options)


def test_options_travel_with_the_pickle(nearest_x2):
    copy = pickle.loads(pickle.dumps(Upscaler(nearest_x2(), tile=48, overlap=3)))
    assert copy.__reduce__() == Upscaler(nearest_x2(), tile=48, overlap=3).__reduce__()


def test_an_unbounded_field_is_named_once(caplog):
    upscaler = Upscaler(rcan(), threads=1, tile=40)
    for _ in range(2):
        upscaler.upscale(waves(60, 60))
    assert caplog.text.count("sees without bound (GlobalAveragePool") == 1


def test_where_no_tiles_run_nothing_is_said_of_their_overlap(caplog, monkeypatch):
    monkeypatch.setattr("daq_deploy.runtime.upscaler.LARGEST_MEASURED_WHOLE", 0)
    for tile in ("auto", "off", 60):
        Upscaler(rcan(), threads=1, tile=tile, max_memory="64G").upscale(waves(60, 60))
    assert not caplog.text


@pytest.fixture(scope="module")
def real_daq_model(shared_data) -> bytes:
    config = DaqConfig(weight_rule="nearest")
    return quantize(shared_data / "onnx" / "edsr_f64b5_x2.onnx", config).to_bytes()


def lenna(shared_data, height: int, width: int) -> np.ndarray:
    return read_picture(shared_data / "images" / "Set14" / "HR" / "lenna.png").rgb[
        100 : 100 + height, 100 : 100 + width
    ]


def test_a_real_network_shows_no_seams(shared_data, real_daq_model):
    rows, columns = np.mgrid[:160, :200]
    gradient = np.stack([columns * 1.25, rows * 1.5, (rows + columns) * 0.7], axis=2).astype(np.uint8)
    for pixels in (gradient, lenna(shared_data, 160, 200)):
        whole = Upscaler(real_daq_model, threads=1, tile="off").upscale(pixels)
        np.testing.assert_array_equal(Upscaler(real_daq_model, threads=1, tile=96).upscale(pixels), whole)


def test_ranges_of_a_sample_are_as_good_as_those_of_the_picture(shared_data, real_daq_model, monkeypatch):
    pixels = lenna(shared_data, 260, 260)
    model = shared_data / "onnx" / "edsr_f64b5_x2.onnx"
    truth = Upscaler(model, threads=1).upscale(pixels)
    own = Upscaler(real_daq_model, threads=1).upscale(pixels)
    monkeypatch.setattr("daq_deploy.runtime.tiled_network.LARGEST_MEASURED_WHOLE", 0)
    monkeypatch.setattr("daq_deploy.runtime.upscaler.LARGEST_MEASURED_WHOLE", 0)
    monkeypatch.setattr("daq_deploy.runtime.range_sample.LEAST", 4)
    sampled = Upscaler(real_daq_model, threads=1, tile="off").upscale(pixels)
    assert (sampled != own).any()
    assert psnr(sampled, truth) > psnr(own, truth) - 0.5
