from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
from typer.testing import CliRunner

from daq_deploy.cli.export import export
from daq_deploy.errors import CheckFailed, CheckpointError, DaqError, OptionError, OutputExistsError
from daq_deploy.models.edsr import EDSR

application = typer.Typer()
application.command()(export)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "edsr.pt"
    torch.save(EDSR(2, n_resblocks=1, n_feats=16).state_dict(), path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(application, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_checkpoint_becomes_a_daq_file(tmp_path: Path, checkpoint: Path) -> None:
    quantized, floating = tmp_path / "daq.onnx", tmp_path / "float.onnx"
    table = run(checkpoint, "--bits", 4, "-o", quantized, "--float-output", floating)
    assert "body.0.body.0" in table
    assert f"{quantized}:" in table
    image = np.tile(np.linspace(50, 200, 24, dtype=np.float32), (1, 3, 20, 1))
    outputs = []
    for path in (quantized, floating):
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"input": image})[0])
    assert outputs[0].shape == outputs[1].shape == (1, 3, 40, 48)
    assert 0 < np.abs(outputs[0] - outputs[1]).max() < 30
    metadata = {entry.key: entry.value for entry in onnx.load(quantized).metadata_props}
    assert json.loads(metadata["daq.architecture"])["name"] == "EDSR"
    assert metadata["daq.value_range"] == "255.0"
    assert json.loads(metadata["daq.config"])["weight_bits"] == 4


def test_json_is_all_that_is_printed_and_a_dry_run_writes_nothing(tmp_path: Path, checkpoint: Path) -> None:
    document = json.loads(run(checkpoint, "--dry-run", "--json", "--int2", "--bits", 2, "-o", tmp_path / "daq.onnx"))
    assert {layer["weight_bits"] for layer in document["layers"] if layer["role"] == "body"} == {2}
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_said_before_any_work(tmp_path: Path, checkpoint: Path) -> None:
    taken = tmp_path / "taken.onnx"
    taken.write_bytes(b"kept")
    for arguments, error, message in (
        ((checkpoint, "--bits", 9, "-o", tmp_path / "daq.onnx"), OptionError, "--bits 9: choose 2 to 8"),
        ((checkpoint,), OptionError, "--output: name the file"),
        ((checkpoint, "-o", taken), OutputExistsError, "--force"),
        ((checkpoint, "-o", tmp_path / "daq.onnx", "--float-output", taken), OutputExistsError, "--force"),
        ((checkpoint, "-o", taken, "--float-output", taken, "--force"), OptionError, "name two files"),
        ((tmp_path / "missing.pt", "-o", tmp_path / "daq.onnx"), CheckpointError, "no such file"),
        ((checkpoint, "-o", tmp_path / "daq.onnx", "--value-range", 1), OptionError, "--value-range 1: the mean shift"),
    ):
        with pytest.raises(error, match=message):
            run(*arguments)
    assert list(tmp_path.iterdir()) == [taken]
    assert taken.read_bytes() == b"kept"


def test_a_failed_check_leaves_no_file(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daq_deploy.exporters.export.LEAST_PSNR", 1000.0)
    with pytest.raises(CheckFailed, match="differs from PyTorch"):
        run(checkpoint, "-o", tmp_path / "daq.onnx", "--float-output", tmp_path / "float.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_extra_is_named(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(DaqError, match=r"pip install 'daq-deploy\[export\]'"):
        run(checkpoint, "-o", tmp_path / "daq.onnx")
