from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image

from daq_deploy.errors import OptionError
from daq_deploy.evaluation import Scores
from daq_deploy.runtime import accuracy_table
from daq_deploy.runtime.accuracy_table import (
    BEGIN,
    END,
    Row,
    ScoreCache,
    _shipped_networks,
    main,
    render,
    rewrite_section,
)

DOCUMENT = f"# Results\n\n{BEGIN}\nold table\n{END}\n\nMore text.\n"


def write_network(path: Path) -> None:
    """Three convolutions and a Relu: head, body, and a tail of 2x2 pixels a pixel."""
    generator = np.random.default_rng(0)

    def constant(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array((0.3 * generator.standard_normal(shape)).astype(np.float32), name)

    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
        net (float[n,3,h,w] image) => (float[n,3,a,b] larger) {
            first = Conv<pads = [1, 1, 1, 1]>(image, head)
            second = Conv<pads = [1, 1, 1, 1]>(first, body)
            positive = Relu(second)
            third = Conv(positive, tail)
            larger = DepthToSpace<blocksize = 2, mode = "CRD">(third)
        }""")
    shapes = {"head": (6, 3, 3, 3), "body": (6, 6, 3, 3), "tail": (12, 6, 1, 1)}
    model.graph.initializer.extend(constant(name, shape) for name, shape in shapes.items())
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(accuracy_table, "BITS", (8, 2))
    monkeypatch.setattr(accuracy_table, "_shipped_networks", list)
    write_network(tmp_path / "data/onnx/tiny.onnx")
    rows, columns = np.mgrid[0:24, 0:20]
    for number, name in enumerate(accuracy_table.DATA_SETS):
        folder = tmp_path / "data/images" / name
        folder.mkdir(parents=True)
        waves = np.stack([rows * 7, columns * 9, (rows + 1) * (columns + number) % 200], axis=2).astype(np.uint8)
        Image.fromarray(waves).save(folder / "waves.png")
    return tmp_path / "data"


@pytest.fixture
def document(tmp_path) -> Path:
    path = tmp_path / "results.md"
    path.write_text(DOCUMENT)
    return path


def run(data: Path, document: Path) -> int:
    cache = data.parent / "cache.json"
    return main(["--data", str(data), "-o", str(document), "--cache", str(cache), "--threads", "1"])


def test_the_section_is_rewritten_and_the_rest_stays(data, document):
    assert run(data, document) == 0
    text = document.read_text()
    assert text.startswith(f"# Results\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nMore text.\n")
    assert "old table" not in text
    for part in ("### Set5", "### Set14", "| tiny | paper |", "| tiny | reference |", "W8A8 | W2A2", "onnxruntime"):
        assert part in text


def test_a_second_run_measures_nothing_and_writes_the_same(data, document, monkeypatch):
    assert run(data, document) == 0
    first = document.read_text()
    # Two rules at two bit-widths and the float network, on two data sets.
    assert len(json.loads((data.parent / "cache.json").read_text())) == 10
    monkeypatch.setattr(accuracy_table, "evaluate", None)
    assert run(data, document) == 0
    assert document.read_text() == first


def test_figures_belong_to_the_quantized_model_not_to_its_name(data, document, monkeypatch):
    assert run(data, document) == 0
    changed = {"paper": accuracy_table.CONFIGURATIONS["reference"]}
    monkeypatch.setattr(accuracy_table, "CONFIGURATIONS", changed)
    before = json.loads((data.parent / "cache.json").read_text())
    assert run(data, document) == 0
    assert json.loads((data.parent / "cache.json").read_text()) == before
    monkeypatch.setattr(accuracy_table, "BITS", (4,))
    assert run(data, document) == 0
    assert len(json.loads((data.parent / "cache.json").read_text())) == 12


def test_what_is_wrong_is_said_before_anything_is_measured(data, document, monkeypatch, capsys):
    monkeypatch.setattr(accuracy_table, "evaluate", None)
    document.write_text("no marks")
    assert run(data, document) == 2
    assert f"results.md: needs the lines {BEGIN}" in capsys.readouterr().err
    assert run(data, document.with_name("absent.md")) == 2
    assert "absent.md: no such file" in capsys.readouterr().err
    document.write_text(DOCUMENT)
    assert run(data / "images", document) == 2
    assert "has no ONNX files" in capsys.readouterr().err


def test_shipped_checkpoints_are_exported_to_the_same_bytes_every_time(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from safetensors.torch import save_file

    from daq_deploy import models
    from daq_deploy.models.edsr import EDSR

    (tmp_path / "checkpoints").mkdir()
    save_file(EDSR(2, n_resblocks=1, n_feats=4).state_dict(), tmp_path / "checkpoints/small.safetensors")
    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    (first,), (second,) = _shipped_networks(), _shipped_networks()
    assert first.name == "small"
    assert first.to_bytes() == second.to_bytes()


def test_without_torch_the_shipped_checkpoints_are_left_out_and_said_so(monkeypatch, capsys):
    monkeypatch.setattr(accuracy_table, "find_spec", lambda name: None)
    assert _shipped_networks() == []
    assert "left out" in capsys.readouterr().err


def test_a_cell_shows_figures_and_the_change_against_float(monkeypatch):
    monkeypatch.setattr(accuracy_table, "BITS", (4,))
    row = Row("Set5", "net", "paper", Scores(32.0, 30.0, 0.9), {4: Scores(31.25, 29.0, 0.88125)})
    assert "| net | paper | 32.00 / 0.9000 | 31.25 / 0.8812 (-0.75) |" in render([row])


@pytest.mark.parametrize(
    "text", [f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{END}\n"]
)
def test_marks_that_are_missing_doubled_or_turned_round_are_refused(document, text):
    document.write_text(text)
    with pytest.raises(OptionError, match="once each"):
        rewrite_section(document, "new")
    assert document.read_text() == text


@pytest.mark.parametrize("content", ["[1]", "{", '{"key": {"psnr": 1}}'])
def test_a_damaged_cache_is_named(tmp_path, content):
    (tmp_path / "cache.json").write_text(content)
    with pytest.raises(OptionError, match=r"cache\.json: is not a file of figures"):
        ScoreCache(tmp_path / "cache.json")
