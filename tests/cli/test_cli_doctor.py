from __future__ import annotations

import json

import typer
from networks import edsr
from onnx import save
from typer.testing import CliRunner

from daq_deploy.cli.doctor import doctor
from daq_deploy.errors import CheckFailed
from daq_deploy.runtime import doctor as runtime_doctor

application = typer.Typer()
application.command()(doctor)


def test_it_shows_the_machine_and_where_nodes_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(edsr(), "net.onnx")
    result = CliRunner().invoke(application, ["net.onnx", "--no-self-test"])
    assert result.exit_code == 0, result.output
    for expected in (
        "ONNX Runtime",
        "cpu",
        "cuda",
        "native kernels",
        "threads",
        "[export]",
        "net.onnx",
        "Conv",
        "the file is float",
    ):
        assert expected in result.stdout


def test_json_is_all_that_is_printed():
    result = CliRunner().invoke(application, ["--no-self-test", "--json"])
    assert {"machine", "providers", "library", "self_test", "extras", "problems"} <= set(json.loads(result.stdout))


def test_what_is_broken_is_exit_code_1(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    result = CliRunner().invoke(application, ["--provider", "cuda", "--no-self-test", "--json"])
    assert isinstance(result.exception, CheckFailed)
    assert result.exception.exit_code == 1
    assert json.loads(result.stdout)["problems"] == [str(result.exception)]


def test_a_machine_without_kernels_is_told_so(monkeypatch):
    monkeypatch.setattr(runtime_doctor, "load_library", lambda: None)
    result = CliRunner().invoke(application, [])
    assert result.exit_code == 0
    assert "none: daq-deploy was installed without" in result.stdout
