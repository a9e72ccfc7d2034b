"""`quantize`, `inspect` and `validate` as a user runs them, and what the command line does with errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from networks import edsr, network

from daq_deploy.cli import VERBS, build_app

FAST = ["--profile", "paper", "--layers", "all"]
"""Nothing is run to choose weights."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "edsr.onnx"
    onnx.save(edsr(), path)
    return path


@pytest.fixture
def daq(tmp_path: Path, model: Path, cli) -> Path:
    path = tmp_path / "edsr_daq.onnx"
    assert cli("quantize", model, "-o", path, *FAST)[0] == 0
    return path


def test_quantize_writes_a_file_and_prints_its_layers(cli, model, tmp_path):
    code, out, _ = cli("quantize", model, "-o", tmp_path / "daq.onnx", "--bits", "2", *FAST)
    assert code == 0
    assert (tmp_path / "daq.onnx").is_file()
    for text in ("close", "closing", "W2A2", "8x8x3x3", "bits on average", "--int2 stores them in two"):
        assert text in out
    onnx.checker.check_model(onnx.load(tmp_path / "daq.onnx"), full_check=True)


def test_dry_run_writes_nothing(cli, model, tmp_path):
    code, out, _ = cli("quantize", model, "--dry-run", *FAST, "--layers", "body")
    assert code == 0
    assert "--layers body quantizes the body alone" in " ".join(out.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edsr.onnx"]


def test_json_is_one_document_and_nothing_else(cli, model, tmp_path):
    code, out, _ = cli("quantize", model, "-o", tmp_path / "daq.onnx", "--json", *FAST)
    assert code == 0
    document = json.loads(out)
    assert document["output_bytes"] == (tmp_path / "daq.onnx").stat().st_size
    assert document["source_bytes"] == model.stat().st_size
    assert {layer["name"]: layer["weight_bits"] for layer in document["layers"]}["a1"] == 4
    assert 4 < document["bits_per_weight"] < 9
    first = document["layers"][0]
    assert first["stored_bytes"] == 8 * 3 * 3 * 3 + 2 * 4 * 8  # codes of eight bits; a step and half a step a channel


def test_an_output_that_exists_is_kept_without_force(cli, model, tmp_path):
    output = tmp_path / "daq.onnx"
    output.write_bytes(b"precious")
    code, _, err = cli("quantize", model, "-o", output, *FAST)
    assert code == 2
    assert "--force" in err
    assert output.read_bytes() == b"precious"
    assert cli("quantize", model, "-o", output, "--force", *FAST)[0] == 0
    assert output.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bits", "9"], "--bits 9: choose 2 to 8"),
        (["--edge-bits", "1"], "--edge-bits 1"),
        (["--include", "["], "--include '[' is not a regular expression"),
        (["--include", "none such"], "no layer is quantized"),
        (["--range-rule", "best"], "--range-rule best: choose one of"),
        (["--value-range", "0"], "--value-range"),
        (["--value-range", "-1"], "--value-range"),
        (["--value-range", "nan"], "--value-range"),
    ],
)
def test_a_bad_option_is_one_line_and_leaves_no_file(arguments, message, cli, model, tmp_path):
    code, out, err = cli("quantize", model, "-o", tmp_path / "daq.onnx", *FAST, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("daq-deploy: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edsr.onnx"]


@pytest.mark.parametrize("verb", ["quantize", "inspect", "validate"])
@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08"])
def test_a_bad_file_is_one_line_and_leaves_no_file(verb, data, cli, model, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    options = {"quantize": ["-o", tmp_path / "daq.onnx"], "inspect": [], "validate": ["--reference", model]}
    code, out, err = cli(verb, path, *options[verb])
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "bad.onnx" in err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.onnx", "edsr.onnx"]


def test_quantizing_without_an_output_says_so(cli, model):
    code, _, err = cli("quantize", model)
    assert code == 2
    assert "--output" in err


def test_inspect_shows_layers_bits_and_how_the_file_was_made(cli, daq):
    code, out, _ = cli("inspect", daq)
    assert code == 0
    for text in ("a1", "W4A4", "DAQ file", "opset 21", "weight_bits=4", "source sha256", "daq-deploy 0"):
        assert text in out


def test_inspect_as_json_can_be_narrowed_to_layers(cli, daq):
    code, out, _ = cli("inspect", daq, "--json", "--layer", "^[ab]1")
    assert code == 0
    document = json.loads(out)
    assert [layer["name"] for layer in document["layers"]] == ["a1", "b1"]
    assert document["is_daq"] is True
    assert document["file_bytes"] == daq.stat().st_size
    assert document["config"]["weight_bits"] == 4


def test_inspect_refuses_a_wrong_expression(cli, daq):
    code, _, err = cli("inspect", daq, "--layer", "(")
    assert code == 2
    assert "--layer '('" in err


def test_inspect_says_what_a_float_file_would_become(cli, model):
    code, out, _ = cli("inspect", model)
    assert code == 0
    assert "float file" in out
    assert "closing" in out


def test_external_data_count_as_part_of_a_file(cli, tmp_path):
    path = tmp_path / "external.onnx"
    onnx.save(edsr(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    code, out, _ = cli("quantize", path, "--dry-run", "--json", *FAST)
    assert code == 0
    assert json.loads(out)["source_bytes"] == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size


def test_validate_passes_and_lists_layers_worst_first(cli, daq, model):
    code, out, _ = cli("validate", daq, "--reference", model, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["passed"] is True
    assert {level["number"]: level["outcome"] for level in report["levels"]}[1] == "passed"
    assert {level["number"]: level["outcome"] for level in report["levels"]}[2] == "skipped"
    assert report["notes"] == []
    worst = [min(value for value in (layer["activation_sqnr"], layer["weight_sqnr"]) if value is not None)
             for layer in report["layers"]]  # fmt: skip
    assert worst == sorted(worst)
    assert all(item["wrong"] == 0 for item in report["codes"])


def test_validate_fails_with_code_1_below_the_psnr_asked_for(cli, daq, model):
    code, out, err = cli("validate", daq, "--reference", model, "--min-psnr", "200")
    assert code == 1
    assert "level 6" in err
    assert "failed" in out


def test_validate_notes_another_reference_of_the_same_kind(cli, daq, model, tmp_path):
    other = tmp_path / "other.onnx"
    proto = edsr()
    proto.producer_name = "another"
    onnx.save(proto, other)
    code, out, _ = cli("validate", daq, "--reference", other)
    assert code == 0
    assert "is not the file" in " ".join(out.split())


@pytest.mark.parametrize("case", ["another scale", "quantized", "missing", "model is float"])
def test_validate_refuses_what_cannot_be_compared(case, cli, daq, model, tmp_path):
    other = tmp_path / "other.onnx"
    onnx.save(network("y = Conv(x, w_weight)", w_weight=(3, 3, 1, 1)), other)
    first, second, message = {
        "another scale": (daq, other, "is not the network"),
        "quantized": (daq, daq, "is a DAQ file itself"),
        "missing": (daq, tmp_path / "none.onnx", "no such file"),
        "model is float": (model, model, "has no DAQ block"),
    }[case]
    code, _, err = cli("validate", first, "--reference", second)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_validate_finds_a_graph_that_does_not_do_what_it_says(cli, daq, model, tmp_path):
    proto = onnx.load(daq)
    for node in proto.graph.node:
        if node.op_type == "ChannelRange":
            for attribute in node.attribute:
                if attribute.name == "bits" and attribute.i == 4:
                    attribute.i = 5  # a step for five bits, codes of four
    path = tmp_path / "forged.onnx"
    onnx.save(proto, path)
    code, _, err = cli("validate", path, "--reference", model)
    assert code == 1
    assert "level 1" in err


def test_help_of_every_verb_has_an_example(cli):
    for verb in VERBS:
        code, out, _ = cli(verb, "--help")
        assert code == 0
        assert "Example" in out


def test_the_help_of_all_is_quick_because_nothing_heavy_is_imported():
    heavy = ("torch", "onnx", "onnxruntime", "onnx_ir", "numpy", "PIL")
    program = (
        "import sys; from daq_deploy.cli import build_app; build_app(); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_importing_the_package_imports_neither_torch_nor_onnxruntime():
    program = (
        "import sys, daq_deploy; daq_deploy.quantize; daq_deploy.DaqConfig; "
        "print([name for name in ('torch', 'onnxruntime') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_verb_is_there():
    app = build_app()
    assert [command.name for command in app.registered_commands] == list(VERBS)


def test_an_unknown_verb_is_refused(cli):
    assert cli("unknown")[0] == 2
