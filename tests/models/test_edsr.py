from __future__ import annotations

from pathlib import Path

import pytest
import torch

from daq_deploy.models.blocks import DIV2K_MEAN_RGB, MeanShift, PixelShuffleUpsampler
from daq_deploy.models.edsr import EDSR, ResidualBlock, rescale_values


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("direct_tail", [False, True])
def test_output_is_scale_times_as_large(scale: int, direct_tail: bool) -> None:
    network = EDSR(scale, n_resblocks=1, n_feats=4, direct_tail=direct_tail)
    assert network(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


def test_the_baseline_has_the_size_and_names_of_edsr_pytorch() -> None:
    with torch.device("meta"):
        network = EDSR(scale=4)
    sizes = {name: tensor.numel() for name, tensor in network.state_dict().items()}
    assert sum(sizes.values()) == 1_517_571 + 24  # and two mean shifts
    assert {"head.0.weight", "body.0.body.0.weight", "body.15.body.2.bias", "body.16.weight"} <= sizes.keys()
    assert {"tail.0.0.weight", "tail.0.2.weight", "tail.1.weight", "sub_mean.bias", "add_mean.weight"} <= sizes.keys()


def test_res_scale_multiplies_the_branch() -> None:
    block = ResidualBlock(4, res_scale=0.1)
    x = torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(block(x) - x, 0.1 * block.body(x), rtol=1e-4, atol=1e-6)


def test_mean_shift_subtracts_the_mean_colour() -> None:
    image = 255 * torch.tensor(DIV2K_MEAN_RGB).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert MeanShift(255.0, sign=-1)(image).abs().max() < 1e-4
    assert torch.allclose(MeanShift(255.0, sign=1)(torch.zeros(1, 3, 2, 2)), image)


def test_rescaled_values_compute_the_same_function() -> None:
    for direct_tail in (False, True):
        small = EDSR(2, 1, 4, value_range=1.0, direct_tail=direct_tail)
        large = EDSR(2, 1, 4, value_range=255.0, direct_tail=direct_tail)
        large.load_state_dict(rescale_values(small.state_dict(), 255.0))
        image = torch.rand(1, 3, 6, 5)
        torch.testing.assert_close(large(255 * image), 255 * small(image), rtol=1e-4, atol=1e-2)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale 5 is not one of 2, 3, 4"):
        PixelShuffleUpsampler(5, 4)


def test_a_trained_checkpoint_loads(shared_data: Path) -> None:
    weights = torch.load(shared_data / "weights" / "edsr_f64b5_x2.pt", weights_only=True)
    network = EDSR(2, n_resblocks=5, mean_shift=False, direct_tail=True)
    network.load_state_dict(weights)
    grey = torch.full((1, 3, 24, 24), 128.0)
    with torch.inference_mode():
        inside = network(grey)[..., 16:-16, 16:-16]
    assert (inside - 128).abs().max() < 3
