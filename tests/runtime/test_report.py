"""What a report shows is what the networks gave: compared with running them by hand."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from networks import PAD, edsr, network, picture, rcan
from PIL import Image

import daq_deploy
from daq_deploy.config import DaqConfig
from daq_deploy.errors import ImageError, ModelError, OptionError
from daq_deploy.evaluation import score
from daq_deploy.html_report import ReportContent
from daq_deploy.metrics import psnr, resize_bicubic
from daq_deploy.model_file import read_proto
from daq_deploy.numerics import ChannelStatistics, channel_range
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.probe import SIDE, part_of
from daq_deploy.runtime import Session, benchmark, report
from daq_deploy.runtime.channel_ranges import channel_ranges
from daq_deploy.runtime.report import NamedFile, collect, named_files, read_pictures
from daq_deploy.runtime.upscale import upscale_pixels


@pytest.fixture(autouse=True)
def _short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "measure", partial(benchmark.measure, iterations=2, size=(16, 16)))
    monkeypatch.setattr(benchmark, "peak_memory", lambda *arguments: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A float network, its DAQ files at 8 and 2 bits, a picture of 30x20 pixels and an original for it."""
    onnx.save(edsr(), tmp_path / "net.onnx")
    for bits in (8, 2):
        config = DaqConfig(weight_bits=bits, activation_bits=bits, weight_rule="nearest", range_rule="paper")
        daq_deploy.quantize(tmp_path / "net.onnx", config).save(tmp_path / f"net_w{bits}.onnx")
    low = picture(20, 30)[0].transpose(1, 2, 0).astype(np.uint8)
    Image.fromarray(low).save(tmp_path / "low.png")
    Image.fromarray(resize_bicubic(low, 2)).resize((61, 41)).save(tmp_path / "odd.png")
    Image.fromarray(np.pad(resize_bicubic(low, 2), ((0, 1), (0, 1), (0, 0)))).save(tmp_path / "high.png")
    return tmp_path


def collected(folder: Path, **pictures: Path | None) -> ReportContent:
    files = [NamedFile(f"{bits} bits", folder / f"net_w{bits}.onnx") for bits in (8, 2)]
    arguments = {"image": folder / "low.png", "original": folder / "high.png"} | pictures
    pictures = read_pictures(arguments["image"], arguments["original"], 2)
    return collect(folder / "net.onnx", "net", files, pictures, threads=1)


def test_pictures_and_figures_are_those_of_the_networks(folder: Path):
    content = collected(folder)
    low = np.array(Image.open(folder / "low.png"))
    high = np.array(Image.open(folder / "high.png"))[:40, :60]
    with Session(folder / "net.onnx") as session:
        truth = upscale_pixels(session, low)
    with Session(folder / "net_w2.onnx") as session:
        coarse = upscale_pixels(session, low)
    versions = {version.name: version for version in content.versions}
    assert list(versions) == ["original", "bicubic", "float", "8 bits", "2 bits"]
    np.testing.assert_array_equal(versions["original"].pixels, high)
    np.testing.assert_array_equal(versions["bicubic"].pixels, resize_bicubic(low, 2))
    np.testing.assert_array_equal(versions["float"].pixels, truth)
    np.testing.assert_array_equal(versions["2 bits"].pixels, coarse)
    assert versions["2 bits"].psnr_to_float == psnr(coarse, truth)
    assert versions["2 bits"].scores == score(coarse, high, 2)
    assert versions["original"].scores is None
    assert versions["float"].psnr_to_float is None
    measured = versions["2 bits"].measured
    assert measured is not None
    assert measured.file_bytes == (folder / "net_w2.onnx").stat().st_size
    assert measured.milliseconds > 0
    assert versions["bicubic"].measured is None


def test_unsteady_times_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "STEADY_VARIATION", -1)
    assert "run times varied by up to" in collected(folder, original=None).conditions
    monkeypatch.setattr(report, "STEADY_VARIATION", 1e9)
    assert "varied" not in collected(folder, original=None).conditions


def test_layers_are_in_execution_order_and_diagnosed(folder: Path):
    coarse = collected(folder, original=None).networks[1]
    assert [layer.name for layer in coarse.layers] == ["head", "a1", "b1", "a2", "b2", "close", "up", "tail"]
    assert {layer.report.name for layer in coarse.diagnosis.layers} == {layer.name for layer in coarse.layers}
    assert {level.number for level in coarse.checks} >= {1, 3, 6}
    assert coarse.diagnosis.image == "low.png, 30×20 pixels, 30x20 from column 0, row 0"


def test_without_a_picture_it_is_made_from_the_original(folder: Path):
    content = collected(folder, image=None)
    assert content.picture == "high.png reduced to 30×20 pixels by MATLAB’s bicubic"
    assert [version.kind for version in content.versions][:3] == ["original", "bicubic", "float"]


