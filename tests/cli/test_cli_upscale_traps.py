"""Pictures of every awkward kind: the right output, or one line and no file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from networks import nearest_x2
from pictures import png_of
from PIL import Image
from typer.testing import CliRunner

from daq_deploy.cli import build_app
from daq_deploy.errors import DaqError


def upscale(tmp_path: Path, source: Path, target: str) -> BaseException | None:
    (tmp_path / "x2.onnx").write_bytes(nearest_x2().SerializeToString())
    arguments = [
        "upscale",
        str(source),
        "-o",
        str(tmp_path / target),
        "-m",
        str(tmp_path / "x2.onnx"),
        "--threads",
        "1",
    ]
    return CliRunner().invoke(build_app(), arguments).exception


def palette_with_transparency(path: Path) -> None:
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(path, "PNG", transparency=0)


def truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:5000])


GOOD = {
    "1x1.png": lambda path: Image.new("RGB", (1, 1), (1, 2, 3)).save(path),
    "1x5000.png": lambda path: Image.new("RGB", (1, 5000), (9, 8, 7)).save(path),
    "5000x1.png": lambda path: Image.new("RGB", (5000, 1), (9, 8, 7)).save(path),
    "palette.png": palette_with_transparency,
    "really_a_jpeg.png": lambda path: Image.new("RGB", (6, 4)).save(path, "JPEG"),
    "cmyk.jpg": lambda path: Image.new("CMYK", (6, 4)).save(path),
}
BAD = {
    "zero.png": lambda path: path.write_bytes(b""),
    "truncated.png": truncated,
    "bomb.png": lambda path: path.write_bytes(png_of(8, 0, b"\0", 60_000, 60_000)),
    "animated.webp": lambda path: Image.new("RGB", (4, 4)).save(
        path, save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]
    ),
    "text.png": lambda path: path.write_text("no picture"),
}


@pytest.mark.parametrize("name", GOOD)
def test_it_is_upscaled(tmp_path, name):
    GOOD[name](tmp_path / name)
    assert upscale(tmp_path, tmp_path / name, "out.png") is None
    with Image.open(tmp_path / name) as small, Image.open(tmp_path / "out.png") as large:
        assert large.size == (2 * small.width, 2 * small.height)
        assert large.mode == ("RGBA" if small.has_transparency_data else "RGB")
        wanted = np.array(small.convert(large.mode)).repeat(2, axis=0).repeat(2, axis=1)
        assert np.abs(np.array(large).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("name", BAD)
def test_it_is_named_in_one_line_and_leaves_no_file(tmp_path, name):
    BAD[name](tmp_path / name)
    error = upscale(tmp_path, tmp_path / name, "out.png")
    assert isinstance(error, DaqError)
    assert name in str(error)
    assert "\n" not in str(error)
    assert {path.name for path in tmp_path.iterdir()} == {name, "x2.onnx"}


def limit_files() -> None:
    """Let no file of this process grow beyond 10 kB: what is written fails half-way, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def without_override() -> list[str]:
    """What makes a command heed the modes of folders when root runs it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write into any folder, and there is no setpriv to forbid it")
    lost = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """`daq-deploy upscale` with a model, in a process of its own; input and output are to follow."""
    (tmp_path / "x2.onnx").write_bytes(nearest_x2().SerializeToString())
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    return [sys.executable, "-m", "daq_deploy", "upscale", "--threads", "1", "-m", str(tmp_path / "x2.onnx")]


run = partial(subprocess.run, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="needs limits and modes of POSIX")
@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.parametrize("trap", ["full", "read-only"])
def test_where_nothing_can_be_written_no_half_file_is_left(tmp_path, command, trap, is_folder):
    output = tmp_path / "large"
    output.mkdir(mode=0o500 if trap == "read-only" else 0o700)
    paths = [tmp_path / "photos", output] if is_folder else [tmp_path / "photos" / "0.png", output / "0.png"]
    command += [str(paths[0]), "-o", str(paths[1])]
    finished = run(command, preexec_fn=limit_files) if trap == "full" else run([*without_override(), *command])
    assert finished.returncode == 2, finished.stderr
    assert "cannot be written" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert {path.name for path in output.iterdir()} <= {"manifest.jsonl"}
    output.chmod(0o700)
    assert run([*command, *(["--resume"] if is_folder else [])]).returncode == 0
    assert {path.name for path in output.rglob("*.png")} == ({"0.png", "1.png", "2.png"} if is_folder else {"0.png"})
