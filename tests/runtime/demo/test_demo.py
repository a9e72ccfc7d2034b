"""The demonstration, from the command line to the picture that it makes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daq_deploy.runtime.demo.render_picture import HEIGHT, WIDTH, render
from daq_deploy.runtime.demo.side_by_side import Version, side_by_side


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "output"
    command = [sys.executable, "-m", "daq_deploy.runtime.demo", "-o", str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout


def test_it_leaves_what_it_promises(demo_run: tuple[Path, str]) -> None:
    folder, _ = demo_run
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "edsr_daq.onnx",
        "edsr_float.onnx",
        "pictures",
        "report.html",
        "side_by_side.png",
        "upscaled_bicubic.png",
        "upscaled_daq.png",
        "upscaled_float.png",
    }
    for name in ("bicubic", "daq", "float"):
        assert Image.open(folder / f"upscaled_{name}.png").size == (WIDTH, HEIGHT)
    assert (folder / "edsr_daq.onnx").stat().st_size < 0.25 * (folder / "edsr_float.onnx").stat().st_size


def test_four_bits_are_much_nearer_to_float_than_to_bicubic(demo_run: tuple[Path, str]) -> None:
    _, output = demo_run
    found = dict(re.findall(r"(bicubic|float|DAQ 4 bit)\W+([\d.]+) dB", output))
    bicubic, floating, quantized = (float(found[name]) for name in ("bicubic", "float", "DAQ 4 bit"))
    assert bicubic + 1 < floating
    assert quantized > bicubic + 0.8 * (floating - bicubic)


def test_it_shows_the_commands_and_every_check_passes(demo_run: tuple[Path, str]) -> None:
    _, output = demo_run
    verbs = re.findall(r"^\$ daq-deploy (\w+)", output, re.MULTILINE)
    assert verbs == ["export", "validate", "upscale", "upscale", "evaluate", "benchmark", "report"]
    assert "failed" not in output


def test_a_failing_command_ends_the_demonstration(tmp_path: Path) -> None:
    (tmp_path / "edsr_daq.onnx").mkdir()
    command = [sys.executable, "-m", "daq_deploy.runtime.demo", "-o", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert "is a folder" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_output_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "daq_deploy.runtime.demo", "-o", str(tmp_path / "file")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert "file" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_same_seed_renders_the_same_picture() -> None:
    first = render(seed=5)
    assert first.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(first, render(seed=5))
    assert not np.array_equal(first, render(seed=6))


def test_side_by_side_enlarges_the_same_part_of_every_version() -> None:
    picture = np.zeros((64, 80, 3), np.uint8)
    picture[10, 20] = (255, 0, 0)
    versions = [Version(name, "1 dB", picture) for name in ("a", "b", "c", "d")]
    sheet = np.asarray(side_by_side(versions, picture, left=20, top=10))
    red = (sheet == (255, 0, 0)).all(axis=2)
    assert red[:, :160].sum() == 4  # the picture at twice its size
    assert red[:, 160:].sum() == 4 * 16  # four parts at four times
