from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image
from typer.testing import CliRunner

from daq_deploy.cli import build_app
from daq_deploy.config import LEVELS, DaqConfig
from daq_deploy.errors import ImageError, ModelError, OptionError
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.quantization import quantize
from daq_deploy.runtime import Session, Upscaler
from daq_deploy.runtime.freeze import freeze
from tests.networks import edsr, picture, run


@pytest.fixture(params=LEVELS)
def levels(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(tmp_path: Path, levels: str) -> Path:
    path = tmp_path / "daq.onnx"
    config = DaqConfig(weight_rule="nearest", levels=levels)
    path.write_bytes(quantize(ir.from_proto(edsr()), config).to_bytes())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        pixels = picture(40 + index, 50, images=3)[index].transpose(1, 2, 0).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_the_command_writes_a_file_of_standard_operators(tmp_path, model, photos, levels):
    output = tmp_path / "static.onnx"
    arguments = ["freeze", str(model), "--images", str(photos), "-o", str(output), "--threads", "1"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "ranges of 3 pictures" in result.stdout
    frozen = onnx.load(output)
    onnx.checker.check_model(frozen, full_check=True)
    assert {node.domain for node in frozen.graph.node} == {""}
    assert not frozen.functions
    assert {node.op_type for node in frozen.graph.node}.isdisjoint({"ReduceMean", "ReduceMax"})
    assert all(block.is_frozen for block in find_blocks(ir.from_proto(frozen)))
    image = picture(20, 25)  # with even levels none of its codes is at a tie
    found, expected = run(frozen, image), Session(output, threads=1, native=False).run(image)
    if levels == "even":
        np.testing.assert_allclose(found, expected, atol=1e-2)
    else:
        assert np.median(np.abs(found - expected)) < 1e-2  # a code at a tie may fall to the other side


def test_ranges_of_one_picture_are_those_it_has(model, photos):
    for path in sorted(photos.iterdir())[1:]:
        path.unlink()
    frozen, count = freeze(model, photos, threads=1)
    assert count == 1
    (path,) = photos.iterdir()
    image = np.array(Image.open(path)).transpose(2, 0, 1)[None].astype(np.float32)
    static, dynamic = (Session(source, threads=1).run(image) for source in (ir.to_proto(frozen), model))
    assert np.abs(static - dynamic).mean() < 0.05 * np.abs(dynamic).std()


def test_pictures_change_the_ranges_no_more(model, photos):
    frozen, _ = freeze(model, photos, threads=1)
    data = ir.to_proto(frozen).SerializeToString()
    pixels = picture(60, 80)[0].transpose(1, 2, 0).astype(np.uint8)
    pixels[:, 60:] = 255
    whole, part = (
        Session(data, threads=1).run(p.transpose(2, 0, 1)[None].astype(np.float32)) for p in (pixels, pixels[:, :50])
    )
    np.testing.assert_array_equal(whole[..., :70], part[..., :70])
    np.testing.assert_array_equal(
        Upscaler(data, threads=1, tile=40).upscale(pixels), Upscaler(data, threads=1, tile="off").upscale(pixels)
    )


def test_what_cannot_be_frozen_is_refused(tmp_path, model, photos):
    onnx.save(edsr(), tmp_path / "float.onnx")
    frozen, _ = freeze(model, photos, threads=1)
    onnx.save(ir.to_proto(frozen), tmp_path / "static.onnx")
    for name in ("float.onnx", "static.onnx"):
        with pytest.raises(ModelError, match=f"{name}: has no feature maps whose ranges are found at run time"):
            freeze(tmp_path / name, photos)
    with pytest.raises(OptionError, match="no such folder"):
        freeze(model, tmp_path / "absent")
    (tmp_path / "none").mkdir()
    with pytest.raises(OptionError, match="has no pictures"):
        freeze(model, tmp_path / "none")
    (photos / "broken.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"broken\.png"):
        freeze(model, photos)
