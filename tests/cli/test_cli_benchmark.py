from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.parser
import pytest
import typer
from typer.testing import CliRunner

from daq_deploy.cli.benchmark import benchmark
from daq_deploy.errors import OptionError

application = typer.Typer()
application.command()(benchmark)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "relu.onnx"
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[n,3,h,w] image) => (float[n,3,h,w] larger)
        { larger = Relu(image) }"""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_json_is_one_document(model):
    result = CliRunner().invoke(application, [str(model), "--iterations", "2", "--size", "8x6", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["width"], document["height"]) == (8, 6)
    assert len(document["models"][0]["timing"]["samples"]) == 2


def test_the_table_names_the_model_and_the_conditions(model):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(application, [str(model), "--iterations", "2", "--size", "8x6"])
    assert result.exit_code == 0, result.output
    assert "relu.onnx" in result.stdout
    assert "input 8x6" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "8"], "--size 8: give width and height"),
        (["--size", "8x-2"], "--size 8x-2"),
        (["--size", "8x8", "--input", "a.png"], "exclude each other"),
        (["--duration", "1", "--iterations", "1"], "exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, options, message):
    result = CliRunner().invoke(application, [str(model), *options])
    assert isinstance(result.exception, OptionError)
    assert message in str(result.exception)
