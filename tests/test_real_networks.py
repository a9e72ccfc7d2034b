"""The real networks and pictures beside the checkout: what `quantize` makes of them, at every size, and how good it is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import pytest
from networks import picture, run

from daq_deploy.config import DaqConfig
from daq_deploy.evaluation import evaluate
from daq_deploy.image_pairs import find_image_pairs
from daq_deploy.quantization import quantize
from daq_deploy.runtime.images import read_picture
from daq_deploy.runtime.session import Session

NEAREST = DaqConfig(weight_rule="nearest")
NAMES = ("edsr_f64b5_x2", "rfdn_x4", "rlfn_x4", "srresnet_x4")


@cache
def daq_file(path: Path) -> bytes:
    return quantize(path, NEAREST).to_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_real_network_becomes_a_valid_file_with_everything_quantized(name, shared_data):
    path = shared_data / "onnx" / f"{name}.onnx"
    result = quantize(path, NEAREST)
    assert [layer.name for layer in result.layers if not layer.quantized] == []
    data = daq_file(path)
    assert result.to_bytes() == data
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    assert len(data) < 0.225 * path.stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_a_real_network_runs_at_every_size_the_float_network_runs_at(name, shared_data):
    path = shared_data / "onnx" / f"{name}.onnx"
    for height, width in ((1, 1), (1, 7), (5, 3), (17, 33), (64, 64)):
        image = picture(height, width)
        try:
            expected = run(path.read_bytes(), image)
        except Exception:  # the float network itself does not run at this size
            assert min(height, width) < 16
            continue
        found = run(daq_file(path), image)
        assert found.shape == expected.shape
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_real_network_gives_the_same_bits_at_three_optimization_levels(name, shared_data):
    data = daq_file(shared_data / "onnx" / f"{name}.onnx")
    image = picture(33, 29)
    first = run(data, image, "DISABLE_ALL")
    for level in ("ENABLE_BASIC", "ENABLE_EXTENDED"):
        np.testing.assert_array_equal(run(data, image, level), first)


def test_the_four_bit_edsr_is_a_sixth_of_the_float_file(shared_data):
    path = shared_data / "onnx" / "edsr_f64b5_x2.onnx"
    assert len(daq_file(path)) <= 0.17 * path.stat().st_size


def test_a_large_picture_is_upscaled(shared_data):
    output = run(daq_file(shared_data / "onnx" / "edsr_f64b5_x2.onnx"), picture(512, 512))
    assert output.shape == (1, 3, 1024, 1024)
    assert np.isfinite(output).all()


@pytest.mark.parametrize(("rule", "published"), [("paper", 36.96), ("reference", 37.09)])
def test_the_published_psnr_of_both_rules_is_reproduced(rule, published, shared_data):
    config = replace(DaqConfig.of_profile("paper", 4), range_rule=rule, range_bits=None)
    data = quantize(shared_data / "onnx" / "edsr_f64b5_x2.onnx", config).to_bytes()
    pairs = find_image_pairs(shared_data / "images" / "Set5", 2, lambda path: read_picture(path).rgb)
    with Session(data, threads=1) as session:
        assert evaluate(session, pairs, rule).mean.psnr_y == pytest.approx(published, abs=0.1)
