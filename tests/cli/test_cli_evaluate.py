from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from daq_deploy.cli.evaluate import evaluate
from daq_deploy.errors import ModelError, OptionError

application = typer.Typer()
application.command()(evaluate)


def write_resize(path: Path, scale: int) -> Path:
    text = f"""<ir_version: 10, opset_import: ["": 21]> g (float[n,3,h,w] image) => (float[n,3,a,b] larger)
        <float[4] scales = {{1, 1, {scale}, {scale}}}> {{ larger = Resize<mode = "linear">(image, , scales) }}"""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_resize(tmp_path / "linear_x2.onnx", 2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows, columns = np.mgrid[0:32, 0:28]
    waves = np.stack([rows * 7, columns * 9, rows * columns % 200], axis=2).astype(np.uint8)
    Image.fromarray(waves).save(folder / "waves.png")
    return folder


def test_the_table_shows_models_bicubic_and_the_convention(model, pictures):
    arguments = [str(model), "--data", str(pictures), "--bicubic", "--threads", "1"]
    result = CliRunner(env={"COLUMNS": "300"}).invoke(application, arguments)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    for part in ("linear_x2.onnx", "bicubic", "PSNR-Y", "2 border pixels shaved", "(images: 1)", "BT.601"):
        assert part in text


def test_json_is_one_document(model, pictures):
    result = CliRunner().invoke(application, [str(model), str(model), "--data", str(pictures), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    first, second = document["models"]
    assert first["images"]["waves.png"] == second["images"]["waves.png"]
    assert second["drop_psnr_y"] == 0
    assert 10 < first["mean"]["psnr_y"] < 60


def test_networks_of_different_scales_are_refused(tmp_path, model, pictures):
    other = write_resize(tmp_path / "linear_x3.onnx", 3)
    result = CliRunner().invoke(application, [str(model), str(other), "--data", str(pictures)])
    assert isinstance(result.exception, OptionError)
    assert "linear_x2.onnx x2, linear_x3.onnx x3" in str(result.exception)


def test_a_wrong_scale_names_the_picture(model, pictures):
    result = CliRunner().invoke(application, [str(model), "--data", str(pictures), "--scale", "4"])
    assert isinstance(result.exception, ModelError)
    assert "waves.png: linear_x2.onnx: gives shape (1, 3, 16, 14) where (1, 3, 32, 28)" in str(result.exception)


def test_the_data_folder_is_not_optional(model):
    result = CliRunner().invoke(application, [str(model)])
    assert result.exit_code == 2
    assert "--data" in result.output


def test_an_address_is_refused(model):
    result = CliRunner().invoke(application, [str(model), "--data", "s3://bucket/Set5"])
    assert isinstance(result.exception, OptionError)
    assert "s3://bucket/Set5: s3 addresses" in str(result.exception)
