from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from networks import network, picture
from PIL import Image

from daq_deploy import DaqConfig
from daq_deploy.calibration import calibration_mosaics, mosaics_of_weights, synthetic_mosaics, without_outliers
from daq_deploy.calibration.images import dense_mosaics, held_out_pictures
from daq_deploy.errors import ImageError
from daq_deploy.runtime.executor import OrtExecutor


@pytest.mark.parametrize("draw", [synthetic_mosaics, dense_mosaics])
def test_synthetic_pictures_are_pictures_and_always_the_same(draw):
    images = draw()
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    assert images.std(axis=(1, 2, 3)).min() > 10
    np.testing.assert_array_equal(images, np.rint(images))
    np.testing.assert_array_equal(images, draw())


def test_dense_pictures_have_structure_everywhere():
    flat = [np.mean(np.abs(np.diff(draw(), axis=3)) < 2) for draw in (dense_mosaics, synthetic_mosaics)]
    assert flat[0] < 0.15 < 0.2 < flat[1]


def test_half_of_what_weights_are_rounded_on_is_drawn_from_four_bits_on():
    photographs = np.zeros((4, 3, 96, 96), np.float32)
    images = mosaics_of_weights(photographs, DaqConfig())
    assert images.shape == photographs.shape
    np.testing.assert_array_equal(images[:2], photographs[:2])
    np.testing.assert_array_equal(images[2:], dense_mosaics()[:2])
    for config in (DaqConfig(weight_bits=3), DaqConfig(weight_rule="nearest")):
        np.testing.assert_array_equal(mosaics_of_weights(photographs, config), photographs)


def test_pictures_held_out_are_others_and_always_the_same():
    images = held_out_pictures()
    assert images.shape[2:] == synthetic_mosaics().shape[2:]
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    assert images[4:].std() > 1.3 * images[:4].std()
    np.testing.assert_array_equal(images, held_out_pictures())
    of_few_bits = held_out_pictures(DaqConfig(weight_bits=3))
    np.testing.assert_array_equal(of_few_bits, np.concatenate([images, dense_mosaics(8)]))


def test_patches_are_cut_from_every_picture_that_is_large_enough(tmp_path):
    for index, side in enumerate((100, 120, 20)):
        Image.fromarray(np.full((side, side, 3), 50 * (index + 1), np.uint8)).save(tmp_path / f"{index}.png")
    mosaics = calibration_mosaics(tmp_path, 2, lambda path: np.asarray(Image.open(path)))
    assert mosaics.shape == synthetic_mosaics().shape
    assert set(np.unique(mosaics)) == {50.0, 100.0}


@pytest.mark.parametrize("side", [None, 60])
def test_a_folder_without_large_pictures_is_refused(side, tmp_path):
    if side:
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match="no picture of at least 96x96"):
        calibration_mosaics(tmp_path, 2, lambda path: np.asarray(Image.open(path)))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no such folder"):
        calibration_mosaics(tmp_path / "none", 2, lambda path: np.asarray(Image.open(path)))


def test_a_picture_on_which_a_layer_explodes_is_left_out():
    proto = network("a = Mul(x, x) b = Mul(a, a) y = Conv(b, w_weight)", w_weight=(2, 3, 3, 3))
    graph = ir.from_proto(proto).graph
    images = np.concatenate([picture(16, 16) * factor for factor in (0.1, 0.11, 0.3, 0.12)])
    execute = OrtExecutor(21, threads=1)
    kept, outputs = without_outliers(graph, images, execute)
    np.testing.assert_array_equal(kept, images[[0, 1, 3]])
    np.testing.assert_array_equal(outputs, without_outliers(graph, kept, execute)[1])


def test_pictures_of_equal_power_are_all_kept():
    images = np.concatenate([picture(16, 16), np.zeros((1, 3, 16, 16), np.float32), picture(16, 16)])
    graph = ir.from_proto(network("y = Conv(x, w_weight)", w_weight=(2, 3, 3, 3))).graph
    for pictures in (images, np.zeros_like(images)):
        kept, outputs = without_outliers(graph, pictures, OrtExecutor(21, threads=1))
        assert len(kept) == len(outputs) == 3
