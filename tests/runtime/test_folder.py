from __future__ import annotations

import errno
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daq_deploy.errors import DaqError, OptionError
from daq_deploy.runtime import Upscaler
from daq_deploy.runtime.folder import Summary, plan_tasks, upscale_folder
from daq_deploy.runtime.manifest import NAME, Entry, ManifestWriter, read_manifest

SUFFIXES = ("png", "jpg", "webp", "tif")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more" / "deep").mkdir(parents=True)
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 256, (9 + index, 12, 3), np.uint8)
        name = ("", "more/", "more/deep/")[index % 3] + f"{index}.{SUFFIXES[index % 4]}"
        Image.fromarray(pixels).save(folder / name, lossless=True)
    (folder / "more" / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    (folder / ".hidden.png").write_bytes(b"hidden")
    return folder


def run(folder: Path, output: Path, model: Path, *, jobs: int = 1, **options: bool) -> Summary:
    chosen = {"recursive": True, "resume": False, "force": False} | options
    tasks, _ = plan_tasks(folder, output, model, **chosen)
    with Upscaler(model, threads=1) as upscaler:
        return upscale_folder(upscaler, tasks, output, jobs)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != NAME
    }


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_tree_is_upscaled_and_what_is_broken_is_named(tmp_path, photos, nearest_x2_file, jobs):
    output = tmp_path / "large"
    summary = run(photos, output, nearest_x2_file, jobs=jobs)
    assert (summary.done, len(summary.failed)) == (8, 1)
    expected = {name for name in contents(photos) if name.endswith(SUFFIXES) and name[0] != "."} - {"more/broken.png"}
    assert set(contents(output)) == expected
    small, large = (np.array(Image.open(folder / "more" / "4.png")) for folder in (photos, output))
    np.testing.assert_array_equal(large, small.repeat(2, axis=0).repeat(2, axis=1))
    entries = read_manifest(output)
    assert set(entries) == {*expected, "more/broken.png"}
    broken = entries["more/broken.png"]
    assert (broken.status, "is not a PNG" in broken.error) == ("failed", True)
    done = entries["0.png"]
    assert done.status == "done"
    assert done.input_sha256 == hashlib.sha256((photos / "0.png").read_bytes()).hexdigest()
    assert done.model_sha256 == hashlib.sha256(nearest_x2_file.read_bytes()).hexdigest()
    assert done.time.endswith("+00:00")


def test_only_what_changed_is_done_again(tmp_path, photos, nearest_x2_file):
    output = tmp_path / "large"
    run(photos, output, nearest_x2_file)
    before = contents(output)
    with pytest.raises(OptionError, match="--resume goes on"):
        run(photos, output, nearest_x2_file)
    (output / "0.png").unlink()
    Image.new("RGB", (5, 5)).save(photos / "more" / "4.png")
    (photos / "more" / "broken.png").unlink()
    tasks, skipped = plan_tasks(photos, output, nearest_x2_file, recursive=True, resume=True, force=False)
    assert ([task.entry.input for task in tasks], skipped) == (["0.png", "more/4.png"], 6)
    run(photos, output, nearest_x2_file, resume=True)
    after = contents(output)
    assert {name for name in before if before[name] != after[name]} == {"more/4.png"}


def test_a_strangers_file_is_kept(tmp_path, photos, nearest_x2_file):
    output = tmp_path / "large"
    output.mkdir()
    (output / "0.png").write_bytes(b"mine")
    summary = run(photos, output, nearest_x2_file)
    assert "exists already" in summary.failed[0].error
    assert (output / "0.png").read_bytes() == b"mine"
    assert run(photos, output, nearest_x2_file, force=True).done == 8


def test_the_output_may_lie_in_the_input(photos, nearest_x2_file):
    output = photos / "large"
    assert run(photos, output, nearest_x2_file).done == 8
    assert run(photos, output, nearest_x2_file, force=True).done == 8


@pytest.mark.parametrize(("folder", "message"), [("absent", "no such folder"), ("empty", "has no pictures")])
def test_folders_without_pictures_are_refused(tmp_path, nearest_x2_file, folder, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=message):
        run(tmp_path / folder, tmp_path / "large", nearest_x2_file, recursive=False)


def test_a_full_disk_stops_the_run_and_leaves_no_half_file(tmp_path, photos, nearest_x2_file, monkeypatch):
    real = Image.Image.save

    def full(self, path, *arguments, **options):
        real(self, path, *arguments, **options)
        if "3" in Path(path).name[:3]:
            raise OSError(errno.ENOSPC, "No space left on device")

    output = tmp_path / "large"
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(DaqError, match="No space left on device"):
            run(photos, output, nearest_x2_file)
    assert not list(output.rglob(".*"))
    assert not (output / "3.tif").exists()
    assert run(photos, output, nearest_x2_file, resume=True).failed[0].input == "more/broken.png"
    assert set(read_manifest(output)) == {*contents(output), "more/broken.png"}


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    entry = Entry("a.png", "1", "a.png", "2", "done")
    with ManifestWriter(tmp_path) as writer:
        writer.write(entry)
    with (tmp_path / NAME).open("a") as stream:
        stream.write('{"input": "b.png", "inp')
    with ManifestWriter(tmp_path) as writer:
        writer.write(Entry("c.png", "1", "c.png", "2", "failed"))
    assert set(read_manifest(tmp_path)) == {"a.png", "c.png"}
    assert len((tmp_path / NAME).read_text().splitlines()) == 3


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, photos, nearest_x2_file):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DaqError, match="the folder cannot be made"):
        run(photos, tmp_path / "file" / "large", nearest_x2_file)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_and_resumed_it_ends_as_if_it_had_not_been(tmp_path, photos, nearest_x2_file):
    for index in range(30):
        pixels = np.random.default_rng(index).integers(0, 256, (150, 150, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"more{index}.png")
    command = [
        sys.executable,
        "-m",
        "daq_deploy",
        "upscale",
        str(photos),
        "-r",
        "-m",
        str(nearest_x2_file),
        "--threads",
        "1",
    ]
    command += ["--resume", "-o"]
    uninterrupted = subprocess.run([*command, str(tmp_path / "at_once")], check=False, capture_output=True)
    assert uninterrupted.returncode == 1
    output = tmp_path / "resumed"
    for lines in (3, 20):
        process = subprocess.Popen([*command, str(output)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (
            (output / NAME).exists() and len((output / NAME).read_bytes().splitlines()) > lines
        ):
            time.sleep(0.005)
        process.kill()
        process.wait()
    last = subprocess.run([*command, str(output)], check=False, capture_output=True, text=True)
    assert last.returncode == 1
    assert "1 of 39 pictures failed" in last.stderr
    assert contents(output) == contents(tmp_path / "at_once")
    lines = [
        json.loads(line)
        for line in (output / NAME).read_text().splitlines()
        if line.startswith("{") and line.endswith("}")
    ]
    done = [line["input"] for line in lines if line["status"] == "done"]
    assert len(done) == len(set(done)) == 38
