from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx
import pytest
import typer
from networks import edsr
from PIL import Image
from typer.testing import CliRunner

from daq_deploy.cli.report import report
from daq_deploy.errors import DaqError, ImageError, ModelError, OptionError, OutputExistsError
from daq_deploy.runtime import benchmark
from daq_deploy.runtime import report as runtime_report

application = typer.Typer()
application.command()(report)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(edsr(), tmp_path / "net.onnx")
    Image.linear_gradient("L").resize((24, 20)).save(tmp_path / "photo.png")
    Image.linear_gradient("L").resize((48, 40)).save(tmp_path / "original.png")
    monkeypatch.setattr(runtime_report, "measure", partial(benchmark.measure, iterations=2, size=(16, 16)))
    monkeypatch.setattr(benchmark, "peak_memory", lambda *arguments: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str):
    return CliRunner().invoke(application, list(arguments))


def test_one_command_gives_one_page(folder: Path):
    pictures = ("--image", "photo.png", "--reference", "original.png")
    result = invoke("net.onnx", "--bits", "4", *pictures, "-o", "r.html", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("r.html: 0.")
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert "at 4 bits" in page
    assert "PSNR-Y" in page
    assert {path.name for path in folder.iterdir()} == {"net.onnx", "photo.png", "original.png", "r.html"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["net.onnx", "--image", "photo.png", "--bits", "9"], OptionError),
        (["net.onnx", "--image", "photo.png", "--bits", "four"], OptionError),
        (["net.onnx", "--image", "photo.png", "--bits", "4,"], OptionError),
        (["net.onnx"], OptionError),
        (["absent.onnx", "absent_w4.onnx", "--image", "photo.png"], ModelError),
        (["net.onnx", "net.onnx", "--image", "photo.png"], ModelError),
        (["net.onnx", "absent.onnx", "--image", "photo.png"], ModelError),
        (["net.onnx", "--image", "absent.png"], ImageError),
        (["photo.png", "--image", "photo.png"], DaqError),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_no_page(folder: Path, arguments, error):
    result = invoke(*arguments, "-o", "r.html", "--threads", "1")
    assert isinstance(result.exception, error)
    assert "\n" not in str(result.exception)
    assert not (folder / "r.html").exists()


def test_a_page_is_not_overwritten(folder: Path):
    (folder / "r.html").write_text("mine")
    result = invoke("net.onnx", "--image", "photo.png", "-o", "r.html")
    assert isinstance(result.exception, OutputExistsError)
    assert (folder / "r.html").read_text() == "mine"
