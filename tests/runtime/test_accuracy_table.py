from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image

from daq_deploy.config import DaqConfig
from daq_deploy.errors import OptionError
from daq_deploy.evaluation import Scores
from daq_deploy.runtime import accuracy_table
from daq_deploy.runtime.accuracy_table import ScoreCache, _shipped_networks, main
from daq_deploy.runtime.baselines import min_max_per_channel
from daq_deploy.runtime.configurations import Baseline, DaqFile
from daq_deploy.runtime.results_document import BEGIN, END, Block, render, rewrite_section

DOCUMENT = f"# Results\n\n{BEGIN}\nold table\n{END}\n\nMore text.\n"
COMPARED = {
    "paper": DaqFile(DaqConfig(range_rule="paper", weight_rule="paper")),
    "min-max": Baseline(min_max_per_channel, bits=(8,)),
}


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
    monkeypatch.setattr(accuracy_table, "configurations", lambda calibration: COMPARED)
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


def run(data: Path, document: Path, *filters: str) -> int:
    cache = data.parent / "cache.json"
    return main(["--data", str(data), "-o", str(document), "--cache", str(cache), "--threads", "1", *filters])


def known(data: Path) -> list[str]:
    return list(json.loads((data.parent / "cache.json").read_text()))


def test_the_section_is_rewritten_and_the_rest_stays(data, document):
    assert run(data, document) == 0
    text = document.read_text()
    assert text.startswith(f"# Results\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nMore text.\n")
    assert "old table" not in text
    for part in ("### tiny, Set5: float", "### tiny, Set14: float", "|  | W8A8 | W2A2 |", "| paper | ", "onnxruntime"):
        assert part in text
    assert all(line.endswith("| - |") for line in text.splitlines() if line.startswith("| min-max"))


def test_a_second_run_measures_nothing_quantizes_nothing_and_writes_the_same(data, document, monkeypatch):
    assert run(data, document) == 0
    first = document.read_text()
    # On two data sets the float network, one rule at two bit-widths and one at 8 bits.
    assert len(known(data)) == 8
    monkeypatch.setattr(accuracy_table, "evaluate", None)
    monkeypatch.setattr(DaqFile, "open", None)
    monkeypatch.setattr(Baseline, "open", None)
    assert run(data, document) == 0
    assert document.read_text() == first


def test_figures_belong_to_the_configuration_and_the_network_not_to_their_names(data, document, monkeypatch):
    assert run(data, document) == 0
    before = known(data)
    monkeypatch.setattr(accuracy_table, "configurations", lambda calibration: {"renamed": COMPARED["paper"]})
    assert run(data, document) == 0
    assert known(data) == before
    assert "| renamed |" in document.read_text()
    changed = {"paper": DaqFile(DaqConfig(range_rule="reference", weight_rule="paper"))}
    monkeypatch.setattr(accuracy_table, "configurations", lambda calibration: changed)
    assert run(data, document) == 0
    assert len(known(data)) == len(before) + 4
    path = data / "onnx/tiny.onnx"
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(model.graph.initializer[0]), "head")
    )
    onnx.save(model, path)
    assert run(data, document) == 0
    assert len(known(data)) == len(before) + 4 + 6


def test_filters_say_what_is_measured_and_the_table_shows_all_that_is_known(data, document):
    assert run(data, document, "--bits", "2", "--sets", "Set14", "--configurations", "paper") == 0
    assert len(known(data)) == 2
    text = document.read_text()
    assert "|  | W2A2 |" in text
    assert "Set5" not in text
    assert run(data, document, "--bits", "8", "--configurations", "min-max", "--networks", "tiny") == 0
    assert len(known(data)) == 2 + 1 + 2
    text = document.read_text()
    assert "### tiny, Set5" in text
    assert "|  | W8A8 | W2A2 |" in text


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("--bits", "4,5", "--bits 4: choose from 8, 2"),
        ("--sets", "Set6", "--sets Set6: choose from Set5, Set14"),
        ("--configurations", "min-max,", "--configurations : choose from paper, min-max"),
        ("--networks", "large", "--networks large: choose from tiny"),
    ],
)
def test_a_filter_that_names_nothing_is_refused(data, document, capsys, option, value, known):
    assert run(data, document, option, value) == 2
    assert known in capsys.readouterr().err


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


def test_a_cell_shows_figures_and_the_drop_against_float_and_the_least_of_a_column_is_bold():
    rows = {
        "good": {8: Scores(32.0, 30.0, 0.91), 4: Scores(31.5, 29.0, 0.89)},
        "bad": {8: Scores(32.0001, 29.0, 0.9), 4: Scores(31.25, 29.0, 0.88125)},
        "one": {8: Scores(31.0, 29.0, 0.9)},
    }
    text = render([Block("Set5", "net", Scores(32.0, 30.0, 0.9), rows)])
    assert "### net, Set5: float 32.00 / 0.9000\n\n|  | W8A8 | W4A4 |\n" in text
    assert "| good | **32.00 (0.000) / 0.9100** | **31.50 (0.500) / 0.8900** |" in text
    assert "| bad | **32.00 (0.000) / 0.9000** | 31.25 (0.750) / 0.8812 |" in text
    assert "| one | 31.00 (1.000) / 0.9000 | - |" in text


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


def test_two_processes_that_measure_at_once_keep_the_figures_of_both(tmp_path):
    scores = [Scores(30.0 + number, 29.0, 0.9) for number in range(3)]
    first, second = (ScoreCache(tmp_path / "cache.json") for _ in range(2))
    first.put("a", scores[0])
    second.put("b", scores[1])
    first.put("c", scores[2])
    found = ScoreCache(tmp_path / "cache.json")
    assert [found.get(key) for key in "abcd"] == [*scores, None]
