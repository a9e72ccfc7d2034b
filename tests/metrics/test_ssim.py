from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from daq_deploy.errors import ImageError
from daq_deploy.metrics import crop_to_multiple, psnr, resize_bicubic, shave, ssim, y_channel


def ssim_by_definition(found, truth):
    """Wang et al. (2004), equation 13, window by window; population moments under a normalized 2-D Gaussian."""
    offsets = np.mgrid[-5:6, -5:6]
    window = np.exp(-(offsets**2).sum(axis=0) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(found.shape[0] - 10):
        for left in range(found.shape[1] - 10):
            x, y = (picture[top : top + 11, left : left + 11].astype(float) for picture in (found, truth))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            variances = (window * (x - mean_x) ** 2).sum() + (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + 6.5025)
                * (2 * covariance + 58.5225)
                / ((mean_x**2 + mean_y**2 + 6.5025) * (variances + 58.5225))
            )
    return np.mean(values)


@pytest.mark.parametrize("shape", [(11, 11), (13, 20), (20, 13)])
def test_it_is_the_published_formula(shape):
    generator = np.random.default_rng(shape[1])
    truth = generator.integers(0, 256, shape)
    found = np.clip(truth + generator.normal(0, 20, shape), 0, 255)
    assert ssim(found, truth) == pytest.approx(ssim_by_definition(found, truth), abs=1e-12)


def test_colours_are_averaged():
    generator = np.random.default_rng(1)
    found, truth = generator.integers(0, 256, (2, 15, 17, 3))
    by_channel = [ssim(found[..., channel], truth[..., channel]) for channel in range(3)]
    assert ssim(found, truth) == pytest.approx(np.mean(by_channel), abs=1e-14)


def test_equal_pictures_reach_one_and_bytes_do_not_wrap_around():
    picture = np.random.default_rng(2).integers(0, 256, (16, 16), np.uint8)
    assert ssim(picture, picture) == pytest.approx(1.0, abs=1e-12)
    assert ssim(picture, 255 - picture) == ssim(picture.astype(float), 255.0 - picture)


def test_a_picture_smaller_than_the_window_is_refused():
    with pytest.raises(ImageError, match=r"20x10 pixels.*11 a side"):
        ssim(np.zeros((10, 20)), np.zeros((10, 20)))


@pytest.mark.parametrize(("scale", "published_psnr", "published_ssim"), [(2, 33.66, 0.9299), (4, 28.42, 0.8104)])
def test_bicubic_on_set5_is_what_papers_print(shared_data, scale, published_psnr, published_ssim):
    """Papers upscale the luma alone and without rounding: hence the tolerance."""
    folder = shared_data / "images" / "Set5"
    figures = []
    for path in (folder / "HR").glob("*.png"):
        truth = crop_to_multiple(np.asarray(Image.open(path).convert("RGB")), scale)
        low = np.asarray(Image.open(folder / f"LRx{scale}" / f"{path.stem}x{scale}.png").convert("RGB"))
        found, expected = (y_channel(shave(picture, scale)) for picture in (resize_bicubic(low, scale), truth))
        figures.append((psnr(found, expected), ssim(found, expected)))
    mean_psnr, mean_ssim = np.mean(figures, axis=0)
    assert mean_psnr == pytest.approx(published_psnr, abs=0.02)
    assert mean_ssim == pytest.approx(published_ssim, abs=0.001)
