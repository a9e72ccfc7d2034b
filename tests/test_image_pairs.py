from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daq_deploy.errors import ImageError, OptionError
from daq_deploy.image_pairs import find_image_pairs
from daq_deploy.metrics import crop_to_multiple, resize_bicubic


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def write(path: Path, width: int, height: int, mode: str = "RGB") -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 256, shape, np.uint8)).save(path)
    return read(path)


@pytest.mark.parametrize("given", ["set", "set/HR"])
def test_the_benchmark_layout_is_found_from_either_folder(tmp_path, given):
    high = write(tmp_path / "set/HR/bird.png", 21, 16)
    low = write(tmp_path / "set/LRx4/birdx4.png", 5, 4)
    write(tmp_path / "set/LRx2/birdx2.png", 10, 8)
    pairs = find_image_pairs(tmp_path / given, 4, read)
    assert (len(pairs), pairs.low_folder.name) == (1, "LRx4")
    (pair,) = pairs
    assert pair.name == "bird.png"
    np.testing.assert_array_equal(pair.low, low)
    np.testing.assert_array_equal(pair.high, high[:16, :20])


def test_low_resolution_pictures_are_made_where_there_are_none(tmp_path):
    high = write(tmp_path / "b.png", 15, 13)
    write(tmp_path / "a.png", 9, 9, mode="L")
    (tmp_path / "notes.txt").write_text("not a picture")
    pairs = find_image_pairs(tmp_path, 3, read)
    assert pairs.low_folder is None
    assert [pair.name for pair in pairs] == ["a.png", "b.png"]
    grey, colour = pairs
    assert grey.low.shape == (3, 3, 3)
    np.testing.assert_array_equal(colour.high, crop_to_multiple(high, 3))
    np.testing.assert_array_equal(colour.low, resize_bicubic(crop_to_multiple(high, 3), 1 / 3))


def test_scale_one_pairs_a_picture_with_itself(tmp_path):
    high = write(tmp_path / "a.png", 7, 5)
    (pair,) = find_image_pairs(tmp_path, 1, read)
    np.testing.assert_array_equal(pair.low, high)


def test_a_missing_low_resolution_picture_is_named(tmp_path):
    write(tmp_path / "HR/a.png", 8, 8)
    (tmp_path / "LRx2").mkdir()
    with pytest.raises(ImageError, match=r"LRx2/ax2\.png: no such file; a\.png needs it"):
        list(find_image_pairs(tmp_path, 2, read))


def test_a_low_resolution_picture_of_another_size_is_named(tmp_path):
    write(tmp_path / "HR/a.png", 9, 8)
    write(tmp_path / "LRx2/ax2.png", 5, 4)
    with pytest.raises(ImageError, match=r"ax2\.png: has 5x4 pixels; a\.png at x2 needs 4x4"):
        list(find_image_pairs(tmp_path, 2, read))


def test_a_picture_smaller_than_the_scale_is_named(tmp_path):
    write(tmp_path / "a.png", 8, 3)
    with pytest.raises(ImageError, match=r"a\.png: is smaller than 4x4"):
        list(find_image_pairs(tmp_path, 4, read))


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(OptionError, match="no such folder"):
        find_image_pairs(tmp_path / "absent", 2, read)
    (tmp_path / "HR").mkdir()
    write(tmp_path / "beside.png", 8, 8)
    with pytest.raises(OptionError, match="HR: has no pictures"):
        find_image_pairs(tmp_path, 2, read)


def test_a_scale_below_one_is_refused(tmp_path):
    with pytest.raises(OptionError, match="--scale 0"):
        find_image_pairs(tmp_path, 0, read)


def test_grey_images_of_set14_are_read_as_colour(shared_data):
    pairs = find_image_pairs(shared_data / "images/Set14", 4, read)
    bridge = next(pair for pair in pairs if pair.name == "bridge.png")
    assert Image.open(shared_data / "images/Set14/HR/bridge.png").mode == "L"
    assert (bridge.low.shape, bridge.high.shape) == ((128, 128, 3), (512, 512, 3))
