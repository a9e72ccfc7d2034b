"""That figures are gathered, kept and shown right; how fast anything is, is not tested."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from networks import edsr

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ModelError
from daq_deploy.model_file import model_bytes
from daq_deploy.quantization import quantize
from daq_deploy.runtime.benchmark import summarize
from daq_deploy.runtime.configurations import Network
from daq_deploy.runtime.figure_cache import FigureCache
from daq_deploy.runtime.session import Session
from daq_deploy.runtime.speed import __main__ as speed
from daq_deploy.runtime.speed import cell as cell_module
from daq_deploy.runtime.speed.cell import Cell, Entry, Measured, Place, measure
from daq_deploy.runtime.speed.contestants import (
    FLOAT,
    ONNXRUNTIME_INT8,
    OPENVINO_INT8,
    STANDARD_OPS,
    Contestant,
    contestants,
    freeze_ranges,
    frozen,
    native,
    write_files,
)
from daq_deploy.runtime.speed.document import MARKS, render
from daq_deploy.runtime.speed.networks import find_network
from daq_deploy.runtime.speed.roofline import Peaks, Work, measure_peaks, work_of
from daq_deploy.runtime.speed.worker import Opening, Worker
from daq_deploy.runtime.synthetic import smooth_image

PLACE = Place("edsr_f64b5_x2", 320, 180, 1)


def entry(name: str, samples: list[float], first: list[float], group: int = 0, memory: int | None = 10**8) -> Entry:
    return Entry(name, summarize(samples, first), 640, 360, memory, group)


def a_cell(place: Place = PLACE) -> Cell:
    floats = [100.0, 300.0, 200.0]
    tier = native("avx2").name
    entries = (
        entry(FLOAT.name, floats, floats),
        entry(tier, [20.0, 60.0, 40.0], floats, memory=5 * 10**7),
        entry(frozen("avx2").name, [19.0, 57.0, 38.0], floats),
        entry(ONNXRUNTIME_INT8.name, [60.0, 120.0, 100.0], floats),
        entry(STANDARD_OPS.name, [150.0, 450.0, 300.0], floats, group=1),
    )
    return Cell(
        place=place,
        sha256="0" * 64,
        conditions="versions on a processor",
        tiers=("avx2",),
        work=Work(operations=1e6, memory_bytes=1000.0),
        peaks=Peaks(int8_operations=2.88e12, memory_bytes=1.44e10),
        entries=entries,
        left_out={OPENVINO_INT8.name: "OpenVINO is not installed"},
    )


def test_a_cell_survives_its_file(tmp_path):
    FigureCache(tmp_path / "cache.json", Cell.from_json).put("key", a_cell())
    (known,) = FigureCache(tmp_path / "cache.json", Cell.from_json)
    assert known == a_cell()
    assert json.loads((tmp_path / "cache.json").read_text())["key"]["entries"][1]["timing"]["samples"] == [20, 60, 40]


def test_ratios_are_taken_pair_by_pair_and_by_way_of_float_between_groups():
    cell = a_cell()
    tier = native("avx2").name
    assert cell.times_faster(tier, FLOAT.name) == 5
    assert cell.times_faster(tier, ONNXRUNTIME_INT8.name) == 2.5  # the median of 3, 2, 2.5; medians give 2.5 too
    assert cell.times_faster(tier, STANDARD_OPS.name) == pytest.approx(7.5)
    assert cell.times_faster(tier, OPENVINO_INT8.name) is None


def test_the_document_shows_ratios_memory_roofline_and_what_was_left_out():
    lines = render([a_cell(), a_cell(dataclasses.replace(PLACE, threads=2))]).splitlines()
    glance = next(line for line in lines if line.startswith("| edsr_f64b5_x2 | 320x180 | 1 | avx2 |"))
    cells = [text.strip() for text in glance.strip("|").split("|")]
    # 1e6 operations and 1000 bytes a pixel, 57600 pixels in 40 ms: 1.44e12 operations and 1.44e9 bytes a second.
    assert cells[4:] == ["40.0", "5.00", "2.50", "-", "7.50", "0.50", "+5.3%", "50%", "10%"]
    row = next(line for line in lines if line.startswith(f"| {native('avx2').name} |"))
    assert row == f"| {native('avx2').name} | 50 MB | 40.0 | 5.00 | 5.76 | 40.0 | 5.00 | 5.76 |"
    assert sum(line.startswith("### edsr_f64b5_x2, 320x180") for line in lines) == 1
    assert "Left out: INT8, OpenVINO: OpenVINO is not installed." in lines
    assert "Measured with versions on a processor." in lines
    assert any("run times of one row vary by up to" in line for line in lines)


def test_growth_with_pixels_and_threads_is_shown(monkeypatch):
    faster = a_cell(dataclasses.replace(PLACE, threads=2))
    quicker = tuple(entry(e.name, [e.timing.p50 / 2], [1.0]) for e in faster.entries)
    lines = render(
        [a_cell(), dataclasses.replace(faster, entries=quicker), a_cell(Place("edsr_f64b5_x2", 640, 360, 1))]
    )
    lines = lines.splitlines()
    assert "| ns a pixel of the input | tier | threads | 320x180 | 640x360 |" in lines
    assert "| edsr_f64b5_x2 | avx2 | 1 | 694 | 174 |" in lines
    assert "| edsr_f64b5_x2 | avx2 | 2 | 347 (2.00 x) | - |" in lines
    assert not any("growth" in line for line in render([a_cell()]).splitlines())


def test_conditions_that_differ_are_told_apart():
    other = dataclasses.replace(a_cell(Place("rlfn_x4", 128, 128, 1)), conditions="another library")
    text = render([a_cell(), other])
    assert "edsr_f64b5_x2 320x180: measured with versions on a processor." in text
    assert "rlfn_x4 128x128: measured with another library." in text


def test_every_tier_takes_part_and_the_best_with_frozen_ranges_too():
    names = [contestant.name for contestant in contestants(("avx512_vnni", "avx2", "portable"))]
    assert names[0] == FLOAT.name
    assert [name for name in names if "native" in name] == [
        native("avx512_vnni").name,
        frozen("avx512_vnni").name,
        native("avx2").name,
        native("portable").name,
    ]
    assert not any("native" in contestant.name for contestant in contestants(()))


class FakeWorker:
    """Takes a set time, and does not open where it is told so."""

    memory = 10**9

    def __init__(self, contestant: Contestant, *arguments: object) -> None:
        if contestant.name == "broken":
            raise ModelError("broken: no such instruction")
        self.contestant = contestant
        self.opening = Opening(360, 640, self.memory)
        log.append(contestant.name)

    def run(self) -> float:
        return 1000.0 if self.contestant.name == "float" else 500.0

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *error: object) -> None:
        log.append(f"close {self.contestant.name}")


log: list[str] = []


@pytest.fixture
def fake(monkeypatch):
    log.clear()
    monkeypatch.setattr(cell_module, "Worker", FakeWorker)
    monkeypatch.setattr(cell_module, "measure_peaks", lambda threads: Peaks(None, 1.0))
    return monkeypatch


def measured(*names: str, seconds: float = 10) -> Measured:
    everybody = [Contestant(name, "float", "onnxruntime") for name in names]
    return measure(PLACE, everybody, {"float": None}, 255.0, seconds)


def test_all_take_turns_and_who_cannot_run_is_left_out_with_the_reason(fake):
    result = measured("float", "a", "broken", "b", seconds=16)
    assert [(entry.name, entry.group) for entry in result.entries] == [("float", 0), ("a", 0), ("b", 0)]
    assert result.entries[1].timing.ratio == 0.5
    assert result.left_out == {"broken": "no such instruction"}
    assert len(result.entries[0].timing.samples) == 8  # of 2 s a round
    assert len(measured("float", "a", seconds=0).entries[0].timing.samples) == cell_module.FEWEST_ROUNDS
    assert len(measured("float", "a", seconds=1e6).entries[0].timing.samples) == cell_module.MOST_ROUNDS


def test_where_memory_does_not_hold_all_they_run_in_groups_each_with_the_float_network(fake):
    fake.setattr(cell_module, "_available_memory", lambda: 5e9 - 1e9 * (len(log) - 2 * sum("close" in e for e in log)))
    result = measured("float", "a", "b", "c", "d", "e")
    assert [(entry.name, entry.group) for entry in result.entries] == [
        ("float", 0), ("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 2),
    ]  # fmt: skip
    assert log.count("float") == 3


def test_what_never_fits_is_left_out(fake):
    fake.setattr(cell_module, "_available_memory", lambda: 2e9)
    result = measured("float", "a", "b")
    assert [entry.name for entry in result.entries] == ["float"]
    assert set(result.left_out) == {"a", "b"}
    assert "2 GB are free" in result.left_out["a"]


@pytest.fixture(scope="module")
def network() -> Network:
    import onnx_ir as ir

    return Network("tiny", ir.from_proto(edsr(opset=21)))


def test_files_are_written_and_the_int8_one_really_is(network, tmp_path):
    files = write_files(network, tmp_path)
    assert set(files) == {contestant.file for contestant in contestants(("avx2",))}
    kinds = {name: {node.op_type for node in onnx.load(path).graph.node} for name, path in files.items()}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds["int8"]
    assert "ChannelRange" in kinds["daq"]
    assert "ChannelRange" not in kinds["frozen"]
    assert kinds["float"] == {"Conv", "Relu", "Add", "DepthToSpace"}


def test_frozen_ranges_are_those_of_the_picture(network):
    config = DaqConfig(activation_bits=8, weight_rule="nearest")  # of 4 bits, one code at a tie would show
    daq = quantize(network.model, config).model
    image = smooth_image(24, 20)
    constant = model_bytes(freeze_ranges(daq, image))
    with Session(model_bytes(daq)) as dynamic, Session(constant) as frozen_session:
        assert psnr(frozen_session.run(image), dynamic.run(image)) > 50
        assert psnr(frozen_session.run(2 * image), dynamic.run(2 * image)) < 40


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return 20 * np.log10(np.abs(second).max() / np.sqrt(np.mean((first - second) ** 2) + 1e-12))


def test_work_is_counted_from_shapes(network):
    work = work_of(network)
    # 8 to 8 channels: five convolutions and the one that upsamples to 32; head 3 to 8; tail 8 to 3 on four times the pixels.
    products = 9 * (3 * 8 + 5 * 8 * 8 + 8 * 32 + 4 * 8 * 3)
    assert work.operations == 2 * products
    assert work.memory_bytes == 2 * ((3 + 8) + 5 * 16 + (8 + 32) + 4 * (8 + 3))


def test_peaks_are_above_nothing():
    peaks = measure_peaks(2)
    assert peaks.memory_bytes > 1e8
    assert peaks.int8_operations is None or peaks.int8_operations > 1e8


def test_a_worker_runs_when_told_and_says_why_it_cannot(network, tmp_path):
    path = tmp_path / "float.onnx"
    path.write_bytes(network.to_bytes())
    with Worker(FLOAT, path, 16, 24, 255.0, 1) as worker:
        assert (worker.opening.output_height, worker.opening.output_width) == (32, 48)
        assert worker.run() > 0
        assert worker.run() > 0
        worker._process.kill()
        with pytest.raises(ModelError, match="was killed, as for lack of memory"):
            worker.run()
    with pytest.raises(ModelError, match=rf"{FLOAT.name}: .*absent\.onnx"):
        Worker(FLOAT, tmp_path / "absent.onnx", 16, 24, 255.0, 1)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "benchmark.md"
    path.write_text("\n".join(["# Speed", *MARKS, "end"]))
    return path


def run(document, *filters: str) -> int:
    folder = document.parent
    return speed.main(["--data", str(folder), "-o", str(document), "--cache", str(folder / "cache.json"), *filters])


def test_cells_are_measured_once_unless_something_changed(network, document, monkeypatch):
    places: list[Place] = []

    def fake_measure(place, *arguments):
        places.append(place)
        cell = a_cell(place)
        return Measured(cell.peaks, cell.entries, cell.left_out)

    monkeypatch.setattr(speed, "measure", fake_measure)
    monkeypatch.setattr(speed, "find_network", lambda name, folder: network)
    monkeypatch.setattr(speed, "native_tiers", lambda: ("avx2",))
    only = ("--networks", "rlfn_x4", "--sizes", "128x128,320x180", "--threads", "2")
    assert run(document, *only) == 0
    assert places == [Place("rlfn_x4", 128, 128, 2), Place("rlfn_x4", 320, 180, 2)]
    text = document.read_text()
    assert "### rlfn_x4, 128x128" in text
    assert text.endswith(f"{MARKS[1]}\nend")
    assert run(document, *only) == 0
    assert len(places) == 2
    assert document.read_text() == text
    assert run(document, *only, "--again") == 0
    assert len(places) == 4
    monkeypatch.setattr(speed, "conditions", lambda: "another library")
    assert run(document, "--networks", "rlfn_x4", "--sizes", "128x128", "--threads", "2") == 0
    assert len(places) == 5
    assert "rlfn_x4 128x128: measured with another library." in document.read_text()


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (("--networks", "vdsr"), "--networks vdsr: choose from edsr_baseline_x2"),
        (("--sizes", "100x100"), "--sizes 100x100: choose from 128x128"),
        (("--threads", "3"), "--threads 3: choose from 1, 2"),
    ],
)
def test_a_filter_that_names_nothing_is_refused(document, capsys, filters, message):
    assert run(document, *filters) == 2
    assert message in capsys.readouterr().err


def test_networks_that_are_absent_are_left_out_and_said_so(tmp_path, monkeypatch, capsys):
    assert find_network("rfdn_x4", tmp_path) is None
    monkeypatch.setattr("daq_deploy.runtime.speed.networks.find_spec", lambda name: None)
    assert find_network("rdn_a_x2", tmp_path) is None
    said = capsys.readouterr().err
    assert "rfdn_x4 is left out:" in said
    assert "rdn_a_x2 is left out: torch" in said
