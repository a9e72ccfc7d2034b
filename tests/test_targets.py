from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import edsr
from PIL import Image

from daq_deploy import DaqConfig
from daq_deploy.api import quantize_to_drop, quantize_to_size
from daq_deploy.calibration import drawn_picture
from daq_deploy.cli.targets import check_targets, quantize_as_asked
from daq_deploy.errors import OptionError
from daq_deploy.quantization import Quantized
from daq_deploy.targets import Attempt, lowest_bits, most_weight_bits

QUICK = DaqConfig(weight_rule="nearest", range_rule="paper")


def attempts(measured: dict[int, float]):
    return lambda bits: Attempt(bits, cast(Quantized, None), measured[bits])


@given(st.lists(st.floats(0, 10), min_size=7, max_size=7), st.floats(0, 10))
def test_the_fewest_bits_within_the_drop_are_found(drops, most):
    measured = dict(zip(range(2, 9), sorted(drops, reverse=True), strict=True))
    fitting = [bits for bits, drop in measured.items() if drop <= most]
    if not fitting:
        with pytest.raises(OptionError, match="8 bits lose"):
            lowest_bits(attempts(measured), most)
        return
    best, made = lowest_bits(attempts(measured), most)
    assert best.bits == min(fitting)
    assert best in made
    assert len(made) <= 3


def test_the_most_weight_bits_that_fit_are_found():
    sizes = attempts({8: 800, 4: 400, 2: 200})
    int2 = replace(QUICK, int2=True)
    assert [most_weight_bits(sizes, size, int2).bits for size in (900, 799, 400, 399)] == [8, 4, 4, 2]
    mixed = replace(DaqConfig(), mixed=True)
    assert most_weight_bits(attempts({bits: 100 * bits for bits in range(2, 9)}), 555, mixed).bits == 5
    with pytest.raises(OptionError, match="4-bit weights give 400 bytes; --int2"):
        most_weight_bits(sizes, 300, QUICK)
    with pytest.raises(OptionError, match=r"2-bit weights give 200 bytes$"):
        most_weight_bits(sizes, 100, int2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(edsr(), tmp_path / "edsr.onnx")
    return tmp_path / "edsr.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for seed in range(9):
        Image.fromarray(drawn_picture(64, seed)).save(tmp_path / "pictures" / f"{seed}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("pictures", [True, False])
def test_bits_are_found_on_the_pictures_of_a_folder_or_on_drawn_ones(model, folder, pictures):
    calibration = folder if pictures else None
    loose, made = quantize_to_drop(model, QUICK, most_drop=1e6, calibration=calibration)
    assert (loose.bits, made[0].bits) == (2, 5)
    found = sorted(made, key=lambda attempt: attempt.bits)[1].measured
    tight, _ = quantize_to_drop(model, QUICK, most_drop=max(found, 1e-9), calibration=calibration)
    assert tight.measured <= max(found, 1e-9)
    assert {layer.weight_bits for layer in tight.quantized.layers if layer.role == "body"} == {tight.bits}


def test_a_file_of_the_size_asked_for_is_made(model):
    sizes = {bits: quantize_to_size(model, replace(QUICK, weight_bits=bits), most_bytes=10**6) for bits in (2, 8)}
    assert {made.bits for made in sizes.values()} == {8}
    smaller = quantize_to_size(model, QUICK, most_bytes=int(sizes[8].measured) - 1)
    assert smaller.bits == 4
    assert len(smaller.quantized.to_bytes()) == smaller.measured < sizes[8].measured


def test_what_the_targets_took_is_said(model, capsys):
    quantize_as_asked(model, QUICK, 1e6, None, calibration=None)
    assert "--target-drop 1e+06: 2 bits. dB lost on drawn pictures: 2 bits " in capsys.readouterr().err
    quantize_as_asked(model, QUICK, None, "1.5M")
    assert "--target-size 1.5M: 8-bit weights, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.1, "20k", None, None), "choose one"),
        ((0.1, None, 4, None), "leave --weight-bits"),
        ((0.1, None, None, 4), "leave --weight-bits and --activation-bits"),
        ((None, "20k", 4, None), "leave --weight-bits out"),
        ((0.0, None, None, None), "above 0"),
        ((float("nan"), None, None, None), "above 0"),
        ((None, "0k", None, None), "give bytes"),
        ((None, "20 kB", None, None), "give bytes"),
    ],
)
def test_targets_that_contradict_or_are_none_are_refused(given, message):
    with pytest.raises(OptionError, match=message):
        check_targets(*given)
