"""A local Ray of two workers; one of them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daq_deploy.api import evaluate
from daq_deploy.errors import DaqError, OptionError
from daq_deploy.runtime import Upscaler
from daq_deploy.runtime.cluster import connected, upscale_on_ray
from daq_deploy.runtime.folder import plan_tasks, upscale_folder
from daq_deploy.runtime.manifest import read_manifest
from tests.runtime.test_folder import contents


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    module = pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
    module.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield module
    module.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(24):
        pixels = np.random.default_rng(index).integers(0, 256, (400, 300 + index, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    (folder / "07.png").write_bytes(b"broken")
    return folder


def workers_of_this_process() -> list[int]:
    """Process ids of the actors: children of the raylet that is a child of this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"MapWorker" in (folder / "cmdline").read_bytes() and parent(parent(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
    return found


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the workers in /proc")
def test_a_killed_worker_loses_nothing(tmp_path, photos, nearest_x2_file, ray):
    alone, together = tmp_path / "alone", tmp_path / "together"
    tasks, _ = plan_tasks(photos, alone, nearest_x2_file, False, False, False)
    with Upscaler(nearest_x2_file, threads=1) as upscaler:
        upscale_folder(upscaler, tasks, alone)
        killed: list[int] = []

        def kill_one(entry):
            if not killed:
                killed.extend(workers_of_this_process()[:1])
                os.kill(killed[0], signal.SIGKILL)

        tasks, _ = plan_tasks(photos, together, nearest_x2_file, False, False, False)
        summary = upscale_on_ray(upscaler, tasks, together, "auto", 1, kill_one)
    assert killed
    assert (summary.done, [entry.input for entry in summary.failed]) == (23, ["07.png"])
    assert contents(together) == contents(alone)
    assert {entry.status for entry in read_manifest(together).values()} == {"done", "failed"}
    tasks, skipped = plan_tasks(photos, together, nearest_x2_file, False, True, False)
    assert (len(tasks), skipped) == (1, 23)


def test_a_strangers_file_is_kept(tmp_path, photos, nearest_x2_file, ray):
    output = tmp_path / "large"
    output.mkdir()
    (output / "03.png").write_bytes(b"mine")
    tasks, _ = plan_tasks(photos, output, nearest_x2_file, False, False, False)
    with Upscaler(nearest_x2_file, threads=1) as upscaler:
        summary = upscale_on_ray(upscaler, tasks[:5], output, "auto", 1)
    assert (summary.done, [entry.input for entry in summary.failed]) == (4, ["03.png"])
    assert (output / "03.png").read_bytes() == b"mine"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(5):
        rows, columns = np.mgrid[: 40 + index, :36]
        waves = np.stack([rows * 7, columns * 9, rows * columns % (50 + index)], axis=2).astype(np.uint8)
        Image.fromarray(waves).save(folder / f"{index}.png")
    return folder


def test_evaluation_gives_the_same_figures(tmp_path, pictures, nearest_x2_file, ray, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models, data = ["nearest_x2.onnx", "nearest_x2.onnx"], "pictures"
    alone = evaluate(models, data, bicubic=True, threads=1)
    shares: list[float] = []
    together = evaluate(models, data, bicubic=True, ray="auto", progress=lambda title, share: shares.append(share))
    assert [evaluation.images for evaluation in together.evaluations] == [
        evaluation.images for evaluation in alone.evaluations
    ]
    assert together.rows() == alone.rows()
    assert (len(shares), max(shares)) == (15, 1.0)


def test_evaluation_names_the_picture_that_fails(pictures, nearest_x2_file, ray):
    (pictures / "3.png").write_bytes(b"broken")
    with pytest.raises(DaqError, match=r"3\.png: is not a PNG"):
        evaluate([nearest_x2_file], pictures, ray="auto")


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(OptionError, match=r"pip install 'daq-deploy\[ray\]'"), connected("auto"):
        pass
