from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from daq_deploy.errors import ImageError, OptionError
from daq_deploy.finetuning import patches as patches_module
from daq_deploy.finetuning.patches import Patches, find_pictures
from daq_deploy.metrics.resize import resize_bicubic
from daq_deploy.runtime.images import read_rgb


def source(photos: Path, **changes: object) -> Patches:
    return Patches(**{"paths": find_pictures(photos), "scale": 2, "patch": 32, "seed": 5, "read": read_rgb} | changes)


def test_folders_in_the_folder_are_looked_into(photos: Path) -> None:
    assert photos / "more/03.png" in find_pictures(photos)
    assert len(find_pictures(photos)) == 18


def test_a_patch_depends_on_seed_step_and_place_alone(photos: Path) -> None:
    first = source(photos).batch(7, range(4))
    again = source(photos)
    again.batch(3, range(4))
    shared = [again.batch(7, places) for places in (range(0, 4, 2), range(1, 4, 2))]
    for part in (0, 1):
        assert torch.equal(first[part][0::2], shared[0][part])
        assert torch.equal(first[part][1::2], shared[1][part])
    assert not torch.equal(first[0], source(photos, seed=6).batch(7, range(4))[0])
    assert not torch.equal(first[0], source(photos).batch(8, range(4))[0])


def test_low_and_high_belong_together(photos: Path) -> None:
    low, high = source(photos).batch(0, range(8))
    assert low.shape == (8, 3, 16, 16)
    assert high.shape == (8, 3, 32, 32)
    for small, large in zip(low, high, strict=True):
        made = resize_bicubic(large.numpy().transpose(1, 2, 0).astype(np.uint8), 0.5).transpose(2, 0, 1)
        inner = (slice(None), slice(2, -2), slice(2, -2))  # the border saw what the patch cuts off
        assert (
            np.abs(made[inner] - small.numpy()[inner]).mean() < 0.5
        )  # rows are resized first, so turns differ a little


def test_what_does_not_fit_in_memory_is_read_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = source(photos).batch(0, range(8))
    monkeypatch.setattr(patches_module, "CACHE_BYTES", 1)
    small = source(photos)
    found = small.batch(0, range(8))
    assert len(small._cache) == 1
    assert torch.equal(found[0], expected[0])


def test_bad_pictures_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "empty.png").touch()
    whole = (photos / "00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (20, 90)).save(tmp_path / "small.png")
    (tmp_path / "whole.png").write_bytes(whole)
    found = source(tmp_path, warn=lines.append)
    for step in range(8):
        found.batch(step, range(4))
    assert any("empty.png" in line for line in lines)
    assert sum("cut.png" in line for line in lines) == 1
    assert any("smaller than a patch" in line for line in lines)


def test_no_picture_is_one_line(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such folder"):
        find_pictures(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="has no pictures"):
        find_pictures(tmp_path)
    with pytest.raises(OptionError, match="smaller --patch"):
        source(photos, patch=128)
    with pytest.raises(OptionError, match="multiple of the scale"):
        source(photos, patch=33)
    whole = (photos / "00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="none of the pictures"):
        source(tmp_path).batch(0, range(2))