def test_channel_ranges_are_the_oracles(folder: Path):
    path = folder / "net_w2.onnx"
    blocks = find_blocks(ir.from_proto(read_proto(path)))
    names = [str(block.feature_map.name) for block in blocks if not block.feature_map.is_graph_input()]
    low = np.array(Image.open(folder / "low.png"))
    with Session(path, extra_outputs=names) as session:
        probe = part_of(session, low, "low")
        maps = session.run_outputs(probe.pixels, names)
    for block, found in zip(blocks, channel_ranges(path, probe, blocks), strict=True):
        values = probe.pixels if block.feature_map.is_graph_input() else maps[str(block.feature_map.name)]
        expected = channel_range(ChannelStatistics.of(values), block.bits, block.rule, block.signed)
        np.testing.assert_allclose(found.lo, expected.lo[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.hi - found.lo, (2**block.bits - 1) * expected.step[0], rtol=1e-4)
        np.testing.assert_array_equal(found.minimum, values[0].min(axis=(1, 2)))
        assert found.bottom <= found.minimum.min()
        assert found.top >= found.maximum.max()
        assert (found.density.max(axis=1) > 0).all()


def test_an_original_of_another_size_is_refused(folder: Path):
    Image.new("RGB", (31, 21)).save(folder / "other.png")
    with pytest.raises(ImageError, match=r"odd\.png: has 60x40 .*other\.png has 62x42"):
        collected(folder, image=folder / "other.png", original=folder / "odd.png")


def test_files_that_do_not_belong_together_are_refused(folder: Path):
    onnx.save(rcan(), folder / "another.onnx")
    daq, low = NamedFile("x", folder / "net_w2.onnx"), read_pictures(folder / "low.png", None, 2)
    with pytest.raises(ModelError, match=r"net\.onnx: is a float file"):
        collect(folder / "net.onnx", "net", [NamedFile("x", folder / "net.onnx")], low, threads=1)
    three = network(
        f"up = Conv{PAD}(x, up_weight) r = Relu(up) y = DepthToSpace<blocksize = 3>(r)", up_weight=(27, 3, 3, 3)
    )
    onnx.save(three, folder / "three.onnx")
    with pytest.raises(ModelError, match=r"net_w2\.onnx: upscales x2, three\.onnx x3"):
        collect(folder / "three.onnx", "net", [daq], low, threads=1)
    with pytest.raises(ModelError, match="convolutions"):
        collect(folder / "another.onnx", "net", [daq], low, threads=1)


@pytest.mark.parametrize(
    ("files", "alone", "names"),
    [
        (["net_w8", "net_w2"], True, ["w8", "w2"]),
        (["net_w8", "net_w8_b"], True, ["w8", "w8_b"]),
        (["net_w8", "b"], True, ["net_w8", "b"]),
        (["net_w8"], True, ["8 bits"]),
        (["net_w8"], False, ["net_w8"]),
        ([], True, []),
    ],
)
def test_files_have_short_names_of_their_own(folder: Path, files, alone, names):
    for name in files:
        (folder / f"{name}.onnx").write_bytes((folder / "net_w8.onnx").read_bytes())
    found = named_files([folder / f"{name}.onnx" for name in files], alone)
    assert [file.name for file in found] == names


def test_the_page_from_python(folder: Path):
    page = daq_deploy.report(
        folder / "net.onnx", [folder / "net_w8.onnx", folder / "net_w2.onnx"], image=folder / "low.png", threads=1
    )
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert [network["name"] for network in json.loads(data)["networks"]] == ["w8", "w2"]
    assert len(json.loads(data)["layers"]) == 8
    with pytest.raises(OptionError, match="--image"):
        daq_deploy.report(folder / "net.onnx", [folder / "net_w8.onnx"])


@pytest.mark.parametrize(
    ("shape", "centre", "corner"),
    [
        ((300, 200), None, (102, 52)),
        ((300, 200), (0, 0), (0, 0)),
        ((300, 200), (290, 190), (204, 104)),
        ((50, 200), (10, 100), (0, 52)),
    ],
)
def test_the_part_of_a_picture_lies_where_it_was_asked(shape, centre, corner):
    class Runner:
        value_range = 255.0

    numbers = np.arange(shape[0] * shape[1]).reshape(shape)
    rgb = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=2).astype(np.uint8)
    pixels = part_of(Runner(), rgb, "x", centre).pixels[0].transpose(1, 2, 0)  # type: ignore[arg-type]
    top, left = corner
    np.testing.assert_array_equal(pixels, rgb[top : top + SIDE, left : left + SIDE])
