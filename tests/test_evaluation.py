from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daq_deploy.errors import ImageError, ModelError
from daq_deploy.evaluation import BicubicRunner, Comparison, Evaluation, Scores, evaluate, model_names
from daq_deploy.image_pairs import ImagePairs, find_image_pairs
from daq_deploy.metrics import psnr, resize_bicubic, shave, ssim, y_channel
from daq_deploy.runtime import Session, read_picture


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


class Nearest:
    """Repeats every pixel twice in height and width, and adds something."""

    def __init__(self, value_range: float = 255.0, add: float = 0.0) -> None:
        self.value_range = value_range
        self.add = add

    def run(self, image):
        return image.repeat(2, axis=2).repeat(2, axis=3) + np.float32(self.add)


@pytest.fixture
def pairs(tmp_path: Path) -> ImagePairs:
    (tmp_path / "HR").mkdir()
    generator = np.random.default_rng(0)
    for name, size in (("a", (24, 30)), ("b", (25, 18))):
        coarse = generator.integers(60, 200, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).save(tmp_path / "HR" / f"{name}.png")
    return find_image_pairs(tmp_path, 2, read)


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_scores_are_those_of_the_protocol(pairs, value_range):
    finished = []
    evaluation = evaluate(Nearest(value_range), pairs, "nearest", progress=lambda: finished.append(1))
    assert list(evaluation.images) == ["a.png", "b.png"]
    assert len(finished) == 2
    for pair in pairs:
        found = pair.low.repeat(2, axis=0).repeat(2, axis=1)[2:-2, 2:-2]
        truth = pair.high[2:-2, 2:-2]
        scores = evaluation.images[pair.name]
        assert scores.psnr_y == psnr(y_channel(found), y_channel(truth))
        assert scores.psnr_rgb == psnr(found, truth)
        assert scores.ssim_y == ssim(y_channel(found), y_channel(truth))
    assert evaluation.mean.psnr_y == np.mean([scores.psnr_y for scores in evaluation.images.values()])
    assert evaluation.mean.ssim_y == np.mean([scores.ssim_y for scores in evaluation.images.values()])


def test_the_bicubic_runner_is_matlabs_bicubic(pairs):
    evaluation = evaluate(BicubicRunner(2), pairs, "bicubic")
    for pair in pairs:
        found = shave(resize_bicubic(pair.low, 2), 2)
        assert evaluation.images[pair.name].psnr_rgb == psnr(found, shave(pair.high, 2))


class WrongSize:
    value_range = 255.0

    def run(self, image):
        return image


class Refusing:
    value_range = 255.0

    def run(self, image):
        raise ImageError("wants no picture")


@pytest.mark.parametrize(
    ("runner", "error", "message"),
    [
        (WrongSize(), ModelError, r"^a\.png: net: gives shape \(1, 3, 12, 15\) where \(1, 3, 24, 30\) is the truth"),
        (Nearest(add=math.nan), ModelError, r"^a\.png: net: .*NaN"),
        (Refusing(), ImageError, r"^a\.png: net: wants no picture"),
    ],
)
def test_a_failure_names_the_picture_and_the_model(pairs, runner, error, message):
    with pytest.raises(error, match=message):
        evaluate(runner, pairs, "net")


def test_a_picture_too_small_to_measure_is_named(tmp_path):
    Image.new("RGB", (14, 40)).save(tmp_path / "thin.png")
    with pytest.raises(ImageError, match=r"^thin\.png: .*10x36 pixels to measure"):
        evaluate(Nearest(), find_image_pairs(tmp_path, 2, read), "net")


def test_rows_show_the_drop_against_the_first(pairs):
    first = Evaluation("float", {"a.png": Scores(30.0, 28.0, 0.9), "b.png": Scores(34.0, 30.0, 0.8)})
    second = Evaluation("daq", {"a.png": Scores(29.5, 28.0, 0.9), "b.png": Scores(33.0, 30.0, 0.7)})
    assert Comparison(pairs, (first, second)).rows() == (
        ("model", "PSNR-Y", "drop", "PSNR-RGB", "SSIM-Y"),
        ("float", "32.000", "", "29.000", "0.8500"),
        ("daq", "31.250", "0.750", "29.000", "0.8000"),
    )


def test_json_holds_every_picture_and_null_for_infinity(pairs):
    scores = {"a.png": Scores(math.inf, math.inf, 1.0), "b.png": Scores(34.0, 30.0, 0.8)}
    document = json.loads(Comparison(pairs, (Evaluation("same", scores),)).to_json())
    (model,) = document["models"]
    assert model["images"]["a.png"] == {"psnr_y": None, "psnr_rgb": None, "ssim_y": 1.0}
    assert model["images"]["b.png"]["psnr_y"] == 34.0
    assert model["mean"]["psnr_y"] is None
    assert model["mean"]["ssim_y"] == pytest.approx(0.9)
    assert document["scale"] == 2


def test_the_convention_says_where_low_resolution_comes_from(pairs, tmp_path):
    assert "x2, LR made by MATLAB's bicubic; output rounded to 8 bits, 2 border" in Comparison(pairs, ()).convention()
    (tmp_path / "LRx2").mkdir()
    assert "LR from LRx2" in Comparison(find_image_pairs(tmp_path, 2, read), ()).convention()


def test_models_of_one_name_are_told_apart_by_their_paths():
    assert model_names([Path("x/a.onnx"), Path("y/b.onnx")]) == ["a.onnx", "b.onnx"]
    assert model_names([Path("x/a.onnx"), Path("y/a.onnx")]) == [str(Path("x/a.onnx")), str(Path("y/a.onnx"))]


@pytest.mark.parametrize(
    ("name", "published"),
    [("edsr_f64b5_x2", 37.652), ("rlfn_x4", 32.238), ("rfdn_x4", 32.159), ("srresnet_x4", 32.013)],
)
def test_float_figures_of_real_networks_on_set5(shared_data, name, published):
    with Session(shared_data / "onnx" / f"{name}.onnx", threads=1) as session:
        pairs = find_image_pairs(shared_data / "images" / "Set5", session.scale, lambda path: read_picture(path).rgb)
        assert evaluate(session, pairs, name).mean.psnr_y == pytest.approx(published, abs=0.005)
