from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from daq_deploy.cli.upscale import upscale
from daq_deploy.errors import ImageError, OptionError, OutputExistsError, ProviderError

application = typer.Typer()
application.command()(upscale)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "x2.onnx"
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[n,3,h,w] image) => (float[n,3,a,b] larger)
        <float[4] scales = {1, 1, 2, 2}> { larger = Resize<mode = "nearest">(image, , scales) }"""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_a_picture_is_upscaled(tmp_path, model):
    Image.new("CMYK", (5, 4)).save(tmp_path / "in.jpg")
    arguments = [str(tmp_path / "in.jpg"), "-o", str(tmp_path / "out.webp"), "--model", str(model), "--threads", "1"]
    result = CliRunner().invoke(application, arguments)
    assert result.exit_code == 0, result.output
    assert "out.webp: 10x8 pixels" in result.stdout
    assert "converted from CMYK" in result.stderr
    with Image.open(tmp_path / "out.webp") as image:
        assert image.size == (10, 8)


@pytest.mark.parametrize(
    ("picture", "output", "options", "error"),
    [
        ("in.png", "out.jpg", [], OptionError),
        ("in.png", "there.png", [], OutputExistsError),
        ("absent.png", "out.png", [], ImageError),
        ("in.png", "out.png", ["--provider", "abacus"], OptionError),
        ("in.png", "out.png", ["--provider", "cuda"], ProviderError),
        ("in.png", "out.png", ["--ray", "auto"], OptionError),
    ],
)
def test_what_cannot_be_done_leaves_no_file(tmp_path, model, monkeypatch, picture, output, options, error):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    Image.new("RGBA", (4, 4)).save(tmp_path / "in.png")
    (tmp_path / "there.png").write_bytes(b"mine")
    before = {path.name for path in tmp_path.iterdir()}
    arguments = [str(tmp_path / picture), "-o", str(tmp_path / output), "--model", str(model), *options]
    result = CliRunner().invoke(application, arguments)
    assert isinstance(result.exception, error)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "there.png").read_bytes() == b"mine"


@pytest.mark.parametrize("paths", [("s3://bucket/photos", "large"), ("photos", "gs://bucket/large")])
def test_addresses_are_refused_in_one_line(model, paths):
    result = CliRunner().invoke(application, [paths[0], "-o", paths[1], "--model", str(model)])
    assert isinstance(result.exception, OptionError)
    assert "://bucket/" in str(result.exception)
    assert "addresses are not read or written" in str(result.exception)
