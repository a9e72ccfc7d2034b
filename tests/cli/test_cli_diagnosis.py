"""`inspect --errors` and `reduce` as a user runs them."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import edsr, with_outliers
from PIL import Image
from typer.testing import CliRunner, Result

from daq_deploy.cli import build_app
from daq_deploy.cli.layers_table import bits_of
from daq_deploy.errors import CheckFailed, DaqError, ModelError, OptionError
from daq_deploy.passes.plan import LayerReport

FAST = ["--profile", "paper", "--layers", "all", "--weight-rule", "nearest"]
"""Nothing is run to choose weights."""


def invoke(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(build_app(), [str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "edsr.onnx"
    onnx.save(with_outliers(edsr(), "b2", "a2"), path)
    return path


@pytest.fixture
def daq(tmp_path: Path, model: Path) -> Path:
    path = tmp_path / "edsr_daq.onnx"
    assert invoke("quantize", model, "-o", path, *FAST, "--activation-bits", 8).exit_code == 0
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    rows, columns = np.mgrid[0:50, 0:140]
    Image.fromarray(np.stack([rows * 5, columns, rows + columns], axis=2).astype(np.uint8)).save(path)
    return path


def test_errors_are_listed_worst_first(daq, model):
    result = invoke("inspect", daq, "--errors", "--reference", model)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if " dB" in line and "%" in line]
    assert rows[0][:2] == ["b2", "W4A8"]
    assert len(rows) == 8
    assert "synthetic, gradients and edges" in result.stdout
    assert "rule deploy" not in result.stdout


def test_bits_mixed_over_channels_are_shown_as_their_average():
    report = LayerReport("a", "body", 4, 4, True, (8, 2, 3, 3), "", channel_bits=(3, 6))
    assert bits_of(report) == "W4A4.5"
    assert bits_of(replace(report, channel_bits=None)) == "W4A4"


def test_errors_as_json_can_be_narrowed_to_layers(daq, model, photo):
    arguments = ["inspect", daq, "--errors", "--reference", model, "--image", photo, "--json"]
    document = json.loads(invoke(*arguments).stdout)
    assert document["diagnosis"]["image"].endswith("96x50 at its centre")
    layers = document["diagnosis"]["layers"]
    assert layers[0]["name"] == "b2"
    assert document["diagnosis"]["output_psnr"] < layers[0]["output_psnr"] + 3
    assert {layer["name"] for layer in document["layers"]} == {layer["name"] for layer in layers}
    narrow = json.loads(invoke(*arguments, "--layer", "^a").stdout)
    assert narrow["diagnosis"]["layers"] == [layer for layer in layers if layer["name"].startswith("a")]
    assert narrow["diagnosis"]["added_psnr"] == document["diagnosis"]["added_psnr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{daq}", "--errors"], "--reference FLOAT: give both"),
        (["{daq}", "--reference", "{model}"], "--reference FLOAT: give both"),
        (["{daq}", "--image", "{photo}"], "--image IMAGE goes with them"),
        (["{model}", "--errors", "--reference", "{model}"], "is a float file; quantize it first"),
        (["{daq}", "--errors", "--reference", "{daq}"], "is a DAQ file already"),
        (["{daq}", "--errors", "--reference", "missing.onnx"], "missing.onnx: no such file"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, daq, model, photo):
    paths = {"daq": daq, "model": model, "photo": photo}
    error = invoke("inspect", *(argument.format(**paths) for argument in arguments)).exception
    assert isinstance(error, DaqError)
    assert message in str(error)


def test_a_checkpoint_is_a_reference_and_can_be_reduced(tmp_path):
    torch = pytest.importorskip("torch")
    from daq_deploy.models.edsr import EDSR

    torch.manual_seed(0)
    checkpoint, daq = tmp_path / "edsr.pt", tmp_path / "daq.onnx"
    torch.save(EDSR(scale=2, n_resblocks=1, n_feats=8).state_dict(), checkpoint)
    options = [*FAST, "--res-scale", "0.1"]
    assert invoke("export", checkpoint, "-o", daq, *options).exit_code == 0
    result = invoke("inspect", daq, "--errors", "--reference", checkpoint, "--json")
    assert result.exit_code == 0, result.output
    psnr = json.loads(result.stdout)["diagnosis"]["output_psnr"]
    reduced = invoke("reduce", checkpoint, *options, "--min-psnr", psnr - 0.5, "--json", "--threads", 1)
    assert reduced.exit_code == 0, reduced.output
    document = json.loads(reduced.stdout)
    assert document["layers"] == []
    assert document["figure"] == pytest.approx(psnr, abs=0.5)


def test_reduce_prints_the_option_that_meets_the_gate(model, daq, tmp_path):
    options = [*FAST, "--activation-bits", 8]
    before = json.loads(invoke("inspect", daq, "--errors", "--reference", model, "--json").stdout)["diagnosis"]
    gate = before["output_psnr"] + 1
    result = invoke("reduce", model, *options, "--min-psnr", gate)
    assert result.exit_code == 0, result.output
    last = shlex.split(result.stdout.splitlines()[-1])
    assert last == ["--exclude", "^(b2)$"]
    better = tmp_path / "better.onnx"
    assert invoke("quantize", model, "-o", better, *options, *last).exit_code == 0
    after = json.loads(invoke("inspect", better, "--errors", "--reference", model, "--json").stdout)["diagnosis"]
    assert after["output_psnr"] >= gate
    assert sorted(path.name for path in tmp_path.iterdir()) == ["better.onnx", "edsr.onnx", "edsr_daq.onnx"]


def test_reduce_says_so_where_nothing_has_to_be_left_float(model):
    result = invoke("reduce", model, *FAST, "--min-psnr", -100)
    assert result.exit_code == 0, result.output
    assert "the gate is met; no layer has to be left float" in result.stdout
    assert "--exclude" not in result.stdout


def test_reduce_against_benchmark_pictures(model, daq, tmp_path, photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    photo.rename(folder / "photo.png")
    evaluated = json.loads(invoke("evaluate", model, daq, "--data", folder, "--json").stdout)
    drop = evaluated["models"][1]["drop_psnr_y"]
    arguments = ["reduce", model, *FAST, "--activation-bits", 8, "--data", folder, "--json"]
    found = json.loads(invoke(*arguments, "--max-drop", drop + 0.1).stdout)
    assert found["gate"] == "PSNR-Y drop"
    assert found["figure"] == pytest.approx(drop, abs=0.05)
    assert found["layers"] == []
    strict = json.loads(invoke(*arguments, "--max-drop", drop - 0.1).stdout)
    assert strict["layers"][0]["name"] == "b2"
    assert strict["figure"] <= drop - 0.1


def test_reduce_fails_where_no_layer_can_be_quantized(model):
    error = invoke("reduce", model, *FAST, "--min-psnr", 400).exception
    assert isinstance(error, CheckFailed)
    assert error.exit_code == 1


@pytest.mark.parametrize(
    "gate", [[], ["--min-psnr", 40, "--max-drop", 1], ["--max-drop", 1], ["--min-psnr", 40, "--data", "folder"]]
)
def test_reduce_wants_one_gate(model, gate):
    error = invoke("reduce", model, *FAST, *gate).exception
    assert isinstance(error, OptionError)
    assert "give one gate" in str(error)


def test_reduce_refuses_a_daq_file(daq):
    error = invoke("reduce", daq, *FAST, "--min-psnr", 40).exception
    assert isinstance(error, ModelError)
    assert "is a DAQ file already" in str(error)
