"""`fuse` as a user runs it: the file runs in plain ONNX Runtime with the library registered, and nothing else of ours."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from networks import edsr, fsrcnn, picture

from daq_deploy.config import DaqConfig
from daq_deploy.quantization import quantize
from daq_deploy.runtime.library import library_path
from daq_deploy.runtime.session import Session

PLAIN = """
import sys
import numpy as np, onnxruntime
model, library, source, target = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(library)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
np.save(target, session.run(None, {session.get_inputs()[0].name: np.load(source)})[0])
assert not any(name.startswith("daq_deploy") for name in sys.modules)
"""


@pytest.fixture
def daq(tmp_path):
    onnx.save(edsr(), tmp_path / "float.onnx")
    path = tmp_path / "daq.onnx"
    quantize(tmp_path / "float.onnx", DaqConfig(weight_rule="nearest")).save(path)
    return path


def test_what_became_of_the_layers_is_told(cli, tmp_path):
    onnx.save(fsrcnn(), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", DaqConfig(weight_rule="nearest")).save(tmp_path / "daq.onnx")
    target = tmp_path / "native.onnx"
    code, out, _ = cli("fuse", tmp_path / "daq.onnx", "-o", target)
    assert code == 0
    first, left, library = out.splitlines()
    assert first == (
        f"{target}: 3 native convolutions (0 with weights of 16 bits), 1 of the picture, 1 left to ONNX Runtime"
    )
    assert left == "  last: transposed convolution"
    assert library.startswith("library: ")
    onnx.checker.check_model(onnx.load(target), full_check=True)
    code, out, _ = cli("fuse", tmp_path / "daq.onnx", "-o", target, "--force", "--json")
    assert [layer["kind"] for layer in json.loads(out)["layers"]] == ["float", "native", "native", "native", "left"]


def test_the_same_file_gives_the_same_bytes(cli, daq, tmp_path):
    for name in ("one.onnx", "two.onnx"):
        assert cli("fuse", daq, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


@pytest.mark.skipif(library_path() is None, reason="installed without a C++ compiler: no library")
def test_the_file_runs_in_plain_onnx_runtime(cli, daq, tmp_path):
    assert cli("fuse", daq, "-o", tmp_path / "native.onnx")[0] == 0
    np.save(tmp_path / "image.npy", picture(12, 15))
    arguments = [tmp_path / "native.onnx", library_path(), tmp_path / "image.npy", tmp_path / "found.npy"]
    subprocess.run([sys.executable, "-c", PLAIN, *map(str, arguments)], check=True, cwd=tmp_path)
    expected = Session(daq, threads=1).run(picture(12, 15))
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected)


@pytest.mark.parametrize("kind", ["float", "fused", "existing"])
def test_what_cannot_be_fused_is_told_in_one_line(kind, cli, daq, tmp_path):
    source, target = daq, tmp_path / "native.onnx"
    if kind == "float":
        source = tmp_path / "float.onnx"
    if kind == "fused":
        source = tmp_path / "once.onnx"
        assert cli("fuse", daq, "-o", source)[0] == 0
    if kind == "existing":
        target.write_bytes(b"mine")
    code, _, err = cli("fuse", source, "-o", target)
    assert code == 2
    assert {"float": "no layer that", "fused": "native graph already", "existing": "--force"}[kind] in err
    assert len(err.strip().splitlines()) == 1
    assert not target.exists() or target.read_bytes() == b"mine"


@pytest.mark.parametrize("verb", ["inspect", "validate", "quantize"])
def test_verbs_for_daq_files_say_what_a_fused_one_is(verb, cli, daq, tmp_path):
    fused = tmp_path / "native.onnx"
    assert cli("fuse", daq, "-o", fused)[0] == 0
    options = {
        "inspect": [],
        "validate": ["--reference", tmp_path / "float.onnx"],
        "quantize": ["-o", tmp_path / "a.onnx"],
    }
    code, _, err = cli(verb, fused, *options[verb])
    assert code == 2
    assert "DAQ file" in err
    assert len(err.strip().splitlines()) == 1
